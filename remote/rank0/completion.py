"""A completion that we ask for, and what is wrong with its answer: one rule for all who ask.

The watch of rank 0, the gate of `pulumi up` and the doctor use it. /health and /v1/models say 200 although
every completion fails, and one token proves little: kernels fail later (TensorRT-LLM issue 11313).
Standard library only.
"""

from __future__ import annotations

import json
import re

#: Every model answers this with more tokens than we take.
PROMPT = "Count from one to one hundred, in words."
#: Before a start counts as done.
GATE_TOKENS = 64
#: While it serves: a slow model (3 tokens/s) takes ten seconds for these. Fewer could all be part of the
#: frame around gpt-oss's reasoning, and so not in the answer.
WATCH_TOKENS = 32
#: An answer of so many tokens is far smaller, bytes.
MOST_BYTES = 1 << 16

_FINISHED = ("stop", "length", "tool_calls")
_FIELDS = ("reasoning_content", "reasoning", "content")
#: A dozen times the same token, up to the end: what numbers that are not numbers decode to.
_OVER_AND_OVER = re.compile(r"(.{1,24}?)\1{11,}$", re.DOTALL)
_LONGEST_SEARCH = 2000
_WORDS = 300


def body(model: str, tokens: int) -> dict[str, object]:
    """The request, for POST /v1/chat/completions."""
    return {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": tokens}


def fault(status: int, text: str) -> str:
    """What is wrong with an answer, with the engine's own words; "" when it is a sane completion."""
    if status != 200:
        return "HTTP %d: %s" % (status, words(text))
    try:
        choice = json.loads(text)["choices"][0]
        message, reason = choice["message"], choice["finish_reason"]
        said = "".join(str(message.get(name) or "") for name in _FIELDS)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "HTTP 200 without a completion: %s" % words(text)
    if reason not in _FINISHED:
        return "the answer did not finish (finish_reason %s)" % words(json.dumps(reason))
    if not said.strip():
        return "the answer is empty"
    repeated = _OVER_AND_OVER.search("".join(said.split())[-_LONGEST_SEARCH:])
    if repeated:
        return "the answer repeats %s over and over" % json.dumps(repeated[1])
    return ""


def words(text: str) -> str:
    """What an error's body says, on one short line."""
    try:
        document = json.loads(text)
        for name in ("error", "message", "detail"):
            if isinstance(document, dict) and document.get(name):
                document = document[name]
        found = document if isinstance(document, str) else json.dumps(document)
    except (ValueError, RecursionError):
        found = text
    line = " ".join(found.split())[:_WORDS]
    return "".join(letter for letter in line if letter.isprintable()) or "(nothing)"
