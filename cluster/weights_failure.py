"""What to do when a node cannot have a model's files, by the code that its program ended with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.errors import NodeError

AGAIN = "Then run `pulumi up` again: it goes on where it was."
#: What remote/node/weights_*.py end with -> what helps. Any other code: look at the sentence, and try again.
ADVICE = {
    "token-missing": "Set a token with `pulumi config set --secret hfToken`, and run `pulumi up` again.",
    "token-refused": "Make a new token on the Hub, set it with `pulumi config set --secret hfToken`, and run "
    "`pulumi up` again.",
    "no-access": "Accept the model's licence there with the token's account, and let the token read gated "
    f"repositories. {AGAIN}",
    "not-found": "Its revision may have been replaced: `pulumi preview` asks the Hub anew.",
    "disk-full": f"Make room, or set hfCache to a folder on a larger disk. {AGAIN}",
    "not-writable": f"Give it to the node's user (`sudo chown -R`), or set hfCache to another. {AGAIN}",
    "no-vocabulary": f"Set tiktoken.url to an address that has it, or tiktoken.folder. {AGAIN}",
    "hub-limit": "A token raises the Hub's limit: `pulumi config set --secret hfToken`. Or wait. " + AGAIN,
    "certificate": f"Install the certificate authority there (`sudo update-ca-certificates`). {AGAIN}",
    "checksum": f"Check whether a proxy on the way changes files. {AGAIN}",
}
#: Of several nodes that failed, one that only lost another node is not the one to report.
FOLLOWS = ("peer-silent", "stopped")


def failure(hosts: Sequence[str], model: str, statuses: Mapping[int, Mapping[str, Any]]) -> NodeError | None:
    """The error of the node whose failure came first; None when no node failed.

    `statuses`: each node's status.json by its number.
    """
    failed = {n: status for n, status in sorted(statuses.items()) if status.get("state") == "failed"}
    if not failed:
        return None
    number = next((n for n, status in failed.items() if status.get("code") not in FOLLOWS), min(failed))
    status = failed[number]
    todo = ADVICE.get(str(status.get("code")), AGAIN)
    return NodeError(hosts[number], f"the files of {model}: {status.get('error')}.", todo)
