"""The JSON of answers and stream chunks, field by field as the real server writes them."""

import json
import uuid
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..generation import Token
from ..version import EARLY_2026, at_least
from .logprobs import Odds

Json = dict[str, Any]


class Text(NamedTuple):
    """What a choice came to."""

    text: str
    finish_reason: str
    stop_reason: str | None
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """How a choice is written: with logprobs or without, as text or as one function's arguments."""

    odds: Odds | None = None
    function: str | None = None


PLAIN = Form()


@dataclass
class Usage:
    """Token counts of a request; `completion` by choice."""

    prompt: int
    completion: dict[int, int] = field(default_factory=dict)

    def count(self, choice: int) -> None:
        """One more token."""
        self.completion[choice] = self.completion.get(choice, 0) + 1

    def document(self) -> Json:
        """The `usage` object."""
        completion = sum(self.completion.values())
        return {
            "prompt_tokens": self.prompt,
            "total_tokens": self.prompt + completion,
            "completion_tokens": completion,
            "prompt_tokens_details": {"cached_tokens": 0},
        }


@dataclass(frozen=True)
class Head:
    """What every object of one answer repeats."""

    id: str
    created: int
    model: str

    def document(self, kind: str) -> Json:
        """The first four fields."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def chat_answer(head: Head, texts: list[Text], usage: Usage, form: Form = PLAIN) -> Json:
    """A whole chat answer, with a text for each choice."""
    choices: list[Json] = [
        {
            "index": index,
            "message": _message(text.text, form.function),
            "logprobs": _chat_logprobs(form.odds, text.tokens),
            "finish_reason": text.finish_reason,
            "stop_reason": text.stop_reason,
            "mm_embedding_handle": None,
            "disaggregated_params": None,
            "avg_decoded_tokens_per_iter": 1.0,
        }
        for index, text in enumerate(texts)
    ]
    body = head.document("chat.completion")
    return {**body, "choices": choices, "usage": usage.document(), "prompt_token_ids": None}


def _message(text: str, function: str | None) -> Json:
    message: Json = {"role": "assistant", "content": text, "reasoning_content": None,
                     "reasoning": None, "tool_calls": []}  # fmt: skip
    if function is not None:
        call = {"name": function, "arguments": text}
        message["tool_calls"] = [
            {"id": f"chatcmpl-tool-{uuid.uuid4().hex}", "type": "function", "function": call}
        ]
        message["content"] = ""
    return message


def _chat_logprobs(odds: Odds | None, tokens: tuple[str, ...]) -> Json | None:
    if odds is None:
        return None
    document = odds.chat(0, tokens)
    for entry in document["content"]:
        entry.setdefault("top_logprobs", None)
    return document


def chat_role_chunk(head: Head, choice: int, usage: Usage | None) -> str:
    """The first chunk of a choice. There is a blank before its empty line in the real stream."""
    document = head.document("chat.completion.chunk")
    document["choices"] = [{"index": choice, "delta": {"role": "assistant"}}]
    if usage is not None:
        document["usage"] = usage.document()
    return f"data: {dumps(document)} \n\n"


def chat_chunk(
    head: Head, choice: int, token: Token, usage: Usage | None, form: Form = PLAIN, number: int = 0
) -> str:
    """A chunk with the token of that number, without nulls; a choice's last one has the finish reason."""
    delta: Json = {"content": token.text, "reasoning_content": ""}
    if form.function is not None:
        call = {"name": form.function, "arguments": token.text}
        delta = {"tool_calls": [{"type": "function", "index": choice, "function": call}]}
    entry: Json = {
        "index": choice,
        "delta": delta,
        "logprobs": None if form.odds is None else form.odds.chat(number, [token.text]),
        "finish_reason": token.finish_reason,
        "stop_reason": token.stop_reason,
        "avg_decoded_tokens_per_iter": 1.0,
    }
    entry = {key: value for key, value in entry.items() if value is not None}
    document = {**head.document("chat.completion.chunk"), "choices": [entry]}
    if usage is not None:
        document["usage"] = usage.document()
    return f"data: {dumps(document)}\n\n"


def completion_answer(head: Head, texts: list[Text], usage: Usage, odds: Odds | None = None) -> Json:
    """A whole text completion."""
    choices = [
        {
            "index": index, "text": text.text, "token_ids": None,
            "logprobs": None if odds is None else odds.completion(0, text.tokens), "context_logits": None,
            "finish_reason": text.finish_reason, "stop_reason": text.stop_reason,
            "disaggregated_params": None, "avg_decoded_tokens_per_iter": 1.0,
        }
        for index, text in enumerate(texts)
    ]  # fmt: skip
    body = head.document("text_completion")
    return {**body, "choices": choices, "usage": usage.document(), "prompt_token_ids": None}


def completion_chunk(
    head: Head, choice: int, token: Token, usage: Usage | None, logprobs: Json | None = None
) -> str:
    """A chunk of a text completion: nulls are kept, there is no role chunk."""
    entry = {
        "index": choice, "text": token.text, "token_ids": None, "logprobs": logprobs,
        "finish_reason": token.finish_reason, "stop_reason": token.stop_reason,
        "avg_decoded_tokens_per_iter": 1.0,
    }  # fmt: skip
    document = {
        **head.document("text_completion"),
        "choices": [entry],
        "usage": usage.document() if usage is not None else None,
    }
    return f"data: {dumps(document)}\n\n"


def continuous_usage(options: Json | None) -> bool:
    """Whether every chunk carries the usage; by default only in the age of 1.2."""
    if options is None:
        return False
    return bool(options.get("continuous_usage_stats", not at_least(EARLY_2026)))


def usage_chunk(head: Head, kind: str, usage: Usage) -> str:
    """The last chunk before [DONE] when usage was asked for: no choices, the totals."""
    document = {**head.document(kind), "choices": [], "usage": usage.document()}
    return f"data: {dumps(document)}\n\n"


DONE = "data: [DONE]\n\n"


def dumps(document: object) -> str:
    """JSON without blanks, as pydantic writes it."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)
