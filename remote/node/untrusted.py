"""Reading what another side sends: so much of it at most, and JSON whose every fault is one kind of error."""

import json
from typing import Any

#: Of an answer that is a document: Docker's and the engine's longest have some megabytes.
MOST_BYTES = 32 << 20


class TooLong(ValueError):
    """An answer goes on beyond what any has."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        super().__init__("its answer is longer than %d MB" % (most >> 20))


def load(text: str | bytes) -> Any:
    """The document; a ValueError for what is none, brackets or digits without end included."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its answer has brackets without end") from None


def read(response, most=MOST_BYTES):
    """The whole body of an answer of http.client. Raises TooLong."""
    body = response.read(most + 1)
    if len(body) > most:
        raise TooLong(most)
    return body
