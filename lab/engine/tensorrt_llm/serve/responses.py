"""POST /v1/responses and its look-ups, without streaming.

Up to late 2025 for gpt-oss only. Nothing is stored, so every look-up of an id is a 404.
"""

import time
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..version import EARLY_2026, at_least
from . import answers, body, chat, streams
from .errors import Refused
from .model import Model


async def handle(model: Model, request: Request) -> Response:
    """One request, answered whole.

    Raises:
        Invalid, Refused: see errors.
    """
    fields = body.parse(await request.body(), body.RESPONSES, ("model", "input"))
    if not model.harmony and not at_least(EARLY_2026):
        raise Refused("Responses API only supports harmony format for now")
    if fields.get("stream"):
        raise Refused("streamed responses are not simulated")
    model.faults.check()
    messages = _messages(fields)
    prompt = chat.prepare(model, messages)
    usage = answers.Usage(model.tokenizer.count(prompt))
    left = streams.limits(model, usage.prompt)
    asked = {"max_tokens": fields["max_output_tokens"]} if "max_output_tokens" in fields else {}
    wishes = streams.wishes(asked, prompt, model.opening, left)
    texts = await streams.collect(streams.Call(model, wishes, usage, request.client), request)
    return JSONResponse(_answer(fields["model"], texts[0][0], usage.document()))


async def missing(_: Model, request: Request) -> Response:
    """GET or DELETE of an id.

    Raises:
        Refused: always.
    """
    name = request.path_params["response_id"]
    raise Refused(f"Response with id '{name}' not found.", "InvalidRequestError", 404)


def _messages(fields: dict[str, Any]) -> list[Any]:
    given = fields["input"]
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else list(given)
    if instructions := fields.get("instructions"):
        messages.insert(0, {"role": "system", "content": instructions})
    return messages


def _answer(model: str, text: str, usage: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": [], "logprobs": None}
    message = {"id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant",
               "status": "completed", "content": [part]}  # fmt: skip
    counts = {
        "input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"],
        "total_tokens": usage["total_tokens"], "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    return {"id": f"resp_{uuid.uuid4().hex}", "object": "response", "created_at": int(time.time()),
            "model": model, "status": "completed", "output": [message], "usage": counts}  # fmt: skip
