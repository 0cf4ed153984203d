"""The response object of /v1/responses, and the events that a stream of it is made of.

As the source of early 2026 writes them: an `event:` line before each `data:`, running numbers, no
`data: [DONE]`. Two oddities of it are kept. The items of a stream have an empty id, only the last response
names one. And where an answer ends by its length, the events that close its text come before its last
piece, which then stands in an item of its own.
"""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..generation import Token
from .answers import Usage, dumps

Json = dict[str, Any]
_DEFAULTS: Json = {
    "instructions": None, "metadata": None, "parallel_tool_calls": False, "temperature": 1.0,
    "tool_choice": "auto", "tools": [], "top_p": 1.0, "background": False, "max_output_tokens": None,
    "max_tool_calls": None, "previous_response_id": None, "prompt": None, "reasoning": None,
    "service_tier": "auto", "text": None, "top_logprobs": 0, "truncation": "disabled", "user": None,
}  # fmt: skip
"""The fields of a request that its response repeats."""


def _new_id() -> str:
    return f"resp_{uuid.uuid4().hex}"


@dataclass
class Reply:
    """The response to one request, as far as it has come."""

    asked: Json
    model: str
    usage: Usage
    created: int = field(default_factory=lambda: int(time.time()))
    id: str = field(default_factory=_new_id)

    def __post_init__(self) -> None:
        self.id = self.asked.get("request_id", self.id)

    def begun(self) -> Json:
        """The object at the beginning of a stream."""
        return self._document("in_progress", [], None)

    def completed(self, text: str) -> Json:
        """The object of an answer that has come to its end."""
        return self._document("completed", [_message(f"msg_{uuid.uuid4().hex}", text)], self._counts())

    def _document(self, status: str, output: list[Json], usage: Json | None) -> Json:
        repeated = {name: self.asked.get(name, value) for name, value in _DEFAULTS.items()}
        return {
            "id": self.id, "object": "response", "created_at": self.created, "model": self.model,
            "status": status, "output": output, "usage": usage, **repeated,
        }  # fmt: skip

    def _counts(self) -> Json:
        counts = self.usage.document()
        return {
            "input_tokens": counts["prompt_tokens"], "output_tokens": counts["completion_tokens"],
            "total_tokens": counts["total_tokens"], "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }  # fmt: skip


@dataclass
class Events:
    """Writes the events of one streamed response."""

    reply: Reply
    _number: int = 0
    _index: int = 0  # of the item that is written
    _open: bool = False
    _text: str = ""

    def first(self) -> str:
        """What comes before all tokens."""
        kinds = ("response.created", "response.in_progress")
        return "".join(self._event(kind, response=self.reply.begun()) for kind in kinds)

    def token(self, _: int, token: Token) -> str:
        """One token; an end of sequence comes as a step without text after the last one."""
        self._text += token.text
        events: list[str] = []
        if token.finish_reason == "length":
            events += self._close()
        events += self._delta(token.text)
        if token.finish_reason == "stop":
            events += self._close()
        return "".join(events)

    def last(self) -> str:
        """What comes after all tokens."""
        return self._event("response.completed", response=self.reply.completed(self._text.lstrip()))

    def _delta(self, text: str) -> Iterator[str]:
        if not self._open:
            self._open = True
            item = {**_message("", ""), "content": [], "status": "in_progress"}
            yield self._event("response.output_item.added", output_index=self._index, item=item)
            part = {**_part(""), "logprobs": []}
            yield self._event("response.content_part.added", **self._place(), part=part)
        yield self._event("response.output_text.delta", **self._place(), delta=text, logprobs=[])

    def _close(self) -> Iterator[str]:
        if not self._open:
            return
        yield self._event("response.output_text.done", **self._place(), text=self._text, logprobs=[])
        yield self._event("response.content_part.done", **self._place(), part=_part(self._text))
        item = _message("", self._text)
        yield self._event("response.output_item.done", output_index=self._index, item=item)
        self._index += 1
        self._open = False

    def _place(self) -> Json:
        return {"item_id": "", "output_index": self._index, "content_index": 0}

    def _event(self, kind: str, **content: object) -> str:
        document = {**content, "sequence_number": self._number, "type": kind}
        self._number += 1
        return f"event: {kind}\ndata: {dumps(document)}\n\n"


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": None}


def _message(name: str, text: str) -> Json:
    return {
        "id": name,
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [_part(text)],
    }
