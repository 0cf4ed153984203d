"""How a model can be split over nodes: its attention heads, by its config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.catalog import GPT_OSS
from cluster.model_config import architecture

#: gpt-oss asserts that it has no pipeline (the engine's modeling_gpt_oss.py).
WITHOUT_PIPELINE = (GPT_OSS,)


@dataclass(frozen=True)
class Heads:
    """Attention heads, and key/value heads (fewer, where they are grouped)."""

    query: int
    key_value: int
    pipeline: bool = True
    """Whether the layers can be split over nodes too."""

    def split_by(self, nodes: int) -> bool:
        """Whether a layer can be shared out over so many nodes.

        Every node gets as many query heads; key/value heads are shared out too, or where there are fewer
        of them than nodes, each is kept on as many nodes (TensorRT-LLM's attention).
        """
        shared = self.key_value % nodes == 0 or nodes % self.key_value == 0
        return self.query % nodes == 0 and shared

    def best_split(self, nodes: int) -> tuple[int, int]:
        """(tensor, pipeline) with the most tensor parallelism that uses all nodes."""
        tensor = next(t for t in range(nodes, 0, -1) if nodes % t == 0 and (t == 1 or self.split_by(t)))
        return tensor, nodes // tensor

    def most_nodes(self, nodes: int) -> int:
        """The most of so many nodes that can share out every layer."""
        return next(count for count in range(nodes, 0, -1) if count == 1 or self.split_by(count))


def heads(config: str) -> Heads | None:
    """From config.json's text, or its `text_config` (text and pictures); None where neither says."""
    try:
        found = json.loads(config or "{}")
    except json.JSONDecodeError:
        return None
    pipeline = not isinstance(found, dict) or architecture(found) not in WITHOUT_PIPELINE
    for part in (found, found.get("text_config") if isinstance(found, dict) else None):
        if isinstance(part, dict) and (query := _count(part, "num_attention_heads")):
            return Heads(query, _count(part, "num_key_value_heads") or query, pipeline)
    return None


def _count(part: Mapping[str, Any], key: str) -> int:
    value = part.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
