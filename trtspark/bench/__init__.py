"""Measuring an OpenAI-compatible endpoint: what is sent, when, and what comes back when.

`profiles` and `prompts` say what to send, `load` when, `stream` sends it and stamps the answers, `measure`
turns the stamps into figures, `results` keeps them. docs/benchmark.md has every figure's definition.
"""
