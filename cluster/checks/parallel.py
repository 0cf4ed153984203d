"""Checks of how the model is split over the nodes."""

from __future__ import annotations

from collections.abc import Iterator

from cluster import engine, model_shape
from cluster.checks.table import Context, Finding, check


@check(
    "model.heads",
    "The model's attention heads can be shared out over tensorParallel nodes.",
    "Split layers over fewer nodes, and stages over the rest: `pulumi config set tensorParallel …`.",
)
def heads(context: Context) -> Iterator[Finding]:
    """The engine fails while loading, with an assertion that does not say why. Silent without config.json."""
    if not context.settings.running:
        return
    found = next((h for c in context.caches if (h := model_shape.heads(c.get("config", "")))), None)
    tensor = engine.resolve(context.settings).tensor_parallel
    if found is None or found.split_by(tensor):
        return
    count = len(context.settings.active_nodes)
    proposed, pipeline = found.best_split(count)
    grouped = f" ({found.key_value} for keys and values)" if found.key_value != found.query else ""
    yield Finding(
        "FAIL",
        "",
        f"{context.settings.model} has {found.query} attention heads{grouped}, which {tensor} nodes cannot "
        "share out evenly.",
        f"`pulumi config set tensorParallel {proposed}` gives tensor {proposed} x pipeline {pipeline}."
        if found.pipeline
        else f"It cannot be split by layers either: use {_nodes(found.most_nodes(count))}.",
    )


def _nodes(count: int) -> str:
    return "one node (`pulumi config set headOnly true`)" if count == 1 else f"{count} nodes"
