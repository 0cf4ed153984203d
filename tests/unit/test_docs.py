"""The documents say what the program is: tables, links, scripts, the tree, errors, sudoers lines."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from cluster.catalog import CATALOG
from remote.node import gpu_runtime, probe

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
    text = "\n".join(path.read_text("utf-8") for folder in folders for path in (ROOT / folder).rglob("*.py"))
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
    assert all(first.startswith("/usr/bin/") for first, *_ in words)
    return {(os.path.basename(first), *rest) for first, *rest in words}


def used_commands(monkeypatch, present: bool) -> set[tuple[str, ...]]:
    """What apply, apply for another GPU, and restore ask sudo for; `present`: daemon.json was there."""
    files = {gpu_runtime.TOML: '#swarm-resource = "DOCKER_RESOURCE_GPU"\n'}
    if present:
        files[gpu_runtime.DAEMON] = "{}\n"
    used: set[tuple[str, ...]] = set()

    def sudo(*words, text=None):
        used.add(words)
        match words[0]:
            case "tee":
                files[words[1]] = text
            case "mv":
                files[words[3]] = files.pop(words[2])
            case "rm":
                files.pop(words[2], None)
            case "cat":
                return files[words[1]]
        return ""

    monkeypatch.setattr(gpu_runtime, "sudo", sudo)
    monkeypatch.setattr(
        gpu_runtime,
        "read",
        lambda path, as_root=False: sudo("cat", path) if as_root and path in files else files.get(path),
    )
    monkeypatch.setattr(gpu_runtime.os.path, "exists", lambda path: path in files)
    answers = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(gpu_runtime.subprocess, "run", lambda *_args, **_named: answers)
    monkeypatch.setattr(gpu_runtime, "docker_has", lambda _gpu: True)
    before = dict(files)
    gpu_runtime.apply("GPU-1")
    gpu_runtime.apply("GPU-2")
    assert json.loads(files[gpu_runtime.DAEMON])["default-runtime"] == "nvidia"
    gpu_runtime.restore()
    assert files == before
    return used


def test_the_sudoers_lines_are_the_commands_used(monkeypatch):
    used = {("true",), ("cat", probe.UFW_RULES)}  # the probe's questions
    for present in (True, False):
        with monkeypatch.context() as patch:
            used |= used_commands(patch, present)
    assert sudoers() == used
