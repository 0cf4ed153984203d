"""Where the Hugging Face cache is on a node: the one place that reads `~` in `hfCache`."""

import os


def expand(path: str, home: str = "") -> str:
    """The absolute path of `hfCache` as configured; a `~` that is not its first part is an ordinary name.

    `home`: the home of the node's user; "" for the home of the user who runs this.
    """
    first, _, rest = path.partition("/")
    if first != "~":
        return path
    return os.path.join(home or os.path.expanduser("~"), rest).rstrip("/") or "/"
