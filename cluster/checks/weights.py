"""Checks of the model's files on the nodes."""

from __future__ import annotations

from collections.abc import Iterator

from cluster import catalog, model_config
from cluster.checks.table import Context, Finding, check


@check(
    "weights.whole",
    "Where downloadWeights is false: the model is in every node's Hugging Face cache, and whole.",
    "Set downloadWeights to true, or run `hf download MODEL` there.",
)
def whole(context: Context) -> Iterator[Finding]:
    """Missing, or with files missing or cut short, and not to be fetched."""
    model = context.settings.model
    if not context.settings.running or context.settings.download_weights:
        return
    for facts, cache in zip(context.nodes, context.caches, strict=True):
        if cache["commit"] is None:
            close = catalog.suggestions(model, also=cache["models"])
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            yield Finding(
                "FAIL",
                facts.node,
                f"model {model} is not in {cache['folder']}.",
                f"Set downloadWeights to true, or run there `hf download {model}`.{hint}",
            )
        elif cache["problems"]:
            yield Finding(
                "FAIL",
                facts.node,
                f"model {model} is not whole in {cache['folder']}: {'; '.join(cache['problems'][:3])}.",
                f"Set downloadWeights to true, or run there `hf download {model}`.",
            )


@check(
    "weights.revision",
    "Where downloadWeights is false: all nodes have the model at one revision.",
    "Run `hf download MODEL` on the node that is behind.",
)
def revision(context: Context) -> Iterator[Finding]:
    """Nodes that fetched it at different times."""
    commits = {cache["commit"] for cache in context.caches}
    fetched = not context.settings.running or context.settings.download_weights
    if fetched or None in commits or len(commits) == 1:
        return
    if any(cache["problems"] for cache in context.caches):
        return
    model = context.settings.model
    listed = ", ".join(
        f"{facts.node} has {cache['commit'][:12]}"
        for facts, cache in zip(context.nodes, context.caches, strict=True)
    )
    yield Finding(
        "FAIL",
        "",
        f"model {model} is at different revisions: {listed}.",
        f"Run `hf download {model}` on the node that is behind.",
    )


@check(
    "weights.tiktoken",
    "Where downloadWeights is false: the head has OpenAI's vocabularies if the model needs them (gpt-oss).",
    "Set downloadWeights to true, or put o200k_base.tiktoken and cl100k_base.tiktoken into the cache's "
    "tiktoken-encodings folder.",
)
def tiktoken(context: Context) -> Iterator[Finding]:
    """Without them the engine fetches them at the first chat request, or fails."""
    model, cache = context.settings.model, context.caches[0]
    fetched = not context.settings.running or context.settings.download_weights
    known = context.found.architecture if context.found else ""
    architecture = known or model_config.architecture_of(cache.get("config", ""))
    if fetched or not catalog.is_gpt_oss(model, architecture) or cache["tiktoken"]:
        return
    if any(other["commit"] is None or other["problems"] for other in context.caches):
        return
    yield Finding(
        "FAIL",
        context.nodes[0].node,
        f"{model} needs OpenAI's vocabularies, and {cache['folder']}/tiktoken-encodings lacks them.",
        "Set downloadWeights to true, or put o200k_base.tiktoken and cl100k_base.tiktoken there "
        "(from openaipublic.blob.core.windows.net/encodings).",
    )
