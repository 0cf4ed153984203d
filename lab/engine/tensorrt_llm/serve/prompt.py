"""The prompt of a chat: what the models' own chat_template makes of the messages."""

from typing import Any

from .errors import Refused


def render(messages: list[Any]) -> str:
    """The messages as one text, ready for the assistant's answer.

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
