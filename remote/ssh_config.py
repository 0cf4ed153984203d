"""What the operator's ssh settings say of a host, where Pulumi's plugins read none of them."""

from __future__ import annotations

import getpass
import os
import re
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from cluster.errors import ConfigError
from remote import local_paths

#: ssh's own, from which it prints the settings without dialling.
COMMAND = ("ssh", "-G")
#: Seconds; a `Match exec` in the settings runs a command.
DEADLINE_S = 10
#: ssh tries these without being told to.
_DEFAULTS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss", "id_dsa")


@dataclass(frozen=True)
class Way:
    """How ssh would reach a host. `through`: a jump host or proxy command, "" for none; `identities`: the
    key files that the settings name, absolute; `agent`: the socket of an agent that they name, or "".
    """

    host: str
    user: str
    port: str
    through: str = ""
    identities: tuple[str, ...] = ()
    agent: str = ""


def way(host: str, command: Sequence[str] = COMMAND) -> Way:
    """Ask ssh. Raises ConfigError where it does not understand its own settings."""
    try:
        done = subprocess.run(
            [*command, host],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"ssh does not finish reading its settings for {host} within {DEADLINE_S} s. Look at the `Match "
            "exec` lines in ~/.ssh/config."
        ) from None
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("Pseudo-terminal")]
        said = (lines or [f"exit code {done.returncode}"])[0].rstrip(".")
        raise ConfigError(
            f"ssh cannot read its settings for {host}: {said}. Correct the line; `ssh -G {host}` checks it."
        )
    return parsed(done.stdout, host)


def parsed(text: str, host: str = "") -> Way:
    """The part of `ssh -G HOST`'s output that decides how a host is reached."""
    lines = [line.partition(" ")[::2] for line in text.splitlines()]
    found = dict(lines)
    through = [found.get(key, "none") for key in ("proxyjump", "proxycommand")]
    tokens = _tokens(host, found)
    named = [_path(value, tokens) for key, value in lines if key == "identityfile"]
    defaults = {_path(f"~/.ssh/{name}") for name in _DEFAULTS}
    agent = found.get("identityagent", "none")
    return Way(
        found.get("hostname", ""),
        found.get("user", ""),
        found.get("port", "22"),
        next((one for one in through if one not in ("", "none")), ""),
        tuple(
            path for path in named if path not in defaults and local_paths.is_file(local_paths.expanded(path))
        ),
        "" if agent in ("none", "SSH_AUTH_SOCK") or agent.startswith("$") else _path(agent, tokens),
    )


def _tokens(host: str, found: Mapping[str, str]) -> dict[str, str]:
    """What %-tokens stand for in a file's name (ssh_config(5), TOKENS), but for hashes of the connection."""
    machine = socket.gethostname()
    return {
        "%": "%",
        "d": str(local_paths.expanded("~")),
        "h": found.get("hostname", host),
        "i": str(os.getuid()),
        "k": found.get("hostkeyalias", host),
        "L": machine.partition(".")[0],
        "l": machine,
        "n": host,
        "p": found.get("port", "22"),
        "r": found.get("user", ""),
        "u": getpass.getuser(),
    }


def _path(text: str, tokens: Mapping[str, str] = MappingProxyType({})) -> str:
    """A file's name as ssh reads it: ~, then ${VARIABLE} and %-tokens; what nobody knows stays as it is."""

    def value(match: re.Match[str]) -> str:
        variable, token = match.groups()
        known = os.environ.get(variable) if variable else tokens.get(token)
        return match[0] if known is None else known

    path = str(local_paths.expanded(text.strip('"')))
    return re.sub(r"\$\{(\w+)\}|%(.)", value, path)
