"""Write a lab's addresses, keys and image into a stack's configuration file.

A file that does not exist is created with DEFAULTS. In one that does, every other key keeps its value.

usage: .venv/bin/python -m lab.stack_config LAB_JSON STACK_YAML
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from lab import models
from lab.hub.routes import ENCODINGS

PROJECT = "trtllm-dgx-spark"
DEFAULTS: dict[str, Any] = {
    f"{PROJECT}:model": "openai/gpt-oss-120b",
    # A simulated engine starts in seconds, so a failed start need not be waited for much longer.
    f"{PROJECT}:readyTimeout": "120",
}
"""What a new stack of a lab has besides the lab's own keys."""


def settings(lab: dict[str, Any]) -> dict[str, Any]:
    """The configuration keys that a lab (its lab.json) decides."""
    pins = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in models.encodings().items()
    }
    return {
        # The lab's vocabularies are not OpenAI's: they have pins of their own.
        f"{PROJECT}:tiktoken": {"url": f"{lab['hub']}/{ENCODINGS}", "pins": pins},
        f"{PROJECT}:image": lab["image"],
        f"{PROJECT}:nodes": [{"host": node["host"], "user": node["user"]} for node in lab["nodes"]],
        f"{PROJECT}:sshKey": lab["identity"],
        f"{PROJECT}:knownHosts": lab["known_hosts"],
    }


def write(lab_json: Path, stack_yaml: Path) -> bool:
    """Update the file, and return whether it had to be changed."""
    try:
        stack = yaml.safe_load(stack_yaml.read_text()) or {}
    except FileNotFoundError:
        stack = {"config": dict(DEFAULTS)}
    config = stack.setdefault("config", {})
    wanted = settings(json.loads(lab_json.read_text()))
    if all(config.get(key) == value for key, value in wanted.items()):
        return False
    config.update(wanted)
    stack_yaml.write_text(yaml.safe_dump(stack, sort_keys=True))
    return True


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
