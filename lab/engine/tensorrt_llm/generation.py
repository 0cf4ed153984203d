"""The words of an answer: deterministic, at the pace that the model's lab-engine.json sets."""

import asyncio
import hashlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from .checkpoint import Behaviour
from .executor.proxy import Engine
from .tokenizer import Tokenizer, pieces

SHORTEST, LONGEST = 24, 96
"""Tokens of an answer that ends by itself, after its first sentence."""


@dataclass(frozen=True)
class Wish:
    """What a request asks of a generation."""

    prompt: str
    limit: int  # tokens at most
    opening: str = ""  # how the answer begins
    minimum: int = 0  # no natural end before so many tokens
    endless: bool = False  # ignore_eos: run to the limit
    stops: tuple[str, ...] = ()
    choice: int = 0
    seed: int | None = None


@dataclass(frozen=True)
class Token:
    """One generated token; the last one has the reason why it is the last."""

    text: str
    finish_reason: str | None = None
    stop_reason: str | None = None


def words(wish: Wish, tokenizer: Tokenizer) -> Iterator[Token]:
    """The tokens of an answer. Equal wishes give equal answers."""
    source = hashlib.sha256(f"{wish.prompt}\0{wish.choice}\0{wish.seed}".encode()).digest()
    chance = random.Random(source)
    opening = pieces(wish.opening)
    natural = max(len(opening) + chance.randint(SHORTEST, LONGEST), wish.minimum)
    count = wish.limit if wish.endless else min(natural, wish.limit)
    text = ""
    for number in range(count):
        piece = opening[number] if number < len(opening) else f" {chance.choice(tokenizer.words)}"
        text += piece
        hit = next((stop for stop in wish.stops if stop in text), None)
        if hit is not None and number + 1 >= wish.minimum:
            kept = text[: text.index(hit)]
            before = len(text) - len(piece)
            yield Token(kept[before:], "stop", hit)
            return
        last = number + 1 == count
        reason = "length" if wish.endless or natural > wish.limit else "stop"
        yield Token(piece, reason if last else None)


async def generate(
    wish: Wish, tokenizer: Tokenizer, engine: Engine, how: Behaviour, slots: asyncio.Semaphore
) -> AsyncIterator[Token]:
    """The tokens of an answer, each at its time.

    A request first waits for one of the `slots`. The times are counted from the start of its
    work, so a slow reader or a busy machine adds no drift.

    Raises:
        EngineError: the ranks gave up.
    """
    request = uuid.uuid4().hex
    async with slots:
        begun = time.monotonic()
        try:
            await engine.begin(request)
            for number, token in enumerate(words(wish, tokenizer)):
                due = begun + how.first_token_seconds + number / how.tokens_per_second
                pause = due - time.monotonic()
                if pause > 0:
                    await asyncio.sleep(pause)
                await engine.worked_until(request, due)
                yield token
        finally:
            engine.end(request)
