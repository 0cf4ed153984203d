"""Simulated TensorRT-LLM: the outside of the real one (options, ranks, log, HTTP), no model inside.

What each module imitates is said in its docstring. Ages of the real program: 1.2.0rc ("L"),
1.3.0rc1 to about rc21 ("E"), later 1.3 ("N").
"""
