"""The JSON of answers and stream chunks, field by field as the real server writes them."""

import json
from dataclasses import dataclass, field
from typing import Any

from ..generation import Token
from ..version import EARLY_2026, at_least

Json = dict[str, Any]


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


def chat_answer(head: Head, texts: list[tuple[str, str, str | None]], usage: Usage) -> Json:
    """A whole chat answer; `texts` are (content, finish_reason, stop_reason) by choice."""
    choices: list[Json] = [
        {
            "index": index,
            "message": {
                "role": "assistant", "content": text, "reasoning_content": None,
                "reasoning": None, "tool_calls": [],
            },
            "logprobs": None,
            "finish_reason": finish,
            "stop_reason": stop,
            "mm_embedding_handle": None,
            "disaggregated_params": None,
            "avg_decoded_tokens_per_iter": 1.0,
        }
        for index, (text, finish, stop) in enumerate(texts)
    ]  # fmt: skip
    body = head.document("chat.completion")
    return {**body, "choices": choices, "usage": usage.document(), "prompt_token_ids": None}


def chat_role_chunk(head: Head, choice: int, usage: Usage | None) -> str:
    """The first chunk of a choice. There is a blank before its empty line in the real stream."""
    document = head.document("chat.completion.chunk")
    document["choices"] = [{"index": choice, "delta": {"role": "assistant"}}]
    if usage is not None:
        document["usage"] = usage.document()
    return f"data: {dumps(document)} \n\n"


def chat_chunk(head: Head, choice: int, token: Token, usage: Usage | None) -> str:
    """A chunk with content, without nulls; the last one of a choice has the finish reason."""
    entry: Json = {
        "index": choice,
        "delta": {"content": token.text, "reasoning_content": ""},
        "finish_reason": token.finish_reason,
        "stop_reason": token.stop_reason,
        "avg_decoded_tokens_per_iter": 1.0,
    }
    entry = {key: value for key, value in entry.items() if value is not None}
    document = {**head.document("chat.completion.chunk"), "choices": [entry]}
    if usage is not None:
        document["usage"] = usage.document()
    return f"data: {dumps(document)}\n\n"


def completion_answer(head: Head, texts: list[tuple[str, str, str | None]], usage: Usage) -> Json:
    """A whole text completion."""
    choices = [
        {
            "index": index, "text": text, "token_ids": None, "logprobs": None,
            "context_logits": None, "finish_reason": finish, "stop_reason": stop,
            "disaggregated_params": None, "avg_decoded_tokens_per_iter": 1.0,
        }
        for index, (text, finish, stop) in enumerate(texts)
    ]  # fmt: skip
    body = head.document("text_completion")
    return {**body, "choices": choices, "usage": usage.document(), "prompt_token_ids": None}


def completion_chunk(head: Head, choice: int, token: Token, usage: Usage | None) -> str:
    """A chunk of a text completion: nulls are kept, there is no role chunk."""
    entry = {
        "index": choice, "text": token.text, "token_ids": None, "logprobs": None,
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
