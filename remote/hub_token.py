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


@dataclass(frozen=True, repr=False)
class Token:
    """What proves who asks; `value` is secret and `source` says where it is from."""

    value: str | None
    source: str


def find(configured: str | None) -> Token:
    """`configured` (the stack's hfToken), else what the Hub's client finds here: HF_TOKEN, or the file of
    `hf auth login` (HF_TOKEN_PATH, HF_HOME).

    Raises HubError for one from here that no request could carry; hfToken's has been checked.
    """
    from huggingface_hub import get_token

    if configured and configured.strip():
        return Token(configured.strip(), "hfToken")
    if os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in TRUE:
        return Token(None, "")
    source = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "`hf auth login`"
    try:
        # The client itself would join the lines of a text, and send that.
        values.token((os.environ.get("HF_TOKEN") or _login_file()).strip())
    except ValueError as error:
        todo = "Set it anew" if source == "HF_TOKEN" else "Run it again"
        raise HubError(f"The token of {source} cannot be sent: {error}. {todo}.") from None
    return Token(get_token(), source)


def _login_file() -> str:
    """What `hf auth login` left; "" without one."""
    from huggingface_hub import constants

    try:
        return Path(constants.HF_TOKEN_PATH).read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
