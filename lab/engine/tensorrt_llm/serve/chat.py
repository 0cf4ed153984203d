"""POST /v1/chat/completions."""

import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ..generation import Token
from . import answers, body, constraints, harmony, logprobs, prompt, streams
from .model import Model


async def handle(model: Model, request: Request) -> Response:
    """One chat request, whole or streamed.

    Raises:
        Invalid, Refused: see errors.
    """
    fields = body.parse(await request.body(), body.CHAT, ("model", "messages"))
    model.faults.check()
    text = prepare(model, fields["messages"])
    count = model.tokenizer.count(text)
    if "prompt_token_ids" in fields and not model.harmony:  # in place of the messages
        text, count = model.tokenizer.decode(fields["prompt_token_ids"]), len(fields["prompt_token_ids"])
    usage = answers.Usage(count)
    left = streams.limits(model, usage.prompt)
    asked = streams.wishes(fields, text, model.opening, left)
    constraints.check_format(model, fields.get("response_format"))
    form = answers.Form(logprobs.of_chat(model, fields), constraints.named_function(model, fields))
    head = answers.Head(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), fields["model"])
    call = streams.Call(model, asked, usage, request.client)
    if fields.get("stream"):
        chunks = _stream(call, head, fields.get("stream_options"), form)
        return StreamingResponse(chunks, media_type="text/event-stream")
    texts = await streams.collect(call, request)
    return JSONResponse(answers.chat_answer(head, texts, usage, form))


def prepare(model: Model, messages: list[Any]) -> str:
    """The prompt of a chat; gpt-oss's vocabularies are looked for at the first one.

    Raises:
        Refused: no vocabularies, or messages that are not text.
    """
    if model.harmony and not model.harmony_ready:
        harmony.load_vocabularies()
        model.harmony_ready = True
    return prompt.render(messages)


async def _stream(
    call: streams.Call, head: answers.Head, options: dict[str, Any] | None, form: answers.Form
) -> AsyncIterator[str]:
    counted = call.usage if answers.continuous_usage(options) else None
    roles = [answers.chat_role_chunk(head, choice, counted) for choice in range(len(call.wishes))]
    written = Counter[int]()

    def chunk(choice: int, token: Token) -> str:
        written[choice] += 1
        return answers.chat_chunk(head, choice, token, counted, form, written[choice] - 1)

    async for text in streams.merged(call, chunk):
        while roles:  # they come with the first token, not before
            yield roles.pop(0)
        yield text
    if options is not None and options.get("include_usage", True):
        yield answers.usage_chunk(head, "chat.completion.chunk", call.usage)
    yield answers.DONE
