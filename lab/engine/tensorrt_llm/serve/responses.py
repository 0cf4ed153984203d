"""POST /v1/responses and its look-ups.

Up to late 2025 for gpt-oss only. Nothing is stored, so every look-up of an id is a 404. Not simulated,
and refused: streams of gpt-oss (they have channels), streams of releases after 1.3.0rc13 (their events were
not read), and a tool_choice that forces a tool.
"""

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ..version import EARLY_2026, at_least
from . import answers, body, chat, constraints, streams
from .errors import Refused
from .model import Model
from .response_events import Events, Reply

UNREAD_EVENTS = "1.3.0rc14"
"""First release whose events are not known."""


async def handle(model: Model, request: Request) -> Response:
    """One request, whole or streamed.

    Raises:
        Invalid, Refused: see errors.
    """
    fields = body.parse(await request.body(), body.RESPONSES, ("model", "input"))
    _check(model, fields)
    model.faults.check()
    prompt = chat.prepare(model, _messages(fields))
    usage = answers.Usage(model.tokenizer.count(prompt))
    left = streams.limits(model, usage.prompt)
    asked = {"max_tokens": fields["max_output_tokens"]} if "max_output_tokens" in fields else {}
    wishes = streams.wishes(asked, prompt, model.opening, left)
    reply = Reply(fields, model.name, usage)
    call = streams.Call(model, wishes, usage, request.client)
    if fields.get("stream"):
        return StreamingResponse(_stream(call, Events(reply)), media_type="text/event-stream")
    texts = await streams.collect(call, request)
    return JSONResponse(reply.completed(texts[0].text))


async def missing(_: Model, request: Request) -> Response:
    """GET or DELETE of an id.

    Raises:
        Refused: always.
    """
    raise _not_there(request.path_params["response_id"])


def _check(model: Model, fields: dict[str, Any]) -> None:
    if not model.harmony and not at_least(EARLY_2026):
        raise Refused("Responses API only supports harmony format for now")
    if (name := fields.get("previous_response_id")) is not None:
        raise _not_there(name)
    if fields.get("tool_choice", "auto") not in ("auto", "none"):
        raise Refused("not simulated: a tool_choice that forces a tool")
    wanted = fields.get("text", {}).get("format")
    if wanted is not None:
        if wanted.get("type") not in ("text", "json_object", "json_schema"):
            raise Refused(f"not simulated: text.format {wanted.get('type')!r}")
        constraints.check_format(model, {"type": wanted["type"], "json_schema": wanted.get("schema")})
    if fields.get("stream") and (model.harmony or at_least(UNREAD_EVENTS)):
        raise Refused("not simulated: streamed responses of gpt-oss, and of releases after 1.3.0rc13")


def _not_there(name: str) -> Refused:
    if not name.startswith("resp_"):
        text = f"Invalid 'response_id': '{name}'. Expected an ID that begins with 'resp'."
        return Refused(text, "InvalidRequestError")
    return Refused(f"Response with id '{name}' not found.", "InvalidRequestError", 404)


def _messages(fields: dict[str, Any]) -> list[Any]:
    given = fields["input"]
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else list(given)
    if instructions := fields.get("instructions"):
        messages.insert(0, {"role": "system", "content": instructions})
    return messages


async def _stream(call: streams.Call, events: Events) -> AsyncIterator[str]:
    yield events.first()
    async for text in streams.merged(call, events.token):
        yield text
    yield events.last()
