"""Bad answers of nodes, and machines whose facts must be refused: what a probe's document is changed to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CASES = Path(__file__).parents[1] / "fixtures" / "cases"

#: (exit code, standard output, standard error, what the error must name) of the probe of 10.24.11.11.
ANSWERS: tuple[tuple[int, str, str, tuple[str, ...]], ...] = (
    (127, "", "bash: line 1: python3: command not found\n", ("python3", "It needs python3")),
    (126, "", "bash: /usr/bin/python3: Permission denied\n", ("python3: Permission denied",)),
    (1, "", "zsh: parse error near `}'\n", ("zsh: parse error", "~/.bashrc")),
    (0, "", "", ("no output", "~/.bashrc", "ssh -p 22 nvidia@10.24.11.11")),
    (3, "", "", ("exit code 3", "~/.bashrc")),
    (0, "This account is for backups only.\n", "", ("backups only",)),
    (0, "\x1b[2J\x1b[31mWelcome\x07\n", "", ("Welcome",)),
    (0, "{", "", ("gave no answer",)),
    (0, "{" * 5000, "", ("gave no answer",)),
    (0, "null\n", "", ("gave no answer",)),
    (0, "[1]\n", "", ("gave no answer",)),
    (0, '{"probe": 1}\n', "", ("gave no answer",)),
    (0, '{"probe": {}}\n', "", ("gave no answer",)),
    (0, '{"probe": null, "hub_cache": null}\n', "", ("gave no answer",)),
    (0, '{"probe": {"format": 1}, "hub_cache": {}}\n', "", ("gave no answer",)),
    (0, "\ufffd" * 300, "", ("gave no answer",)),
    (1, "", "MemoryError\n", ("MemoryError",)),
    (137, "", "Killed\n", ("Killed",)),
    (1, "x" * 5000, "", ("gave no answer",)),
)

#: (what a right document is changed to, by its keys) of a node whose cache is all right.
DOCUMENTS: tuple[dict[str, Any], ...] = (
    {"format": 1},
    {"format": None},
    {"commands": {}},
    {"commands": None},
    {"commands": []},
    {"files": None},
    {"docker": {}},
    {"docker": {"program": True, "info": None}},
    {"rdma": [{}]},
    {"rdma": None},
    {"net": None},
    {"disks": {"cache": {}}},
    {"disks": []},
    {"tcp": [["0.0.0.0"]]},
    {"tcp": [["0.0.0.0", "port"]]},
    {"memlock": "unlimited"},
    {"ssh_connection": None},
    {"places": {"home": {}}},
    {"links": [1]},
    {"user": None, "files": {}},
    {"time": "now"},
    {"time": 10**400},
    {"tcp": [["0.0.0.0", float("inf")]]},
    {"disks": {"cache": {"path": "/", "mount": "/", "blocks": [1], "frsize": 2, "bavail": 1, "files": 0}}},
)


#: (what sudo says to the probe of 10.24.11.11, what the error must name) where Docker is to be prepared.
SUDO: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("sudo: a password is required\n", ("a password", "--print-sudoers")),
    ("We trust you have received the usual lecture\n\nsudo: a password is required\n", ("a password",)),
    (
        "sudo: unable to resolve host a: Name or service not known\nsudo: a password is required\n",
        ("a password",),
    ),
    ("sudo: interactive authentication is required\n", ("a password", "--print-sudoers")),
    ("sudo: sorry, you must have a tty to run sudo\n", ("requiretty", "!requiretty")),
    (
        "nvidia is not in the sudoers file.\nThis incident has been reported to the administrator.\n",
        ("not in the sudoers", "usermod -aG sudo nvidia"),
    ),
    (
        "Sorry, user nvidia is not allowed to execute '/usr/bin/true' as root on spark-1.\n",
        ("not allowed to", "usermod -aG sudo nvidia"),
    ),
    ("sh: 1: sudo: not found\n", ("not installed",)),
    ("sudo: /etc/sudoers is world writable\n", ("world writable", "sudo -n true")),
    ("\x1b[31mno\x1b[0m\n", ("no", "sudo -n true")),
)


def refused_machines() -> list[tuple[str, list[str]]]:
    """(name, ids of the checks that must speak) of every recorded machine with something wrong."""
    found = []
    for path in sorted(CASES.glob("*.json")):
        expected = json.loads(path.read_text(encoding="utf-8"))["expect"].get("findings", [])
        if expected:
            found.append((path.stem, expected))
    return found
