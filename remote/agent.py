"""What the operator's ssh agent holds."""

from __future__ import annotations

import os
import re
import subprocess

from cluster.errors import ConfigError

#: Seconds; an agent answers at once, a forwarded one after a round trip.
ANSWER_DEADLINE_S = 10
_FINGERPRINT = re.compile(r"^\d+ (SHA256:\S+) ", re.M)
#: `ssh-add -l` without any key; 2 means that nothing answered.
_EMPTY = 1


def held(socket: str) -> frozenset[str]:
    """Return the fingerprints of the keys in the agent at `socket`.

    Raises:
        ConfigError: no agent answers there.
    """
    try:
        done = subprocess.run(
            ["ssh-add", "-l"],
            env={**os.environ, "SSH_AUTH_SOCK": socket},
            capture_output=True,
            text=True,
            timeout=ANSWER_DEADLINE_S,
            check=False,
        )
        code = done.returncode
    except subprocess.TimeoutExpired:
        code = None
    if code not in (0, _EMPTY):
        raise ConfigError(
            f"SSH_AUTH_SOCK names {socket}, and no ssh agent answers there: Pulumi's plugins would try no "
            'key. Start an agent (`eval "$(ssh-agent)"`), or unset the variable (`unset SSH_AUTH_SOCK`).'
        )
    return frozenset(_FINGERPRINT.findall(done.stdout))


def fingerprint(path: str) -> str | None:
    """Return the fingerprint of a private key, locked ones included; None for a file that is no key."""
    done = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=False)
    found = _FINGERPRINT.search(done.stdout)
    return found[1] if found else None
