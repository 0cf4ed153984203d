"""Learning a node's host key: offered by the machine, compared by a person, and only then pinned."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from cluster.errors import NodeError, Unreachable
from remote.logins import KEY_TYPES, known_keys
from remote.ssh import fingerprint
from trtspark import terminal
from trtspark.questions import Questions

SCAN_TIMEOUT_S = 5


def offered(host: str, port: int) -> dict[str, str]:
    """The public keys that the machine shows now, by type, the preferred one first. Raises Unreachable.

    Anybody on the way could have sent them: nothing is to be trusted before it is compared.
    """
    words = ["ssh-keyscan", "-T", str(SCAN_TIMEOUT_S), "-p", str(port), "-t", "ed25519,ecdsa,rsa", host]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=4 * SCAN_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{host}:{port}", "ssh-keyscan got no answer.", "Is it on?") from None
    rows = [line.split() for line in done.stdout.splitlines() if not line.startswith("#")]
    found = {row[1]: f"{row[1]} {row[2]}" for row in rows if len(row) >= 3}
    if not found:
        said = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise Unreachable(
            f"{host}:{port}",
            f"it shows no ssh host key ({said}).",
            "Is it on, in reach, and is sshd running?",
        )
    return {kind: found[kind] for kind in KEY_TYPES if kind in found}


def settle(
    ask: Questions,
    name: str,
    keys: Mapping[str, str],
    accepted: Sequence[str],
    pinned: str | None,
    known: Sequence[str],
) -> str:
    """The key to pin for node `name`.

    `keys` as `offered` gives them; `accepted`: fingerprints from the command line; `pinned`: what the stack
    has; `known`: what known_hosts has. A key that is new, or another than before, is pinned on a person's
    word only. Raises NodeError when that is not given.
    """
    values = list(keys.values())
    if pinned in values:
        return str(pinned)
    prints = {fingerprint(key): key for key in values}
    for mark in accepted:
        if mark in prints:
            terminal.hint(f"{name}: host key {mark}, as accepted.")
            return prints[mark]
    before = [pinned] if pinned else list(known)
    same = [key for key in values if key in before]
    if same:
        terminal.hint(f"{name}: host key {fingerprint(same[0])}, as in known_hosts.")
        return same[0]
    key = values[0]
    shown = f"{key.split()[0]} {fingerprint(key)}"
    if before:
        terminal.marked(
            "WARN",
            "bold red",
            f"{name}: its host key is NOT the one known before "
            f"({', '.join(fingerprint(one) for one in before)}). If the machine was not reinstalled, "
            "somebody may be in between.",
        )
    terminal.say(f"{name} shows the host key\n  {shown}")
    terminal.hint(f"Compare it on the machine itself: `ssh-keygen -lf {_file(key)}`")
    if not ask.interactive:
        raise NodeError(
            name,
            f"its host key {fingerprint(key)} is not known yet.",
            f"Compare it with the machine's own, then `--accept-host-key {fingerprint(key)}`.",
        )
    if not ask.yes(None, "--accept-host-key", f"Is that {name}'s own?", default=False):
        raise NodeError(name, "its host key was not accepted.", "Nothing was changed.")
    return key


def _file(key: str) -> str:
    """Where a machine keeps the host key of this type."""
    kind = key.split()[0].removeprefix("ssh-").partition("-")[0]
    return f"/etc/ssh/ssh_host_{kind}_key.pub"


def known(host: str, port: int, path: str) -> Sequence[str]:
    """The keys that a known_hosts file has for the machine."""
    return known_keys(path, host, port)
