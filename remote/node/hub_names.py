"""What a name or number from the Hub may look like before it becomes part of a path or a request.

Whoever answers in the Hub's place chooses these texts. They are checked where they enter (remote/hub.py),
before they travel (remote/weights.py) and again on the node that writes the files (weights_cache.py).
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

COMMIT = re.compile(r"[0-9a-f]{40}")
#: Git's blob id, or the SHA-256 of a file in large-file storage.
DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
MOST_FILES = 10_000
#: Bytes of a file and of a model; the Hub's own limit for a file is 500 GB.
LARGEST = 16 << 40
#: Bytes of a path's part and of a path, as Linux has them.
LONGEST_PART, LONGEST_PATH = 255, 1024
#: Control, formatting (bidirectional and invisible) and separator characters, surrogates.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def is_path(path: object) -> bool:
    """Whether `path` is a plain relative one that stays in its folder and shows what it is."""
    if not isinstance(path, str) or not path or any(unicodedata.category(one) in _UNSEEN for one in path):
        return False
    parts = path.split("/")
    return (
        "\\" not in path
        and not any(part in ("", ".", "..") for part in parts)
        and all(len(part.encode()) <= LONGEST_PART for part in parts)
        and len(path.encode()) <= LONGEST_PATH
    )


def is_commit(text: object) -> bool:
    """Whether `text` is a commit's full name."""
    return isinstance(text, str) and COMMIT.fullmatch(text) is not None


def is_size(size: object) -> bool:
    """Whether `size` is a number of bytes that a file may have."""
    return isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= LARGEST


def wrong(commit: object, files: Sequence[Mapping[str, Any]]) -> str:
    """What cannot be right of a commit and its files [{path, size, digest, lfs, extra}]; "" for nothing.

    A digest may be "", where nobody knows it.
    """
    if not is_commit(commit):
        return "the commit %s is not 40 hex digits" % shown(commit)
    if len(files) > MOST_FILES:
        return "%d files, and a model has at most %d" % (len(files), MOST_FILES)
    paths = set()
    for file in files:
        path, digest = file["path"], file["digest"]
        if not is_path(path):
            return "the file name %s is not a plain relative path" % shown(path)
        if path in paths:
            return "the file %s is listed twice" % path
        paths.add(path)
        if not is_size(file["size"]):
            return "the size of %s is %s bytes" % (path, shown(file["size"]))
        if not isinstance(digest, str) or (digest and not DIGEST.fullmatch(digest)):
            return "the checksum of %s is %s" % (path, shown(digest))
        if digest and (len(digest) == 64) is not bool(file["lfs"]):
            return "the checksum of %s is of the wrong kind" % path
    if sum(file["size"] for file in files) > LARGEST:
        return "its files have %d bytes together" % sum(file["size"] for file in files)
    return ""


def shown(value: object) -> str:
    """A value that nobody vouches for, for a message: short, in printable ASCII."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."
