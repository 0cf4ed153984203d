"""Tokens of the lab's models: word level, split like the `tokenizers` library's Whitespace.

The counts equal that library's for the models' own tokenizer.json, so a client can check them.
"""

import itertools
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

_TOKEN = re.compile(r"\w+|[^\w\s]+", re.ASCII)
_WORD_CATEGORIES = {"Nd", "Nl", "Pc"}
_JOINERS = {"\u200c", "\u200d"}


class Tokenizer:
    """Counts, encodes and decodes with one tokenizer.json."""

    def __init__(self, folder: Path) -> None:
        """Read FOLDER/tokenizer.json.

        Raises:
            OSError: there is none.
        """
        model = json.loads((folder / "tokenizer.json").read_text())["model"]
        self._ranks: dict[str, int] = model["vocab"]
        self._unknown = self._ranks[model["unk_token"]]
        self._words = {rank: word for word, rank in self._ranks.items()}
        self.words = [word for word in self._ranks if word.isalpha()]

    def encode(self, text: str) -> list[int]:
        """The text's token ids; words that are not in the vocabulary become [UNK]."""
        return [self._ranks.get(text[begin:end], self._unknown) for begin, end in _spans(text)]

    def decode(self, ids: list[int]) -> str:
        """The words of these ids, joined with blanks."""
        return " ".join(self._words.get(i, "[UNK]") for i in ids)

    def count(self, text: str) -> int:
        """How many tokens the text has."""
        return sum(1 for _ in _spans(text))


def pieces(text: str) -> list[str]:
    """The text cut into one piece per token, each with the white space before it."""
    ends = [0, *(end for _, end in _spans(text))]
    return [text[begin:end] for begin, end in itertools.pairwise(ends)]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    r"""Begin and end of each token: runs of \w, and runs of what is neither \w nor white space."""
    if text.isascii():
        for match in _TOKEN.finditer(text):
            yield match.span()
        return
    place = 0
    for kind, run in itertools.groupby(text, _kind):
        begin, place = place, place + sum(1 for _ in run)
        if kind != "space":
            yield begin, place


def _kind(character: str) -> str:
    r"""Space, word or other; \w as the library's regular expressions define it (UTS 18)."""
    if character.isspace():
        return "space"
    category = unicodedata.category(character)
    if category[0] in "LM" or category in _WORD_CATEGORIES or character in _JOINERS:
        return "word"
    return "other"
