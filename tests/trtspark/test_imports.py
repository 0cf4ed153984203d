"""What a command line costs before it does anything: `--help` and completion load nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {"pulumi", "pydantic", "docker", "huggingface_hub", "requests", "rich", "httpx", "yaml", "grpc"}
CODE = """
import json, sys
import trtspark.cli
from contextlib import suppress
sys.argv = ["trtspark", *{words!r}]
with suppress(SystemExit):
    trtspark.cli.main()
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


def loaded(*words: str) -> set[str]:
    """Top-level packages in memory after the command."""
    code = CODE.format(words=list(words))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_loads_nothing_heavy():
    assert not loaded("--help") & HEAVY


def test_help_of_a_command_loads_nothing_heavy():
    """typer itself takes pydantic for a command's options."""
    assert not loaded("models", "--help") & (HEAVY - {"pydantic"})
