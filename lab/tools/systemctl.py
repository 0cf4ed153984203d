#!/usr/bin/python3 -IS
"""Stands in for systemctl 255 on a node: real work on docker and ssh, real refusals otherwise.

Texts and exit codes as on Ubuntu 24.04 over ssh (no terminal to ask for a password).
"""

import json
import os
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

SOCKET = "/run/lab/service-manager"
ACTIONS = ("start", "stop", "restart", "reload", "enable", "disable", "reset-failed")
SEE = 'See "systemctl status {0}" and "journalctl -xeu {0}" for details.'


def ask(verb: str, unit: str) -> Any:  # the service manager's JSON object
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(SOCKET)
    connection.sendall(json.dumps({"verb": verb, "unit": unit}).encode())
    answer = b""
    while part := connection.recv(65536):
        answer += part
    return json.loads(answer)


def full(name: str) -> str:
    return name if "." in name else f"{name}.service"


def complain(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr)


def act(verb: str, unit: str) -> int:
    answer = ask({"reset-failed": "forget"}.get(verb, verb), unit)
    result = answer["answer"]
    if result == "not-found":
        if verb in ("enable", "disable"):
            complain(f"Failed to {verb} unit: Unit file {unit} does not exist.")
            return 1
        complain(
            f"Failed to {verb} {unit}: Unit {unit} not found."
            if verb != "reset-failed"
            else f"Failed to reset failed state of unit {unit}: Unit {unit} not loaded."
        )
        return 1 if verb == "reset-failed" else 5
    if result == "denied":
        complain(
            f"Failed to {verb} {unit}: Interactive authentication required.",
            f"See system logs and 'systemctl status {unit}' for details.",
        )
        return 1
    if result == "inactive":
        complain(f"{unit} is not active, cannot reload.")
        return 1
    if result == "start-limit-hit":
        complain(
            f"Job for {unit} failed because start of the service was attempted too often.",
            SEE.format(unit),
            f'To force a start use "systemctl reset-failed {unit}"',
            f'followed by "systemctl start {unit}" again.',
        )
        return 1
    if result == "failed":
        complain(
            f"Job for {unit} failed because the control process exited with error code.",
            SEE.format(unit),
        )
        return 1
    return 0


def is_active(unit: str, *, quiet: bool) -> int:
    answer = ask("show", unit)
    state = answer.get("state", "inactive")
    if not quiet:
        print(state)
    return 0 if state == "active" else 4 if answer["answer"] == "not-found" else 3


def is_enabled(unit: str, *, quiet: bool) -> int:
    answer = ask("show", unit)
    if answer["answer"] == "not-found":
        complain(f"Failed to get unit file state for {unit}: No such file or directory")
        return 4
    if not quiet:
        print("enabled" if answer["enabled"] else "disabled")
    return 0 if answer["enabled"] else 1


def properties(unit: str) -> dict[str, str]:
    answer = ask("show", unit)
    if answer["answer"] == "not-found":
        return {
            "Id": unit,
            "Names": unit,
            "LoadState": "not-found",
            "ActiveState": "inactive",
            "SubState": "dead",
            "MainPID": "0",
            "Result": "success",
            "UnitFileState": "",
            "NRestarts": "0",
            "LimitMEMLOCK": "8388608",
            "LoadError": f"Unit {unit} not found.",
        }
    sub = {
        "active": "running",
        "inactive": "dead",
        "activating": "start",
        "failed": "failed",
        "deactivating": "stop-sigterm",
    }[answer["state"]]
    return {
        "Id": unit,
        "Names": unit,
        "Description": answer["description"],
        "LoadState": "loaded",
        "ActiveState": answer["state"],
        "SubState": "auto-restart" if answer["restarting"] else sub,
        "MainPID": str(answer["pid"]),
        "Result": answer["result"],
        "UnitFileState": "enabled" if answer["enabled"] else "disabled",
        "FragmentPath": f"/usr/lib/systemd/system/{unit}",
        "LimitMEMLOCK": "8388608",
        "ActiveEnterTimestamp": time.strftime("%a %Y-%m-%d %H:%M:%S UTC", time.gmtime(answer["since"])),
        "NeedDaemonReload": "no",
    }


