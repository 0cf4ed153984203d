"""Whether a model fits on a node's memory, with the numbers that say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cluster.counted import counted
from cluster.fit import kv, weights
from cluster.fit.constants import (
    ACTIVATION_NUMBER,
    COMMUNICATION,
    CUDA_CONTEXT,
    CUDA_GRAPH,
    FREE_BESIDE_PAGE_CACHE,
    GIB,
    GRAPH_MAX_BATCH,
    LOAD_PEAK,
    OS_SHARE,
)
from cluster.model_config import Shape

Word = Literal["fits", "tight", "does not fit"]
MAX_TOKENS = 1_048_576
MAX_CONTEXT = 16_777_216
MAX_BATCH = 2048
#: What the configuration's lower bound for maxNumTokens and maxSeqLen is, and the step of our advice.
TOKEN_STEP = 64
#: A context that is shortened is a multiple of this, so that a few megabytes more or less in a node's
#: memory (a new kernel) leave the server's command line as it is.
CONTEXT_STEP = 1024


@dataclass(frozen=True)
class Model:
    """What is known of a model: its shape, and its tensors' bytes by name (collapsed or not)."""

    shape: Shape
    tensors: Mapping[str, int]

    @property
    def bytes(self) -> int:
        """The checkpoint's tensors together."""
        return sum(self.tensors.values())


@dataclass(frozen=True)
class Load:
    """What the engine is asked to hold. `max_num_tokens` bounds a prompt; `max_seq_len` is the longest
    context that the user asked for, if any; `fraction` is the share of free memory for the KV cache.
    """

    tensor: int
    pipeline: int
    max_num_tokens: int
    max_batch_size: int
    fraction: float
    graph_padding: bool = True
    max_seq_len: int | None = None


@dataclass(frozen=True)
class Memory:
    """A node's memory in bytes: all of it, and what others than our ranks hold of it."""

    node: str
    total: int
    others: int = OS_SHARE


@dataclass(frozen=True)
class Estimate:
    """One rank on one node, in bytes. `request`: the cache of one request of `longest` tokens (max_seq_len,
    or max_num_tokens where that is not asked for, and no more than the model takes); `pool`: the KV cache
    that the engine can give itself; `worst_pool`: the same while the page cache of the weight files is not
    given back, which the engine takes for used.
    """

    memory: Memory
    load: Load
    weights: int
    activations: int
    graphs: int
    communication: int
    request: int
    pool: int
    worst_pool: int
    longest: int

    @property
    def overhead(self) -> int:
        """Everything of the engine beside weights and KV cache."""
        return self.activations + self.graphs + self.communication + CUDA_CONTEXT

    @property
    def wanted(self) -> int:
        """The cache of max_batch_size requests of `longest` tokens each."""
        return self.request * self.load.max_batch_size

    @property
    def usable(self) -> int:
        """What is left of the memory for the engine."""
        return max(0, self.memory.total - self.memory.others)

    @property
    def word(self) -> Word:
        """`does not fit`: not even one request of `longest` tokens does. `tight`: not all max_batch_size of
        them (the engine lets some wait, and may shorten the context), or loading may run out of memory.
        """
        if self.weights + self.overhead >= self.usable or self.request > self.pool:
            return "does not fit"
        if self.wanted > self.worst_pool or self.weights * LOAD_PEAK > self.usable:
            return "tight"
        return "fits"


