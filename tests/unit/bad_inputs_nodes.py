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


def refused_machines() -> list[tuple[str, list[str]]]:
    """(name, ids of the checks that must speak) of every recorded machine with something wrong."""
    found = []
    for path in sorted(CASES.glob("*.json")):
        expected = json.loads(path.read_text(encoding="utf-8"))["expect"].get("findings", [])
        if expected:
            found.append((path.stem, expected))
    return found
