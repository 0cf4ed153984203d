"""The documents say what the program is: tables, links, scripts, the tree, errors, sudoers lines."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from cluster.catalog import CATALOG
from remote.node import gpu_runtime, probe
from tests.docker_machine import Machine, install

ROOT = Path(__file__).parents[2]
DOCS = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "plugins/README.md", *ROOT.glob("docs/**/*.md")]
)
NAMES = [str(path.relative_to(ROOT)) for path in DOCS]


def without_code(text: str) -> str:
    return re.sub(r"(?s)```.*?```|`[^`\n]*`", "", text)


def anchors(text: str) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?s)```.*?```", "", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_generated_tables_are_up_to_the_program():
    done = subprocess.run([ROOT / "scripts/docs", "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_relative_link_leads_somewhere(name):
    path = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file) if file else path
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there.read_text("utf-8")), target


@pytest.mark.parametrize("name", NAMES)
def test_every_script_named_is_there_and_runs(name):
    for script in set(re.findall(r"(?<![\w/])scripts/[a-z]+(?![\w/.-])", (ROOT / name).read_text("utf-8"))):
        path = ROOT / script
        assert path.is_file(), script
        assert os.access(path, os.X_OK), script


def test_the_trees_entries_exist():
    text = (ROOT / "README.md").read_text("utf-8")
    tree = text.partition("## The tree")[2].split("```")[1]
    entries = re.findall(r"(?m)^(\S+) {2,}\S", tree)
    assert len(entries) > 10
    for entry in entries:
        assert (ROOT / entry).exists(), entry


def test_the_changelog_counts_the_catalog():
    assert f"defaults for {len(CATALOG)} models" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def program_texts() -> str:
    """The program's sources with the pieces of a text that goes over several lines put together."""
    folders = ("cluster", "components", "dynamic_providers", "remote")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    # The table of symptoms quotes the program, and is not what it says.
    text = "\n".join(path.read_text("utf-8") for path in paths if path.parent.name != "symptoms")
    return re.sub(r"\"\s*\n\s*f?\"|'\s*\n\s*f?'|\"\s*\n\s*f?'|'\s*\n\s*f?\"", "", text)


def test_troubleshooting_quotes_the_programs_own_words():
    text = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    quoted = [
        span for row in re.findall(r"(?m)^\| (`.*?) \| ", text) for span in re.findall(r"`([^`]+)`", row)
    ]
    assert len(quoted) > 40
    program = program_texts()
    missing = [part for span in quoted for part in span.split(" … ") if part not in program]
    assert not missing


def sudoers() -> set[tuple[str, ...]]:
    """The allowed commands of docs/preparing.md, without the folder of the program."""
    text = (ROOT / "docs/preparing.md").read_text("utf-8")
    block = text.partition("```sudoers")[2].partition("```")[0]
    rules = [line.partition("NOPASSWD: ")[2] for line in block.splitlines() if line.strip()]
    words = [shlex.split(command) for rule in rules for command in rule.split(", ")]
    assert all(first.startswith(("/usr/bin/", "/usr/sbin/")) for first, *_ in words)
    return {(os.path.basename(first), *rest) for first, *rest in words}


def prepared_and_back(machine: Machine, before: str | None) -> set[tuple[str, ...]]:
    """Every command that preparing and giving back ask sudo for, with what may happen in between."""
    if before is not None:
        machine.write(before)
    machine.members = []

    def apply(gpu: str) -> None:
        gpu_runtime.main({"action": "apply", "gpu": gpu, "group": True, "stack": "dgx", "take_over": ""})

    apply("GPU-1")
    apply("GPU-1")
    for path in (machine.daemon, machine.toml):  # the owner's edits, another GPU
        path.write_text(path.read_text() + "\n")
    machine.toml.write_text(machine.toml.read_text().replace("swarm-resource", "#swarm-resource"))
    apply("GPU-2")
    machine.has["default-runtime"] = "runc"
    apply("GPU-2")
    gpu_runtime.main({"action": "restore", "stack": "dgx"})
    return {tuple(word.removeprefix(str(machine.root)) for word in call) for call in machine.calls}


def test_the_sudoers_lines_are_the_commands_used(monkeypatch, tmp_path):
    used = {("true",), ("cat", probe.UFW_RULES)}  # the probe's questions
    for name, before in (("present", "{}\n"), ("absent", None)):
        machine = Machine(tmp_path / name)
        with monkeypatch.context() as patch:
            install(machine, patch)
            used |= prepared_and_back(machine, before)
    assert sudoers() == used
