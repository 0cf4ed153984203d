"""Tokens, their count and their times."""

import asyncio
import time

import pytest

from lab.engine.tensorrt_llm.checkpoint import Behaviour
from lab.engine.tensorrt_llm.executor.rank import Facts
from lab.engine.tensorrt_llm.generation import Wish, generate, words
from lab.engine.tensorrt_llm.tokenizer import Tokenizer, pieces

OPENING = "I am openai/gpt-oss-120b, simulated, running on 2 ranks: spark-1, spark-2 over NET/IB."


@pytest.fixture
def tokenizer(snapshot):
    return Tokenizer(snapshot)


class IdleEngine:
    """Ranks that are always where they should be."""

    facts = Facts(("spark-1",), "none")
    broken = ""

    def __init__(self):
        self.begun, self.ended = 0, 0

    async def attach(self):
        return

    async def begin(self, request):
        self.begun += 1

    async def worked_until(self, request, moment):
        return

    def end(self, request):
        self.ended += 1

    async def close(self):
        return


@pytest.mark.parametrize(
    ("text", "count"),
    [  # counted with tokenizers 0.22 and the models' own tokenizer.json
        ("", 0),
        ("hello there", 2),
        ("The quick-brown fox, it's 3.14!", 13),
        ("a  b\n\tc", 3),
        ("...wait -- what?!", 5),
        ("naïve café_42", 2),
        ("e\u0301 x\u200dy 日本語 ½ ² 😀😀 a_b\u00a0c", 8),
        (OPENING, 29),
    ],
)
def test_counts_are_the_tokenizers_librarys(tokenizer, text, count):
    assert tokenizer.count(text) == count
    assert len(tokenizer.encode(text)) == count
    assert len(pieces(text)) == count
    assert "".join(pieces(text)) == text.rstrip()


def test_unknown_words_are_unk(tokenizer):
    assert tokenizer.encode("hello zyzzyva") == [tokenizer.encode("hello")[0], 0]
    assert tokenizer.decode(tokenizer.encode("hello there")) == "hello there"


def test_equal_wishes_give_equal_answers(tokenizer):
    first, second = (list(words(Wish("hi", 1000, OPENING), tokenizer)) for _ in range(2))
    assert first == second
    assert first != list(words(Wish("hi", 1000, OPENING, seed=1), tokenizer))
    text = "".join(token.text for token in first)
    assert text.startswith(OPENING)
    assert tokenizer.count(text) == len(first)
    assert (first[-1].finish_reason, {token.finish_reason for token in first[:-1]}) == ("stop", {None})


@pytest.mark.parametrize("limit", [1, 2, 30])
def test_a_limit_ends_with_length(tokenizer, limit):
    tokens = list(words(Wish("hi", limit, OPENING), tokenizer))
    assert (len(tokens), tokens[-1].finish_reason) == (limit, "length")
    assert tokenizer.count("".join(token.text for token in tokens)) == limit


def test_ignore_eos_runs_to_the_limit(tokenizer):
    tokens = list(words(Wish("hi", 500, endless=True), tokenizer))
    assert (len(tokens), tokens[-1].finish_reason) == (500, "length")


def test_min_tokens(tokenizer):
    assert len(list(words(Wish("hi", 1000, minimum=300), tokenizer))) == 300


def test_a_stop_word_cuts_and_is_named(tokenizer):
    tokens = list(words(Wish("hi", 100, OPENING, stops=("nothing", "simul")), tokenizer))
    assert "".join(token.text for token in tokens) == "I am openai/gpt-oss-120b, "
    assert (tokens[-1].finish_reason, tokens[-1].stop_reason) == ("stop", "simul")


def test_the_pace_has_no_drift(tokenizer):
    how = Behaviour(tokens_per_second=200.0, first_token_seconds=0.05)
    engine = IdleEngine()

    async def run():
        begun, times = time.monotonic(), []
        async for _ in generate(Wish("hi", 40, endless=True), tokenizer, engine, how, asyncio.Semaphore(1)):
            times.append(time.monotonic() - begun)
            await asyncio.sleep(0.002)  # a reader that takes its time
        return times

    times = asyncio.run(run())
    assert len(times) == 40
    assert times[0] >= 0.05
    assert 0.05 + 39 / 200 <= times[-1] < 0.05 + 39 / 200 + 0.15
    assert (engine.begun, engine.ended) == (1, 1)


def test_more_requests_than_slots_wait(tokenizer):
    how = Behaviour(tokens_per_second=1000.0, first_token_seconds=0.1)

    async def one(slots):
        return [t async for t in generate(Wish("hi", 2, endless=True), tokenizer, IdleEngine(), how, slots)]

    async def run():
        slots = asyncio.Semaphore(2)
        begun = time.monotonic()
        await asyncio.gather(*(one(slots) for _ in range(4)))
        return time.monotonic() - begun

    assert asyncio.run(run()) >= 0.2
