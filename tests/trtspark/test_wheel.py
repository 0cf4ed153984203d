"""The built wheel: what `pip install` gives works without the checkout beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("cluster", "components", "dynamic_providers", "remote", "trtspark")
#: Every file that is read at run time, asked for as the program does.
READ = """
from cluster import published
from components import swarm_cluster
from importlib import resources
from remote import node, rank0
from trtspark.bench.report import page
assert published.model("openai/gpt-oss-120b")
node.program(probe="look")
rank0.program()
for package, name in (("remote", "image_check.sh"), ("remote.node", "rank_exec.sh")):
    assert resources.files(package).joinpath(name).read_text()
assert resources.files("trtspark.bench.report").joinpath("style.css").read_text()
"""


def required() -> list[str]:
    """What requirements.txt lists for the program; pytest is there for those who run the tests."""
    lines = [line.strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "pytest"))]


def test_the_wheel_needs_what_pulumi_installs():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"] == required()


def test_every_data_file_belongs_to_the_package():
    """A file that is no Python and not listed is missing from the wheel."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    there = {
        path
        for package, patterns in listed.items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES]
    files = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert {ROOT / name for name in files if not name.endswith(".py")} == there


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_an_empty_environment_with_the_wheel_runs_the_command_line(tmp_path):
    source = tmp_path / "source"
    for name in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    pip = ["-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([sys.executable, *pip, "wheel", source, "--no-deps", "-w", tmp_path], check=True)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python, command = (tmp_path / "venv" / "bin" / name for name in ("python", "trtspark"))
    [wheel] = tmp_path.glob("*.whl")
    subprocess.run([python, *pip, "install", wheel], check=True)

    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(ROOT / "Pulumi.yaml", project)
    (tmp_path / "state").mkdir()
    env = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "HF_HUB_OFFLINE": "1",
    }

    def run(*words: object) -> str:
        return subprocess.run(
            [str(word) for word in words], cwd=project, env=env, capture_output=True, text=True, check=True
        ).stdout

    assert "models" in run(command, "--help")
    run(python, "-I", "-c", READ)
    run("pulumi", "stack", "init", "wheel")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key")
    key = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    # Nothing listens there: the list needs no machine.
    for path, value in (("host", "127.0.0.1"), ("port", "1"), ("hostKey", key)):
        run("pulumi", "config", "set", "--path", f"nodes[0].{path}", value)
    run("pulumi", "config", "set", "model", "openai/gpt-oss-20b")
    listed = run(command, "models", "list")
    assert "openai/gpt-oss-120b" in listed
    assert "fits" in listed