def estimate(model: Model, load: Load, memory: Memory) -> Estimate:
    """The numbers for the fullest rank on one node.

    Windows are not taken into account: the engine keeps the whole length in every attention layer unless
    told otherwise (GB10 log: 73728 bytes a token for gpt-oss-120b are all its 36 layers).
    """
    shape = model.shape.without_windows()
    held = weights.per_rank(model.tensors, shape, load.tensor, load.pipeline)
    tokens = _longest_request(shape, load)
    partial = Estimate(
        memory=memory,
        load=load,
        weights=held,
        activations=activations(shape, load),
        graphs=len(graph_sizes(load.max_batch_size, load.graph_padding)) * CUDA_GRAPH,
        communication=COMMUNICATION if load.tensor * load.pipeline > 1 else 0,
        request=kv.request_bytes(shape, tokens, load.tensor, load.pipeline),
        pool=0,
        worst_pool=0,
        longest=tokens,
    )
    left = max(0, partial.usable - held - partial.overhead)
    beside = max(left - model.bytes, min(left, FREE_BESIDE_PAGE_CACHE))
    return replace(partial, pool=int(left * load.fraction), worst_pool=int(beside * load.fraction))


def _longest_request(shape: Shape, load: Load) -> int:
    """Tokens of the longest request that has to have room."""
    wanted = load.max_seq_len or load.max_num_tokens
    return min(wanted, shape.max_positions or wanted)


