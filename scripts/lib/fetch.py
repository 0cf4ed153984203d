"""fetch.py ADDRESS FILE CHECKSUMS: fetches a file whose SHA-256 a list at another address gives."""

from __future__ import annotations

import hashlib
import sys
import urllib.request
from pathlib import Path

CONNECT_S = 4.0
BLOCK = 1 << 20


def fetch(address: str, file: Path, checksums: str) -> None:
    """Raises OSError where one cannot be had, ValueError where it is not what the list says."""
    with urllib.request.urlopen(checksums, timeout=CONNECT_S) as answer:
        wanted = listed(answer.read(BLOCK).decode(), address.rpartition("/")[2])
    digest = hashlib.sha256()
    with urllib.request.urlopen(address, timeout=CONNECT_S) as answer, file.open("wb") as kept:
        while block := answer.read(BLOCK):
            digest.update(block)
            kept.write(block)
    if digest.hexdigest() != wanted:
        file.unlink()
        raise ValueError(f"its SHA-256 is {digest.hexdigest()}, and {checksums} says {wanted}")


def listed(text: str, name: str) -> str:
    """The digest of the file in a list as sha256sum makes it."""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].lstrip("*") == name:
            return words[0]
    raise ValueError("the list of checksums does not have it")


if __name__ == "__main__":
    try:
        fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    except (OSError, ValueError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
