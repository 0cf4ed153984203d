"""Text from outside as a terminal can be given it: the characters are shown, and none is obeyed.

A name in mDNS, a log line or an error's body may hold escape sequences, which set the clipboard or rewrite
what was shown (OSC, CSI), or bidirectional marks, which show another order than the bytes have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Whole sequences: OSC and its like with their text, CSI, and the two-letter ones; in 7 and in 8 bits.
_SEQUENCES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b[ -/]*[0-~]?"
)
#: C0 but for tab and line feed, DEL and C1; bidirectional, invisible and separator characters; surrogates.
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def plain(text: str) -> str:
    """`text` without what a terminal would act on; a carriage return ends a line as a line feed does."""
    if not UNSAFE.search(text):
        return text
    text = text.replace("\r\n", "\n")
    # Some sequences begin within others: what is left is taken away letter by letter.
    return UNSAFE.sub("", _SEQUENCES.sub("", text).replace("\r", "\n"))


def plain_data(value: Any) -> Any:
    """Plain data whose every text, keys included, is `plain`."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, Mapping):
        return {plain_data(key): plain_data(one) for key, one in value.items()}
    return [plain_data(one) for one in value] if isinstance(value, list | tuple) else value


def escaped(text: str) -> str:
    """A JSON document with such characters as JSON's own escapes; its meaning is the same."""
    return UNSAFE.sub(lambda found: "".join(f"\\u{unit:04x}" for unit in _units(found[0])), text)


def _units(letter: str) -> list[int]:
    data = letter.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[place : place + 2], "big") for place in range(0, len(data), 2)]