def context(model: Model, load: Load, memories: Sequence[Memory]) -> int | None:
    """The longest context to serve, for --max_seq_len; None where the model does not tell its own.

    As asked for, else the model's own where the KV cache of one such request has room, else the most tokens
    that have: by `worst_pool`, because the engine counts the page cache of the files it has just read as
    used, and 1.4 exits when the context does not fit in the rest. Never below a prompt of max_num_tokens.
    """
    shape = model.shape
    if load.max_seq_len or not shape.max_positions:
        return load.max_seq_len
    found = worst(model, load, memories)
    whole = shape.without_windows()

    def fits(tokens: int) -> bool:
        return kv.request_bytes(whole, tokens, load.tensor, load.pipeline) <= found.worst_pool

    if fits(shape.max_positions):
        return shape.max_positions
    steps = _largest(lambda count: fits(count * CONTEXT_STEP), shape.max_positions // CONTEXT_STEP)
    return max(steps * CONTEXT_STEP, _longest_request(shape, load))


def activations(shape: Shape, load: Load) -> int:
    """Bytes of the largest step: a few rows of hidden numbers, attention's inputs, the MLP's or the chosen
    experts' inputs and insides for max_num_tokens tokens, and the float32 logits of a batch.

    On the GB10 log's start it gives 1.1 GiB where 0.85 GiB were measured.
    """
    rows = 4 * shape.hidden + (shape.heads + 2 * shape.kv_heads) * shape.head_dim / load.tensor
    if shape.experts_per_token:
        inside = 3 * shape.expert_intermediate / load.tensor
        rows += shape.experts_per_token * (2 * shape.hidden + inside)
    else:
        rows += 3 * shape.intermediate / load.tensor
    logits = 4 * load.max_batch_size * shape.vocabulary
    return int(ACTIVATION_NUMBER * rows * load.max_num_tokens) + logits


def graph_sizes(max_batch_size: int, padding: bool) -> list[int]:
    """The batch sizes for which a CUDA graph is captured."""
    low = [1, 2, 4, *range(8, GRAPH_MAX_BATCH + 1, 8)] if padding else [*range(1, 32), 32, 64, 128]
    sizes = [size for size in low if size <= max_batch_size]
    reachable = min(max_batch_size, GRAPH_MAX_BATCH)
    return sizes if not sizes or sizes[-1] == reachable else [*sizes, reachable]


def worst(model: Model, load: Load, memories: Sequence[Memory]) -> Estimate:
    """The estimate of the node that has the least room."""
    found = [estimate(model, load, memory) for memory in memories]
    return min(found, key=lambda one: one.usable)


def fewest_nodes(model: Model, load: Load, memory: Memory, at_most: int = 8) -> int | None:
    """The smallest number of nodes like this one, layers split over all of them, on which it is not
    `does not fit`; numbers that do not divide the attention heads are left out, as the engine refuses them.
    """
    for count in range(1, at_most + 1):
        if model.shape.heads % count:
            continue
        if estimate(model, replace(load, tensor=count, pipeline=1), memory).word != "does not fit":
            return count
    return None


def most_tokens(model: Model, load: Load, memory: Memory) -> int | None:
    """The largest maxNumTokens that `fits` with this maxBatchSize, a multiple of 64; None for none."""
    ceiling = min(MAX_TOKENS, model.shape.max_positions or MAX_TOKENS) // TOKEN_STEP

    def fits(steps: int) -> bool:
        wanted = replace(load, max_num_tokens=steps * TOKEN_STEP)
        return estimate(model, wanted, memory).word == "fits"

    steps = _largest(fits, ceiling)
    return steps * TOKEN_STEP if steps else None


def most_requests(model: Model, load: Load, memory: Memory) -> int | None:
    """The largest maxBatchSize that `fits` with this maxNumTokens; None for none."""

    def fits(batch: int) -> bool:
        return estimate(model, replace(load, max_batch_size=batch), memory).word == "fits"

    return _largest(fits, MAX_BATCH) or None


def most_context(model: Model, load: Load, memory: Memory) -> int | None:
    """The largest maxSeqLen that `fits` with this maxBatchSize, a multiple of 64; None for none."""
    ceiling = min(MAX_CONTEXT, model.shape.max_positions or MAX_CONTEXT) // TOKEN_STEP

    def fits(steps: int) -> bool:
        wanted = replace(load, max_seq_len=steps * TOKEN_STEP)
        return estimate(model, wanted, memory).word == "fits"

    steps = _largest(fits, ceiling)
    return steps * TOKEN_STEP if steps else None


def _largest(fits: Callable[[int], bool], ceiling: int) -> int:
    """The largest n up to `ceiling` for which it holds; 0 when it does not for 1. It holds below, too."""
    low, high = 0, max(ceiling, 0)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def sentence(found: Estimate) -> str:
    """What it takes and what there is, in one line."""
    load, memory = found.load, found.memory
    nodes = load.tensor * load.pipeline
    requests = counted(load.max_batch_size, "request")
    return (
        f"{_gib(found.weights)} weights, {_gib(found.overhead)} engine and {_gib(found.wanted)} KV cache "
        f"({requests} of {found.longest} tokens) on {f'each of {nodes} nodes' if nodes > 1 else 'one node'} "
        f"with {_gib(memory.total - memory.others)} of {_gib(memory.total)} free; the KV cache "
        f"{_room(found.worst_pool, found.pool)}"
    )


def _room(least: int, most: int) -> str:
    """The page cache of the weights' files takes room from the KV cache, and gives it back when it must."""
    if most <= 0:
        return "has no room"
    if least <= 0:
        return f"has room for {_gib(most)} at most"
    if _gib(least) == _gib(most):
        return f"has room for {_gib(most)}"
    return f"has room for {_gib(least)} to {_gib(most)}"


def advice(model: Model, found: Estimate) -> str:
    """What would fit instead, in one sentence."""
    load, memory = found.load, found.memory
    ranks = load.tensor * load.pipeline
    ways = []
    if (count := fewest_nodes(model, load, memory)) and count > ranks:
        ways.append(f"{count} nodes like this one")
    if load.max_seq_len and (tokens := most_context(model, load, memory)):
        ways.append(f"maxSeqLen up to {tokens} with maxBatchSize {load.max_batch_size}")
    if not load.max_seq_len and (tokens := most_tokens(model, load, memory)):
        ways.append(f"maxNumTokens up to {tokens} with maxBatchSize {load.max_batch_size}")
    if batch := most_requests(model, load, memory):
        length = (
            f"maxSeqLen {load.max_seq_len}" if load.max_seq_len else f"maxNumTokens {load.max_num_tokens}"
        )
        ways.append(f"maxBatchSize up to {batch} with {length}")
    if not ways:
        return "A smaller or more tightly packed model would fit."
    return f"What would fit: {', or '.join(ways)}."


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
