"""The sudo rules: those of the documents, a block that can be pasted, and no broken file."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from cluster import sudoers
from cluster.errors import ConfigError
from tests.lab.stack import ROOT
from trtspark import project
from trtspark.cli import app


def documented(number: int) -> list[str]:
    block = (ROOT / "docs/preparing.md").read_text("utf-8").split("```sudoers\n")[number].partition("```")[0]
    return [line.strip() for line in block.strip().splitlines()]


def test_the_documents_show_the_rules_that_are_printed():
    assert documented(1) == sudoers.lines("nvidia")
    assert documented(2) == sudoers.fabric_lines("nvidia")
    assert documented(3) == sudoers.clock_lines("nvidia")


def test_print_sudoers_needs_no_stack_and_no_machine(monkeypatch):
    def no_pulumi(*_):
        raise ConfigError("pulumi is not there")

    monkeypatch.setattr(project, "exists", no_pulumi)
    done = CliRunner().invoke(
        app, ["-C", str(ROOT), "-s", "none-such", "init", "--user", "ada", "--print-sudoers"]
    )
    assert done.exit_code == 0, done.stderr
    rules = [line for line in done.stdout.splitlines() if line.startswith("ada ALL=")]
    assert rules == sudoers.lines("ada")
    assert "nvidia ALL" not in done.stdout
    assert "usermod -aG docker ada" in done.stdout


@pytest.fixture
def spark(tmp_path):
    """A folder for /etc/sudoers.d, and a sudo that needs no password; runs a pasted block."""
    if shutil.which("visudo") is None:
        pytest.skip("visudo is not here")
    folder = tmp_path / "sudoers.d"
    folder.mkdir()
    (tmp_path / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (tmp_path / "sudo").chmod(0o755)

    def paste(block: str) -> subprocess.CompletedProcess[str]:
        text = block.replace("/etc/sudoers.d", str(folder)).replace("-o root -g root ", "")
        path = f"{tmp_path}:/usr/sbin:/usr/bin:/bin"
        return subprocess.run(
            ["bash"], input=text, env={"PATH": path, "TMPDIR": str(tmp_path)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return folder, paste


def test_the_block_installs_what_visudo_accepts(spark):
    folder, paste = spark
    rules = [*sudoers.lines("ada"), *sudoers.fabric_lines("ada")]
    done = paste(sudoers.paste_block(rules))
    assert done.returncode == 0, done.stderr
    [made] = folder.iterdir()
    assert made.name == "trtspark"
    assert made.read_text() == "\n".join(rules) + "\n"
    assert made.stat().st_mode & 0o777 == 0o440


def test_the_block_never_leaves_a_broken_file(spark):
    folder, paste = spark
    paste(sudoers.paste_block(["ada ALL=(root NOPASSWD: /usr/bin/true"]))
    assert not list(folder.iterdir())
    assert not list(folder.parent.glob("tmp.*"))
