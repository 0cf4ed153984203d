"""Running a request's choices through the engine: all at once, or as one stream."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

from ..generation import Token, Wish, generate
from ..logger import logger
from .answers import Usage
from .errors import Refused
from .model import Model

Text = tuple[str, str, str | None]


def limits(model: Model, prompt_tokens: int) -> int:
    """How many tokens may follow a prompt.

    Raises:
        Refused: the prompt is too long, in the real server's words.
    """
    most = model.args["max_num_tokens"]
    if prompt_tokens > most and not model.args["enable_chunked_prefill"]:
        raise Refused(
            f"The sum of prompt length ({float(prompt_tokens)}), query length (0) should not "
            f"exceed max_num_tokens ({most})"
        )
    left = model.max_seq_len - prompt_tokens
    if left <= 0:
        raise Refused(
            f"`default_max_tokens` ({left}) must be greater than 0, `default_max_tokens` ({left}) "
            f"= max_seq_len ({model.max_seq_len}) - `splited_prompt_len` ({prompt_tokens}) - "
            "`query_token_len` (0)"
        )
    return left


def wishes(body: dict[str, Any], prompt: str, opening: str, left: int) -> list[Wish]:
    """One wish per choice (`n`).

    Raises:
        Refused: a value outside its range.
    """
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None and limit < 1:
        raise Refused(f"max_tokens must be greater than 0, got {limit}")
    if body.get("stream_options") is not None and not body.get("stream"):
        raise Refused("stream_options can only be set if stream is true")
    stop = body.get("stop", [])
    return [
        Wish(
            prompt=prompt,
            limit=min(limit or left, left),
            opening=opening,
            minimum=body.get("min_tokens", 0),
            endless=body.get("ignore_eos", False) and limit is not None,
            stops=tuple([stop] if isinstance(stop, str) else stop),
            choice=choice,
            seed=body.get("seed"),
        )
        for choice in range(body.get("n", 1))
    ]


async def collect(model: Model, asked: list[Wish], usage: Usage) -> list[Text]:
    """Run the wishes side by side; (text, finish_reason, stop_reason) of each."""

    async def one(index: int, wish: Wish) -> Text:
        text, last = "", Token("", "stop")
        async for token in _counted(model, wish, index, usage):
            text, last = text + token.text, token
        return text.lstrip(), last.finish_reason or "stop", last.stop_reason

    return list(await asyncio.gather(*(one(i, wish) for i, wish in enumerate(asked))))


async def merged(
    model: Model, asked: list[Wish], usage: Usage, chunk: Callable[[int, Token], str]
) -> AsyncIterator[str]:
    """The chunks of all wishes in the order in which their tokens come."""
    if len(asked) == 1:
        async for token in _counted(model, asked[0], 0, usage):
            yield chunk(0, token)
        return
    queue: asyncio.Queue[tuple[int, Token | None]] = asyncio.Queue()

    async def feed(index: int, wish: Wish) -> None:
        try:
            async for token in _counted(model, wish, index, usage):
                queue.put_nowait((index, token))
        finally:
            queue.put_nowait((index, None))

    tasks = [asyncio.create_task(feed(i, wish)) for i, wish in enumerate(asked)]
    try:
        running = len(tasks)
        while running:
            index, next_token = await queue.get()
            if next_token is None:
                running -= 1
            else:
                yield chunk(index, next_token)
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _counted(model: Model, wish: Wish, choice: int, usage: Usage) -> AsyncIterator[Token]:
    """The tokens of one wish, counted in the usage and in the server's metrics."""
    model.metrics.active += 1
    reason, begun = "cancelled", sum(usage.completion.values())
    finished = False
    try:
        async for token in generate(wish, model.tokenizer, model.engine, model.behaviour):
            usage.count(choice)
            reason = token.finish_reason or reason
            if model.args["enable_iter_perf_stats"]:
                model.metrics.iteration(model.args)
            finished = token.finish_reason is not None
            yield token
    finally:
        model.metrics.active -= 1
        if finished:
            generated = usage.completion.get(choice, 0)
            model.metrics.finished(reason, usage.prompt if begun == 0 else 0, generated)
        else:
            logger.info(f"client is disconnected, abort {uuid.uuid4().int % 10**6}")
