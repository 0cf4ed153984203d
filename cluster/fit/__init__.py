"""Memory fit: weights, KV cache and everything else of a rank against a node's unified memory.

Pure arithmetic over the model's shape (cluster/model_config.py) and its tensors' sizes; the rules and
their sources are in docs/memory-fit.md.
"""

from __future__ import annotations

from cluster.fit.verdict import (
    Estimate,
    Load,
    Memory,
    Model,
    Word,
    advice,
    context,
    estimate,
    fewest_nodes,
    most_requests,
    most_tokens,
    sentence,
    worst,
)
from cluster.fit.weights import collapse

__all__ = [
    "Estimate",
    "Load",
    "Memory",
    "Model",
    "Word",
    "advice",
    "collapse",
    "context",
    "estimate",
    "fewest_nodes",
    "most_requests",
    "most_tokens",
    "sentence",
    "worst",
]
