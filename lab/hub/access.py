"""Who may read what, and the Hub's refusals in its own words.

The client decides by `X-Error-Code`. For a missing repository the real Hub sends the code to
clients with a token only; `huggingface_hub` then guesses from the status 401, but for https URLs
only. The lab speaks http, so it sends the code to everybody.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from lab.hub.answer import Answer, as_json
from lab.hub.repository import Repository

BAD_TOKEN = "Invalid credentials in Authorization header"


@dataclass(frozen=True)
class Account:
    """Whom a token belongs to."""

    name: str
    granted: bool  # accepted every licence, and is a member where repositories are private


@dataclass(frozen=True)
class Tokens:
    """The two tokens that the Hub knows."""

    granted: str
    newcomer: str  # good, but of somebody who has accepted nothing

    def account(self, token: str) -> Account | None:
        """The owner of a token, or None where it is not known."""
        if secrets.compare_digest(token, self.granted):
            return Account("lab-member", True)
        if secrets.compare_digest(token, self.newcomer):
            return Account("lab-newcomer", False)
        return None


def new_tokens() -> Tokens:
    """Two tokens in the real ones' form: hf_ and 34 letters and digits."""
    return Tokens(*(f"hf_{secrets.token_hex(17)}" for _ in range(2)))


def stored_tokens(folder: Path) -> Tokens:
    """The tokens in FOLDER/token and FOLDER/token-newcomer (0600), made when they are not there."""
    made = new_tokens()
    folder.mkdir(parents=True, exist_ok=True)
    return Tokens(_stored(folder / "token", made.granted), _stored(folder / "token-newcomer", made.newcomer))


def _stored(path: Path, token: str) -> str:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(handle, "w") as file:
        file.write(token + "\n")
    return token


def invisible(repository: Repository | None, account: Account | None) -> Answer | None:
    """The refusal where a repository is not there, or private and not the caller's; else None."""
    if repository and (not repository.private or (account and account.granted)):
        return None
    if account is None:
        return refusal(401, "Invalid username or password.", "RepoNotFound")
    return refusal(404, "Repository not found", "RepoNotFound")


def gated(repository: Repository, account: Account | None) -> Answer | None:
    """The refusal where the files of a gated repository were not granted; else None."""
    if not repository.gated or (account and account.granted):
        return None
    name = repository.id
    if account is None:
        said = f"Access to model {name} is restricted. You must have access to it and be authenticated to"
        return refusal(401, f"{said} access it. Please log in.", "GatedRepo")
    said = f"Access to model {name} is restricted and you are not in the authorized list."
    return refusal(403, f"{said} Visit https://huggingface.co/{name} to ask for access.", "GatedRepo")


def refusal(status: int, message: str, code: str = "") -> Answer:
    """An error in the Hub's form."""
    headers = {"X-Error-Message": message}
    if code:
        headers["X-Error-Code"] = code
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="Authentication required", charset="UTF-8"'
    return as_json({"error": message}, status, headers)


def bearer(header: str | None) -> str | None:
    """The token of an Authorization header."""
    kind, _, token = (header or "").partition(" ")
    return token.strip() or None if kind.lower() == "bearer" else None
