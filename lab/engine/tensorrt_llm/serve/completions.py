"""POST /v1/completions."""

import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ..generation import Token, Wish
from . import answers, body, constraints, logprobs, streams
from .errors import Refused
from .model import Model


async def handle(model: Model, request: Request) -> Response:
    """One completion request, whole or streamed; several prompts give several choices.

    Raises:
        Invalid, Refused: see errors.
    """
    fields = body.parse(await request.body(), body.COMPLETION, ("model", "prompt"))
    odds = logprobs.of_completion(model, fields)
    constraints.check_format(model, fields.get("response_format"))
    model.faults.check()
    usage = answers.Usage(0)
    asked: list[Wish] = []
    for prompt in _prompts(model, fields["prompt"]):
        count = model.tokenizer.count(prompt)
        left = streams.limits(model, count)
        usage.prompt += count
        asked += streams.wishes(fields, prompt, "", left)
    asked = [replace(wish, choice=i) if i else wish for i, wish in enumerate(asked)]
    head = answers.Head(f"cmpl-{uuid.uuid4().hex}", int(time.time()), fields["model"])
    call = streams.Call(model, asked, usage, request.client)
    if fields.get("stream"):
        chunks = _stream(call, head, fields.get("stream_options"), odds)
        return StreamingResponse(chunks, media_type="text/event-stream")
    texts = await streams.collect(call, request)
    return JSONResponse(answers.completion_answer(head, texts, usage, odds))


async def one_token(model: Model, prompt: str) -> None:
    """Run one token through all ranks.

    Raises:
        Refused: completions fail.
    """
    model.faults.check()
    await streams.collect(streams.Call(model, [Wish(prompt, 1)], answers.Usage(0)))


def _prompts(model: Model, given: object) -> list[str]:
    """The prompts as texts: a text, a list of texts, a list of tokens, or a list of such lists.

    Raises:
        Refused: something else.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given:
        if all(isinstance(item, str) for item in given):
            return given
        if all(isinstance(item, int) for item in given):
            return [model.tokenizer.decode(given)]
        if all(isinstance(item, list) for item in given):
            return [model.tokenizer.decode(item) for item in given]
    raise Refused("Invalid type for parameter prompt")


async def _stream(
    call: streams.Call, head: answers.Head, options: dict[str, Any] | None, odds: logprobs.Odds | None
) -> AsyncIterator[str]:
    counted = call.usage if answers.continuous_usage(options) else None
    written = Counter[int]()

    def chunk(choice: int, token: Token) -> str:
        told = None if odds is None else odds.completion(0, [token.text], written[choice])
        written[choice] += len(token.text)
        return answers.completion_chunk(head, choice, token, counted, told)

    async for text in streams.merged(call, chunk):
        yield text
    if options is not None and options.get("include_usage", True):
        yield answers.usage_chunk(head, "text_completion", call.usage)
    yield answers.DONE
