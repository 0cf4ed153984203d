"""Running a request's choices through the engine: all at once, or as one stream."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from ..generation import Token, Wish, generate
from ..logger import logger
from .answers import Text, Usage
from .errors import Refused
from .model import Model

WATCH_SECONDS = 1.0
"""How often the server looks whether a waiting client is still there."""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Call:
    """One HTTP request on its way through the engine."""

    model: Model
    wishes: list[Wish]
    usage: Usage
    client: object = "health check"


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
    """One wish per choice (`n`); a max_tokens beyond what is left is clipped.

    Raises:
        Refused: a value outside its range.
    """
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None and limit < 1:
        raise Refused(f"max_tokens must be greater than 0, got {limit}")
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


async def collect(call: Call, request: Request | None = None) -> list[Text]:
    """Run the choices side by side to their ends; given up when the client goes away."""

    async def one(index: int) -> Text:
        tokens, last = [], Token("", "stop")
        async for token in _counted(call, index):
            tokens.append(token.text)
            last = token
        text = "".join(tokens).lstrip()
        return Text(text, last.finish_reason or "stop", last.stop_reason, tuple(tokens))

    work = asyncio.gather(*(one(index) for index in range(len(call.wishes))))
    while request is not None:
        done, _ = await asyncio.wait([work], timeout=WATCH_SECONDS)
        if done:
            break
        if await request.is_disconnected():
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            raise Refused("the client is gone")
    return list(await work)


async def merged(call: Call, chunk: Callable[[int, Token], str]) -> AsyncIterator[str]:
    """The chunks of all choices in the order in which their tokens come."""
    if len(call.wishes) == 1:
        async for token in _counted(call, 0):
            yield chunk(0, token)
        return
    queue: asyncio.Queue[tuple[int, Token | None]] = asyncio.Queue()

    async def feed(index: int) -> None:
        try:
            async for token in _counted(call, index):
                queue.put_nowait((index, token))
        finally:
            queue.put_nowait((index, None))

    tasks = [asyncio.create_task(feed(index)) for index in range(len(call.wishes))]
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


async def _counted(call: Call, choice: int) -> AsyncIterator[Token]:
    """The tokens of one choice, counted in the usage and in the server's metrics."""
    model, number = call.model, next(_numbers)
    record = model.metrics.begin(number)
    finished = False
    try:
        async for token in generate(
            call.wishes[choice], model.tokenizer, model.engine, model.behaviour, model.slots
        ):
            call.usage.count(choice)
            record.token(model.args)
            finished = token.finish_reason is not None
            if finished:
                prompt = call.usage.prompt if choice == 0 else 0
                record.finished(token.finish_reason or "", prompt)
            yield token
    finally:
        if not finished:
            record.cancelled()
            logger.info(f"{call.client} is disconnected, abort {number}")
