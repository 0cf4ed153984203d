"""What is asked: prompts of an exact number of tokens, or a data set's own.

A prompt is words that are one token each, with the blank before them: pre-tokenizers split there, so the
whole has as many tokens as words, and that is checked by encoding it. The chat template's own tokens come
on top: the server's `usage` says how many.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cluster.errors import ConfigError

_WORD = re.compile(r"[ \u0120\u2581][a-z]{2,12}")
#: In a vocabulary that does not mark blanks.
_BARE_WORD = re.compile(r"[a-z]{2,12}")
#: Characters per token of English text where no tokenizer is at hand.
CHARS_PER_TOKEN = 4
#: ShareGPT's conversations begin with remarks of any length; the shell scripts kept these.
SHAREGPT_CHARS = (50, 2000)
ATTEMPTS = 50
_PLAIN_WORDS = ("about", "house", "water", "under", "green", "story", "music", "table", "river", "light")


class Tokenizer(Protocol):
    """What prompts need of one."""

    exact: bool

    def count(self, text: str) -> int:
        """Tokens of the text, without special ones."""
        ...

    def words(self) -> Sequence[str]:
        """Words with a blank before them that are one token each."""
        ...


class ModelTokenizer:
    """The model's own, from its tokenizer.json."""

    exact = True

    def __init__(self, path: Path) -> None:
        """Raises ConfigError when the file is no tokenizer."""
        from tokenizers import Tokenizer as Loaded

        try:
            self._loaded = Loaded.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise ConfigError(f"{path} is no tokenizer: {error}") from None

    def count(self, text: str) -> int:
        """Tokens of the text."""
        return len(self._loaded.encode(text, add_special_tokens=False).ids)

    def words(self) -> Sequence[str]:
        """From the vocabulary, in one order."""
        vocabulary = self._loaded.get_vocab()
        marked = [" " + word[1:] for word in vocabulary if _WORD.fullmatch(word)]
        bare = [" " + word for word in vocabulary if _BARE_WORD.fullmatch(word)]
        alone = self.count(" x")
        return [word for word in sorted(marked or bare) if self.count(f" x{word}") == alone + 1]


class ApproximateTokenizer:
    """Where the model's own is not at hand: so many characters are a token. Said in every result."""

    exact = False

    def count(self, text: str) -> int:
        """Characters, divided."""
        return -(-len(text) // CHARS_PER_TOKEN)

    def words(self) -> Sequence[str]:
        """Words of about one token."""
        return [f" {word}"[: CHARS_PER_TOKEN * 2] for word in _PLAIN_WORDS]


@dataclass(frozen=True)
class Prompt:
    """A prompt, its tokens as counted here, and how many to answer with."""

    text: str
    tokens: int
    output_tokens: int


def synthetic(
    tokenizer: Tokenizer, count: int, input_tokens: int, output_tokens: int, seed: int
) -> Iterator[Prompt]:
    """`count` different prompts of exactly `input_tokens`, the same for the same seed.

    Raises ConfigError where the vocabulary does not allow it.
    """
    words = tokenizer.words()
    if not words:
        raise ConfigError("the tokenizer has no plain words: give prompts with --dataset")
    chance = random.Random(seed)
    for _ in range(count):
        text = _exactly(tokenizer, words, input_tokens, chance)
        yield Prompt(text, tokenizer.count(text), output_tokens)


def _exactly(tokenizer: Tokenizer, words: Sequence[str], tokens: int, chance: random.Random) -> str:
    for _ in range(ATTEMPTS):
        chosen = chance.choices(words, k=tokens)
        for _ in range(ATTEMPTS):
            text = "".join(chosen)
            over = tokenizer.count(text) - tokens
            if over == 0 or not tokenizer.exact:
                return (
                    text
                    if tokenizer.exact
                    else text[: tokens * CHARS_PER_TOKEN].ljust(tokens * CHARS_PER_TOKEN, ".")
                )
            chosen = chosen[:-over] if 0 < over < len(chosen) else [*chosen, *chance.choices(words, k=-over)]
    raise ConfigError(f"no prompt of exactly {tokens} tokens could be made: give prompts with --dataset")


def dataset(
    path: Path, tokenizer: Tokenizer, count: int, output_tokens: int | None, seed: int
) -> list[Prompt]:
    """`count` prompts of a file, in an order that the seed decides; again from the first when it has fewer.

    The file: a JSON list or JSON lines; ShareGPT's form ({"conversations": [{"from": "human", "value"}, …]}),
    or objects with `prompt` (or `text`, or OpenAI's `messages`) and, if you like, `output_tokens`. Without
    `output_tokens` here or there, the length of the recorded answer counts, else 256. Raises ConfigError with
    the line.
    """
    records = list(_records(path))
    random.Random(seed).shuffle(records)
    found = [prompt for record in records if (prompt := _prompt(record, tokenizer, output_tokens))]
    if not found:
        raise ConfigError(
            f"{path}: no prompt in it; it may have `prompt`, `text`, `messages` or ShareGPT's conversations"
        )
    return [found[number % len(found)] for number in range(count)]


def _records(path: Path) -> Iterator[Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if text.lstrip().startswith("["):
        try:
            yield from json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ConfigError(f"{path}, line {number}: not JSON ({error.msg})") from None


def _prompt(record: Any, tokenizer: Tokenizer, output_tokens: int | None) -> Prompt | None:
    if isinstance(record, str):
        record = {"prompt": record}
    if not isinstance(record, dict):
        return None
    text, answer = _turns(record)
    if not text:
        return None
    wanted = output_tokens or record.get("output_tokens") or (tokenizer.count(answer) if answer else 256)
    return Prompt(text, tokenizer.count(text), max(1, int(wanted)))


def _turns(record: dict[str, Any]) -> tuple[str, str]:
    """The first question and its recorded answer."""
    if "conversations" in record:
        turns = [(turn.get("from"), turn.get("value") or "") for turn in record["conversations"]]
        texts = [text for who, text in turns if who in ("human", "user")]
        low, high = SHAREGPT_CHARS
        if not texts or not low < len(texts[0]) < high:
            return "", ""
        return texts[0], next((text for who, text in turns if who in ("gpt", "assistant")), "")
    if "messages" in record:
        texts = [str(m.get("content") or "") for m in record["messages"] if m.get("role") == "user"]
        return (texts[0] if texts else ""), ""
    return str(record.get("prompt") or record.get("text") or ""), str(record.get("completion") or "")


def body(prompt: Prompt, model: str) -> dict[str, Any]:
    """The request: streamed, with usage, and to the full length so that runs are comparable."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt.text}],
        "max_tokens": prompt.output_tokens,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }
