"""The Hub's token: one rule for the preview, the download and the command line.

The preview runs in Pulumi's program and the download in the provider's process. Both have the same
environment and the same configuration, and both ask here, so a token that the preview accepted is the token
that the node gets. It is never an input of a resource, so it is in no state, and a new one changes nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cluster import values
from cluster.resolution import HubError

#: The Hub client's own reading of its variables.
TRUE = ("1", "ON", "YES", "TRUE")
#: Where it looks first for a token; the second is the older name.
VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
#: For what, in its words, it exchanges the identity of a continuous integration.
IDENTITY = "HF_OIDC_RESOURCE"
LOGIN = "`hf auth login`"
_TODO = {
    "hfToken": "Set it anew with `pulumi config set --secret hfToken`.",
    LOGIN: "Run it again.",
    IDENTITY: "Set hfToken, or take that variable away.",
}


@dataclass(frozen=True, repr=False)
class Token:
    """What proves who asks; `value` is secret and `source` says where it is from."""

    value: str | None
    source: str


def find(configured: str | None) -> Token:
    """`configured` (the stack's hfToken), else what the Hub's client finds here: VARIABLES, or the file of
    `hf auth login` (HF_TOKEN_PATH, HF_HOME), or what it gets for an identity (HF_OIDC_RESOURCE).

    Raises HubError for one that no request could carry, wherever it is from.
    """
    from huggingface_hub import get_token

    if configured and configured.strip():
        return Token(_checked(configured, "hfToken"), "hfToken")
    if os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in TRUE:
        return Token(None, "")
    source = IDENTITY
    if not os.environ.get(IDENTITY):
        source, text = _variable()
        if not text.strip():
            source, text = LOGIN, _login_file()
        _checked(text, source)  # the client itself would join the lines of a text, and send that
    try:
        found = get_token()
    except Exception as error:  # whatever an exchange of tokens may raise; its text may quote one
        raise HubError(
            f"The token of {source} cannot be had ({type(error).__name__}). Set hfToken, or take that away."
        ) from None
    return Token(_checked(found, source) if found else None, source)


def lines_here() -> list[str]:
    """Every line of what may be a token on this machine, good or bad: none of them is to be shown."""
    texts = [os.environ.get(one, "") for one in (*VARIABLES, "HF_OIDC_ID_TOKEN")]
    with suppress(HubError):
        texts.append(_login_file())
    return [line.strip() for text in texts for line in text.splitlines() if line.strip()]


def of_file(path: Path) -> str:
    """The token in a file that somebody names. Raises HubError."""
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise HubError(f"{path} cannot be read ({error.strerror}). Name a file with a token.") from None
    if not text.strip():
        raise HubError(f"{path} is empty. Name a file with a token.")
    return _checked(text, str(path))


def _variable() -> tuple[str, str]:
    return next(((one, os.environ[one]) for one in VARIABLES if os.environ.get(one)), ("", ""))


def _checked(text: str, source: str) -> str:
    """The token in it, without the space around it."""
    try:
        return values.token(text.strip())
    except ValueError as error:
        todo = _TODO.get(source, "Set it anew.")
        raise HubError(f"The token of {source} cannot be sent: {error}. {todo}") from None


def _login_file() -> str:
    """What `hf auth login` left; "" without one. Raises HubError where it cannot be read, as by `sudo`."""
    from huggingface_hub import constants

    try:
        return Path(constants.HF_TOKEN_PATH).read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise HubError(
            f"The token of `hf auth login` cannot be read from {constants.HF_TOKEN_PATH} ({error.strerror}). "
            "Make that file yours, set hfToken, or set HF_HUB_DISABLE_IMPLICIT_TOKEN=1 to use none."
        ) from None
