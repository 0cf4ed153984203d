"""Prompts: exact lengths, the same for the same seed, and data sets as people have them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from cluster.errors import ConfigError
from trtspark.bench import prompts

WORDS = ["apple", "river", "green", "table", "stone", "music", "house", "light"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A byte-level BPE with a few whole words, the rest falls apart into letters: as real ones do."""
    letters = [chr(c) for c in range(97, 123)] + ["\u0120"]
    vocab, merges = {letter: i for i, letter in enumerate(letters)}, []
    for word in WORDS:
        piece = "\u0120"
        for letter in word:
            merges.append((piece, letter))
            piece += letter
            vocab.setdefault(piece, len(vocab))
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return prompts.ModelTokenizer(path)


@settings(max_examples=25, deadline=None)
@given(tokens=st.integers(1, 600), seed=st.integers(0, 99))
def test_prompts_have_exactly_the_tokens_asked_for(tokenizer, tokens, seed):
    for prompt in prompts.synthetic(tokenizer, 3, tokens, 7, seed):
        assert tokenizer.count(prompt.text) == prompt.tokens == tokens
        assert prompt.output_tokens == 7


def test_the_seed_decides(tokenizer):
    first, again = (list(prompts.synthetic(tokenizer, 5, 40, 1, 1)) for _ in range(2))
    other = list(prompts.synthetic(tokenizer, 5, 40, 1, 2))
    assert first == again
    assert first != other
    assert len({prompt.text for prompt in first}) == 5


def test_an_approximate_tokenizer_says_so_and_has_the_length():
    rough = prompts.ApproximateTokenizer()
    [prompt] = prompts.synthetic(rough, 1, 100, 1, 0)
    assert not rough.exact
    assert len(prompt.text) == 100 * prompts.CHARS_PER_TOKEN


def test_a_file_that_is_no_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"tokenizer.json is no tokenizer"):
        prompts.ModelTokenizer(tmp_path / "tokenizer.json")


SHAREGPT = [
    {"conversations": [{"from": "human", "value": "short"}, {"from": "gpt", "value": "x"}]},
    {"conversations": [{"from": "human", "value": "q" * 100}, {"from": "gpt", "value": "a" * 40}]},
    {"conversations": []},
]


def test_sharegpt(tmp_path):
    path = tmp_path / "share.json"
    path.write_text(json.dumps(SHAREGPT))
    found = prompts.dataset(path, prompts.ApproximateTokenizer(), 3, None, 0)
    assert [(p.text, p.output_tokens) for p in found] == [("q" * 100, 10)] * 3


def test_json_lines_of_every_form(tmp_path):
    path = tmp_path / "any.jsonl"
    rows = [
        {"prompt": "one", "output_tokens": 5},
        {"text": "two"},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "three"}]},
        "four",
        {"nothing": 1},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    found = prompts.dataset(path, prompts.ApproximateTokenizer(), 4, None, 0)
    assert {p.text: p.output_tokens for p in found} == {"one": 5, "two": 256, "three": 256, "four": 256}
    assert {p.output_tokens for p in prompts.dataset(path, prompts.ApproximateTokenizer(), 4, 9, 0)} == {9}


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"prompt": "a"}\n{', "line 2: not JSON"), ("[1, ", "not JSON"), ('{"x": 1}', "no prompt in it")],
)
def test_a_broken_data_set_is_refused_with_the_place(tmp_path, text, said):
    path = tmp_path / "broken.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        prompts.dataset(path, prompts.ApproximateTokenizer(), 1, None, 0)
