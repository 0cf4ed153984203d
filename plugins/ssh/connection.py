"""How to reach a machine, and the files that tell `ssh` so.

Only what the caller gave counts: neither ~/.ssh/config nor ~/.ssh/known_hosts is read.
"""

import base64
import os
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ASKPASS = """#!/bin/sh
case "$1" in
  *passphrase*) cat {passphrase} ;;
  *) cat {password} ;;
esac
"""


@dataclass(frozen=True)
class Hop:
    """One machine: its address, who logs in, and how both sides prove who they are.

    `dial_timeout` is in seconds, 0 for none; `host_key` is "TYPE BASE64", None accepts any.
    """

    host: str
    user: str = "root"
    port: int = 22
    password: str | None = None
    private_key: str | None = None
    private_key_password: str | None = None
    agent_socket: str | None = None
    host_key: str | None = None
    dial_timeout: int = 15

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"

    @property
    def methods(self) -> str:
        """The ways to log in that there are credentials for, as errors name them."""
        keys = self.private_key is not None or self.agent_socket is not None
        ways = ["none", *(["publickey"] if keys else [])]
        if self.password is not None:
            ways += ["password", "keyboard-interactive"]
        return " ".join(ways)


class InvalidConnectionError(ValueError):
    """A value that cannot be part of a connection."""


@dataclass(frozen=True)
class Invocation:
    """How to start ssh (the remote command is appended to `argv`), and where it logs."""

    argv: list[str]
    env: dict[str, str]
    log: Path
    proxy_log: Path | None


def invocation(folder: Path, target: Hop, proxy: Hop | None = None) -> Invocation:
    """Write keys, pinned host keys and settings for `target` into the private `folder`."""
    lines = _settings(folder, "target", target)
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.environ.get("HOME", "/")}
    config, log, proxy_log = folder / "config", folder / "log", folder / "proxy.log"
    if proxy is not None:
        argv = ["env", *_askpass(folder, "proxy", proxy), *_ssh(config, proxy_log)]
        lines.append(f"  ProxyCommand {shlex.join(argv)} -W [%h]:%p proxy")
        lines += _settings(folder, "proxy", proxy)
    config.write_text("\n".join(lines) + "\n")
    env |= dict(variable.split("=", 1) for variable in _askpass(folder, "target", target))
    return Invocation([*_ssh(config, log), "target", "--"], env, log, proxy_log if proxy else None)


def _ssh(config: Path, log: Path) -> list[str]:
    # -E keeps ssh's own words out of the command's standard error.
    return ["ssh", "-T", "-F", str(config), "-E", str(log)]


def _settings(folder: Path, name: str, hop: Hop) -> list[str]:
    prompts = hop.password is not None or hop.private_key_password is not None
    settings = {
        "HostName": hop.host,
        "Port": str(hop.port),
        "User": hop.user,
        "HostKeyAlias": name,
        "BatchMode": "no" if prompts else "yes",
        "NumberOfPasswordPrompts": "1",
        "PreferredAuthentications": "publickey,password,keyboard-interactive",
        "PasswordAuthentication": "yes" if hop.password is not None else "no",
        "KbdInteractiveAuthentication": "yes" if hop.password is not None else "no",
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
        "ControlPath": "none",
        "LogLevel": "DEBUG1",  # tells a refused login from a command that ended with 255
        **_identity(folder, name, hop),
        **_host_key(folder, name, hop),
    }
    if hop.dial_timeout:
        settings["ConnectTimeout"] = str(hop.dial_timeout)
    return [f"Host {name}", *(f"  {key} {_quoted(value)}" for key, value in settings.items())]


def _identity(folder: Path, name: str, hop: Hop) -> dict[str, str]:
    if hop.private_key is not None:
        if hop.private_key_password is None and _locked(hop.private_key):
            # ssh passes over such a key without a word.
            raise InvalidConnectionError("ssh: this private key is passphrase protected")
        key = hop.private_key.replace("\r\n", "\n").rstrip("\n") + "\n"
        path = _private_file(folder / f"{name}.key", key)
        return {"IdentityFile": str(path), "IdentitiesOnly": "yes", "IdentityAgent": "none"}
    return {"IdentityFile": "none", "IdentityAgent": hop.agent_socket or "none"}


def _locked(key: str) -> bool:
    """Whether a private key is under a passphrase: by its PEM header, or OpenSSH's name of the cipher."""
    body = "".join(line for line in key.splitlines() if not line.startswith("-----"))
    if "ENCRYPTED" in key:
        return True
    with suppress(ValueError):
        found = re.match(rb"openssh-key-v1\0(.{4})", content := base64.b64decode(body), re.S)
        if found:
            end = found.end() + int.from_bytes(found[1])
            return content[found.end() : end] != b"none"
    return False


def _host_key(folder: Path, name: str, hop: Hop) -> dict[str, str]:
    if hop.host_key is None:
        return {"UserKnownHostsFile": "/dev/null", "StrictHostKeyChecking": "no"}
    words = hop.host_key.split()
    if len(words) < 2:
        raise InvalidConnectionError("failed to parse host key: ssh: no key found")
    pinned = _private_file(folder / f"{name}.known_hosts", f"{name} {words[0]} {words[1]}\n")
    return {
        "UserKnownHostsFile": str(pinned),
        "StrictHostKeyChecking": "yes",
        # The key's own type and no other, as the vendor's plugin offers it: a server of today does not
        # prove a pinned ssh-rsa key by SHA-1.
        "HostKeyAlgorithms": words[0],
    }


def _askpass(folder: Path, name: str, hop: Hop) -> list[str]:
    if hop.password is None and hop.private_key_password is None:
        return []
    secrets = {
        "password": _private_file(folder / f"{name}.password", hop.password or ""),
        "passphrase": _private_file(folder / f"{name}.passphrase", hop.private_key_password or ""),
    }
    quoted = {key: shlex.quote(str(path)) for key, path in secrets.items()}
    script = _private_file(folder / f"{name}.askpass", ASKPASS.format(**quoted), mode=0o700)
    return [f"SSH_ASKPASS={script}", "SSH_ASKPASS_REQUIRE=force"]


def _private_file(path: Path, text: str, mode: int = 0o600) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return path


def _quoted(value: str) -> str:
    if any(character in value for character in '"\\\n\r\0'):
        raise InvalidConnectionError(f"{value!r} cannot be part of an ssh connection")
    return f'"{value}"' if " " in value else value
