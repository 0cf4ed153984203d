"""Why a request is not answered: its body cannot be read, or it cannot be done.

The two shapes of the answer differ by age: see `document`.
"""

from typing import Any

from ..version import EARLY_2026, at_least


class Refused(Exception):
    """A request that is answered with an error object."""

    def __init__(self, message: str, kind: str = "BadRequestError", code: int = 400) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code


class Invalid(Exception):
    """A request body that does not fit the schema; the text is pydantic's list of errors."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(str(errors))


def document(error: Refused | Invalid) -> dict[str, Any]:
    """The answer's JSON.

    An error object is flat here (OpenAI nests it under `error`). For a body that is not understood
    it is a bare text under `error` since early 2026.
    """
    if isinstance(error, Invalid):
        if at_least(EARLY_2026):
            return {"error": str(error)}
        error = Refused(str(error))
    return {"object": "error", "message": str(error), "type": error.kind, "param": None, "code": error.code}
