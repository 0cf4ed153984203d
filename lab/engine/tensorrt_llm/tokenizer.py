"""Tokens of the lab's models: word level, split like the `tokenizers` library's Whitespace.

The counts equal that library's for the models' own tokenizer.json, so a client can check them.
"""

import json
import re
from pathlib import Path

_TOKEN = re.compile(r"\w+|[^\w\s]+")


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
        return [self._ranks.get(word, self._unknown) for word in _TOKEN.findall(text)]

    def decode(self, ids: list[int]) -> str:
        """The words of these ids, joined with blanks."""
        return " ".join(self._words.get(i, "[UNK]") for i in ids)

    def count(self, text: str) -> int:
        """How many tokens the text has."""
        return sum(1 for _ in _TOKEN.finditer(text))


def pieces(text: str) -> list[str]:
    """The text cut into one piece per token, each with the white space before it."""
    return re.findall(r"\s*(?:\w+|[^\w\s]+)", text)
