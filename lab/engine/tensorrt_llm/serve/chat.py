"""POST /v1/chat/completions."""

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ..generation import Token, Wish
from . import answers, body, harmony, streams
from .errors import Refused
from .model import Model


async def handle(model: Model, request: Request) -> Response:
    """One chat request, whole or streamed.

    Raises:
        Invalid, Refused: see errors.
    """
    fields = body.parse(await request.body(), body.CHAT, ("model", "messages"))
    if model.harmony and not model.harmony_ready:
        harmony.load_vocabularies()
        model.harmony_ready = True
    prompt = render(fields["messages"])
    usage = answers.Usage(model.tokenizer.count(prompt))
    left = streams.limits(model, usage.prompt)
    asked = streams.wishes(fields, prompt, model.opening, left)
    head = answers.Head(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), fields["model"])
    if fields.get("stream"):
        options = fields.get("stream_options")
        chunks = _stream(model, head, asked, usage, options)
        return StreamingResponse(chunks, media_type="text/event-stream")
    texts = await streams.collect(model, asked, usage)
    return JSONResponse(answers.chat_answer(head, texts, usage))


def render(messages: list[Any]) -> str:
    """The prompt: what the models' own chat_template makes of the messages.

    Raises:
        Refused: a message without a role, or content that is not text.
    """
    lines = []
    for message in messages:
        if not isinstance(message, dict) or "role" not in message:
            raise Refused("Each message needs a role and content")
        content = message.get("content") or ""
        if isinstance(content, list):
            parts = [part.get("text") for part in content if isinstance(part, dict)]
            if None in parts:
                raise Refused("Only text content is supported by this model")
            content = "\n".join(str(part) for part in parts)
        lines.append(f"{message['role']}: {content}\n")
    return "".join(lines) + "assistant:"


async def _stream(
    model: Model,
    head: answers.Head,
    asked: list[Wish],
    usage: answers.Usage,
    options: dict[str, Any] | None,
) -> AsyncIterator[str]:
    continuous = options is not None and options.get("continuous_usage_stats", True)
    counted = usage if continuous else None
    for choice in range(len(asked)):
        yield answers.chat_role_chunk(head, choice, counted)

    def chunk(choice: int, token: Token) -> str:
        reasons = (token.finish_reason, token.stop_reason)
        return answers.chat_chunk(head, choice, token.text, *reasons, counted)

    async for text in streams.merged(model, asked, usage, chunk):
        yield text
    if options is not None and options.get("include_usage", True):
        yield answers.usage_chunk(head, "chat.completion.chunk", usage)
    yield answers.DONE
