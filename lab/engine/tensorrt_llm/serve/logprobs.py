"""The log probabilities of this engine's tokens, in the two forms of the API.

The numbers are true of this engine: it draws each word from the tokenizer's words, all alike, and the
opening sentence is certain. So they say nothing about any model.

The PyTorch backend answers `logprobs` of chats and, since early 2026, of completions. gpt-oss's chats come
without (`logprobs` is null), and there `top_logprobs` is refused. What releases of 2025 did with
`top_logprobs` is not known: refused.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..tokenizer import pieces
from ..version import EARLY_2026, at_least
from .errors import Refused
from .model import Model

Json = dict[str, Any]
NEVER = -9999.0
"""What the real server writes for a probability of zero."""


@dataclass(frozen=True)
class Odds:
    """What is known of the tokens of one request: the first `certain` ones are always the same."""

    certain: int
    words: Sequence[str]
    top: int = 0

    def chat(self, first: int, tokens: Sequence[str]) -> Json:
        """The `logprobs` of a chat's choice for tokens from number `first` on."""
        content = []
        for number, token in enumerate(tokens, first):
            entry = _entry(token, self._of(number))
            if self.top:
                entry["top_logprobs"] = [_entry(*pair) for pair in self._ranking(number, token)]
            content.append(entry)
        return {"content": content}

    def completion(self, first: int, tokens: Sequence[str], offset: int = 0) -> Json:
        """The `logprobs` of a text completion; an offset counts its own token in, as the real one's."""
        offsets: list[int] = []
        for token in tokens:
            offsets.append(offsets[-1] + len(token) if offsets else offset)
        numbered = list(enumerate(tokens, first))
        return {
            "text_offset": offsets,
            "token_logprobs": [self._of(number) for number, _ in numbered],
            "tokens": list(tokens),
            "top_logprobs": [dict(self._ranking(number, token)) for number, token in numbered],
        }

    def _of(self, number: int) -> float:
        return 0.0 if number < self.certain else -math.log(len(self.words))

    def _ranking(self, number: int, token: str) -> Iterator[tuple[str, float]]:
        """The token and the likeliest others."""
        yield token, self._of(number)
        others = (f" {word}" for word in self.words if f" {word}" != token)
        for _, other in zip(range(self.top - 1), others, strict=False):
            yield other, self._of(number) if number >= self.certain else NEVER


def of_chat(model: Model, fields: Json) -> Odds | None:
    """What a chat asks to be told.

    Raises:
        Refused: top_logprobs of gpt-oss, or of a release before 2026.
    """
    if not fields.get("logprobs"):
        return None
    top = fields.get("top_logprobs", 0)
    if model.harmony:
        if top:
            text = "`gather_generation_logits` must be `True` to use `top_logprobs`"
            raise Refused(text, "internal_error")
        return None
    if top and not at_least(EARLY_2026):
        raise Refused("not simulated: top_logprobs of a release before 1.3")
    return Odds(len(pieces(model.opening)), model.tokenizer.words, top)


def of_completion(model: Model, fields: Json) -> Odds | None:
    """What a text completion asks to be told.

    Raises:
        Refused: a release before 2026.
    """
    top = fields.get("logprobs")
    if not top:
        return None
    if not at_least(EARLY_2026):
        raise Refused("logprobs is not supported")
    return Odds(0, model.tokenizer.words, top)


def _entry(token: str, value: float) -> Json:
    return {"token": token, "logprob": value, "bytes": list(token.encode())}
