"""Checks of room: the model in memory, and its files on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cluster import engine, fit, model_shape
from cluster.checks.table import Context, Finding, check
from cluster.config import Settings
from cluster.facts import Facts
from cluster.fit.constants import GIB, OS_SHARE
from cluster.resolution import missing_bytes

#: Room to leave on the disk of the cache, bytes: a full disk stops more than a download.
DISK_MARGIN = 2 * GIB
_OVERCOMMIT = "`pulumi config set allowOvercommit true` deploys it all the same."


@check(
    "memory.fit",
    "Weights, KV cache and overhead of a rank fit in every node's memory, by our estimate.",
    "Use more nodes, a smaller maxNumTokens or maxBatchSize, or a more tightly packed model.",
    "FAIL",
    "WARN",
)
def memory(context: Context) -> Iterator[Finding]:
    """`does not fit` stops unless allowOvercommit; `tight` is a warning. The fullest node speaks."""
    found = context.found
    if not context.settings.running or found is None or found.model is None:
        return
    verdict = estimate(context, found.model)
    if verdict.word == "fits":
        return
    fatal = verdict.word == "does not fit" and not context.settings.allow_overcommit
    todo = fit.advice(found.model, verdict)
    yield Finding(
        "FAIL" if fatal else "WARN",
        verdict.memory.node,
        f"{context.settings.model} {_is(verdict.word)}: {fit.sentence(verdict)}.",
        f"{todo} {_OVERCOMMIT}" if fatal else todo,
    )


@check(
    "memory.context",
    "maxSeqLen is within the model's own context, and what other programs hold leaves room for the context "
    "that is served.",
    "Leave maxSeqLen out, or set a shorter one; end what else holds memory on the node.",
    "FAIL",
    "WARN",
)
def longest(context: Context) -> Iterator[Finding]:
    """The context that is served does not depend on what other programs hold at the moment: this tells."""
    found, asked = context.found, context.settings.max_seq_len
    if not context.settings.running or found is None or found.model is None:
        return
    name, most = context.settings.model, found.model.shape.max_positions
    if asked and most and asked > most:
        yield Finding(
            "FAIL",
            "",
            f"maxSeqLen is {asked}, and {name} has a context of {most} tokens at most.",
            f"`pulumi config set maxSeqLen {most}`, or leave it out.",
        )
        return
    served = serving_context(context.settings, found.model, context.nodes)
    memories = [memory_of(facts, context.stack) for facts in context.nodes]
    held = fit.context(found.model, load_of(context.settings, found.model), memories)
    fits = estimate(context, found.model).word != "does not fit"  # else memory.fit has it
    if fits and not asked and served and held and held < served:
        fullest = min(memories, key=lambda one: one.total - one.others)
        yield Finding(
            "WARN",
            fullest.node,
            f"other programs hold {fullest.others / GIB:.1f} GiB, which leaves the KV cache room for a "
            f"context of {held} tokens by our estimate. {served} are configured: the engine shortens the "
            "context or, from 1.4 on, does not start.",
            f"End them, or `pulumi config set maxSeqLen {held}`.",
        )


@check(
    "model.split",
    "The model can be split as configured: attention heads by tensorParallel, layers by the rest.",
    "Choose a tensorParallel that divides the attention heads; gpt-oss takes all nodes or one.",
    "FAIL",
    "WARN",
)
def split(context: Context) -> Iterator[Finding]:
    """Heads that do not divide are an assertion of the attention module by all we know: a warning here."""
    found = context.found
    if not context.settings.running or found is None or found.model is None:
        return
    shape = found.model.shape
    asked = engine.resolve(context.settings, shape.architecture)
    name, ranks = context.settings.model, len(context.nodes)
    if shape.architecture in model_shape.WITHOUT_PIPELINE and asked.pipeline_parallel > 1:
        yield Finding(
            "FAIL",
            "",
            f"{name} cannot be split by layers, and tensorParallel {asked.tensor_parallel} on {ranks} nodes "
            "would do that.",
            "Leave tensorParallel out, or use fewer nodes.",
        )
    elif shape.heads % asked.tensor_parallel:
        yield Finding(
            "WARN",
            "",
            f"{name} has {shape.heads} attention heads, which {asked.tensor_parallel} ranks cannot share "
            "evenly: the engine is expected to refuse it.",
            "Choose a tensorParallel that divides them, or another number of nodes.",
        )


@check(
    "disk.cache",
    "The disk of every node's Hugging Face cache has room for what is missing of the model.",
    "Make room, or set hfCache to a folder on a larger disk.",
)
def disk(context: Context) -> Iterator[Finding]:
    """Only what has to be fetched counts, with a margin."""
    settings, found = context.settings, context.found
    if not settings.running or not settings.download_weights or found is None:
        return
    for facts, cache in zip(context.nodes, context.caches, strict=True):
        room, missing = facts.disks.get("cache"), missing_bytes(found.resolved.files, cache)
        if room is None or not missing or room.free >= missing + DISK_MARGIN:
            continue
        yield Finding(
            "FAIL",
            facts.node,
            f"{room.path} has {_gb(room.free)} free on {room.mount}, and {_gb(missing)} of {settings.model} "
            f"are still to come ({_gb(DISK_MARGIN)} are to be left).",
            f"Free {_gb(missing + DISK_MARGIN - room.free)} there, or set hfCache to one on a larger disk.",
        )


def notes(context: Context) -> Iterator[str]:
    """What is good to know in a preview: why the Hub was not asked, and the numbers of a model that fits."""
    found = context.found
    if not context.settings.running or found is None:
        return
    if found.why:
        yield f"{found.why} {context.settings.model} is used as the nodes have it, at {found.commit[:12]}."
    if found.model is None:
        yield f"Memory: not estimated, as the sizes of {context.settings.model} are not known here."
        return
    verdict = estimate(context, found.model)
    if served := serving_context(context.settings, found.model, context.nodes):
        yield _context_note(context.settings, served, found.model.shape.max_positions)
    if verdict.word == "fits":
        yield f"Memory: {context.settings.model} fits: {fit.sentence(verdict)}."


def estimate(context: Context, model: fit.Model) -> fit.Estimate:
    """The estimate of the node with the least room."""
    load = load_of(context.settings, model)
    return fit.worst(model, load, [memory_of(facts, context.stack) for facts in context.nodes])


def serving_context(settings: Settings, model: fit.Model, nodes: Sequence[Facts]) -> int | None:
    """Tokens for --max_seq_len; None leaves it to the engine.

    By the nodes' memory less the system's share, not by what is in use at the moment: that changes from run
    to run, and each change would restart the server.
    """
    memories = [fit.Memory(facts.node, facts.ram.total or facts.memory) for facts in nodes]
    return fit.context(model, load_of(settings, model), memories)


def _context_note(settings: Settings, served: int, most: int) -> str:
    if settings.max_seq_len:
        return f"Context: up to {served} tokens a request (maxSeqLen; the model's longest is {most or '?'})."
    if served == most:
        return f"Context: up to {served} tokens a request, the model's longest."
    return (
        f"Context: up to {served} of the model's {most} tokens a request, because the KV cache has room for "
        "no more by our estimate. maxSeqLen sets another length."
    )


def load_of(settings: Settings, model: fit.Model) -> fit.Load:
    """What the engine is asked to hold on each rank."""
    asked = engine.resolve(settings, model.shape.architecture)
    return fit.Load(
        tensor=asked.tensor_parallel,
        pipeline=asked.pipeline_parallel,
        max_num_tokens=asked.max_num_tokens,
        max_batch_size=asked.max_batch_size,
        max_seq_len=asked.max_seq_len,
        fraction=asked.gpu_memory_fraction,
        graph_padding=asked.cuda_graph_padding,
    )


def memory_of(facts: Facts, stack: str) -> fit.Memory:
    """A node's memory and what others hold of it: what is measured, at least the system's share.

    Where a rank of this stack runs, its own use cannot be told from the rest: the system's share stands.
    """
    total = facts.ram.total or facts.memory
    ours = any(rank[0] == stack for rank in facts.ranks)
    measured = 0 if ours or not facts.ram.available else total - facts.ram.available
    return fit.Memory(facts.node, total, max(OS_SHARE, measured))


def _is(word: fit.Word) -> str:
    return "is tight in memory" if word == "tight" else "does not fit in memory"


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