def show(unit: str, wanted: list[str], *, value_only: bool) -> int:
    known = properties(unit)
    for name in wanted or known:
        if name in known:
            print(known[name] if value_only else f"{name}={known[name]}")
    return 0


def status(unit: str) -> int:
    known = properties(unit)
    if known["LoadState"] == "not-found":
        complain(f"Unit {unit} could not be found.")
        return 4
    dot = {"active": "●", "failed": "\u00d7"}.get(known["ActiveState"], "○")
    reason = f" (Result: {known['Result']})" if known["Result"] != "success" else ""
    print(f"{dot} {unit} - {known['Description']}")
    print(f"     Loaded: loaded ({known['FragmentPath']}; {known['UnitFileState']}; preset: enabled)")
    print(
        f"     Active: {known['ActiveState']} ({known['SubState']}){reason}"
        f" since {known['ActiveEnterTimestamp']}"
    )
    if known["MainPID"] != "0":
        print(f"   Main PID: {known['MainPID']}")
    return 0 if known["ActiveState"] == "active" else 3


@dataclass
class Given:
    """The command line."""

    names: list[str] = field(default_factory=list)
    properties: list[str] = field(default_factory=list)
    quiet: bool = False
    now: bool = False
    value_only: bool = False


class UsageError(Exception):
    """What systemctl says to a wrong command line."""


IGNORED = ("--no-pager", "-l", "--full", "--no-ask-password", "--system", "--no-block")


def read(words: list[str]) -> Given:
    given = Given()
    rest = iter(words)
    for word in rest:
        if word in ("-p", "--property", "-P"):
            given.properties += next(rest, "").split(",")
            given.value_only |= word == "-P"
        elif word.startswith(("--property=", "-p")):
            given.properties += word.removeprefix("--property=").removeprefix("-p").split(",")
        elif word == "--value":
            given.value_only = True
        elif word in ("-q", "--quiet"):
            given.quiet = True
        elif word == "--now":
            given.now = True
        elif not word.startswith("-"):
            given.names.append(word)
        elif word not in IGNORED:
            raise UsageError(f"systemctl: unrecognized option '{word}'")
    return given


def obey(given: Given) -> int:
    if not given.names:
        raise UsageError("systemctl: listing units is not simulated")
    verb, units = given.names[0], [full(name) for name in given.names[1:]]
    if verb == "daemon-reload":
        if os.geteuid() != 0:
            raise UsageError("Failed to reload daemon: Interactive authentication required.")
        ask("daemon-reload", "")
        return 0
    if verb == "is-system-running":
        print("running")
        return 0
    if verb not in (*ACTIONS, "status", "show", "is-active", "is-enabled"):
        raise UsageError(f"Unknown command verb {verb}.")
    if not units:
        raise UsageError("Too few arguments.")
    if verb == "status":
        return max(status(unit) for unit in units)
    if verb == "show":
        return max(show(unit, given.properties, value_only=given.value_only) for unit in units)
    if verb in ("is-active", "is-enabled"):
        check = is_active if verb == "is-active" else is_enabled
        codes = [check(unit, quiet=given.quiet) for unit in units]
        return 0 if 0 in codes else codes[-1]
    code = max(act(verb, unit) for unit in units)
    if given.now and verb in ("enable", "disable") and code == 0:
        code = max(act("start" if verb == "enable" else "stop", unit) for unit in units)
    return code


def main(words: list[str]) -> int:
    if "--version" in words:
        print("systemd 255 (255.4-1ubuntu8.10)")
        return 0
    try:
        return obey(read(words))
    except UsageError as error:
        complain(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
