"""The Hub's token: one rule for the preview, the download and the command line.

The preview runs in Pulumi's program and the download in the provider's process. Both have the same
environment and the same configuration, and both ask here, so a token that the preview accepted is the token
that the node gets. It is never an input of a resource, so it is in no state, and a new one changes nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cluster import values
from cluster.resolution import HubError

#: The Hub client's own reading of its variables.
TRUE = ("1", "ON", "YES", "TRUE")
#: Where it looks first for a token; the second is the older name.
VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


@dataclass(frozen=True, repr=False)
class Token:
    """What proves who asks; `value` is secret and `source` says where it is from."""

    value: str | None
    source: str


def find(configured: str | None) -> Token:
    """`configured` (the stack's hfToken), else what the Hub's client finds here: VARIABLES, or the file of
    `hf auth login` (HF_TOKEN_PATH, HF_HOME).

    Raises HubError for one from here that no request could carry; hfToken's has been checked.
    """
    from huggingface_hub import get_token

    if configured and configured.strip():
        return Token(configured.strip(), "hfToken")
    if os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in TRUE:
        return Token(None, "")
    source, text = next(((one, os.environ[one]) for one in VARIABLES if os.environ.get(one)), ("", ""))
    if not text.strip():
        source, text = "`hf auth login`", _login_file()
    try:
        # The client itself would join the lines of a text, and send that.
        values.token(text.strip())
    except ValueError as error:
        todo = "Set it anew" if source in VARIABLES else "Run it again"
        raise HubError(f"The token of {source} cannot be sent: {error}. {todo}.") from None
    return Token(get_token(), source)


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
