"""The two shapes of an error answer: of a request that cannot be read, and of one that fails."""

from typing import Any

from starlette.responses import JSONResponse

from ..version import EARLY_2026, at_least


class Refused(Exception):
    """A request that is answered with an error object."""

    def __init__(self, message: str, kind: str = "BadRequestError", code: int = 400) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code


class Invalid(Exception):
    """A request body that does not fit the schema; `errors` is pydantic's list."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(str(errors))


def refused(error: Refused) -> JSONResponse:
    """The flat error object (OpenAI nests it under `error`, this server does not)."""
    return JSONResponse(
        {"object": "error", "message": str(error), "type": error.kind, "param": None,
         "code": error.code},
        error.code,
    )  # fmt: skip


def invalid(error: Invalid) -> JSONResponse:
    """The answer to a body that is not understood: by age, an error object or a bare text."""
    if at_least(EARLY_2026):
        return JSONResponse({"error": str(error)}, 400)
    return refused(Refused(str(error)))
