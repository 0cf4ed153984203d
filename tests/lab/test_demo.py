"""What the README shows is what happens: its commands are run, and its output is compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.state import Lab
from tests.lab.stack import ROOT

pytestmark = [pytest.mark.lab, pytest.mark.long]
DEADLINE_S = 240
#: Times and the lab's own network differ from run to run and from checkout to checkout.
_VARIES = ((r"\[ *[\d.]+s\]", "[time]"), (r"Duration: \d+s", "Duration"), (r"10\.\d+\.\d+\.", "10.x.y."))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of this checkout with its tools, so that nobody's own demo is touched."""
    folder = tmp_path_factory.mktemp("demo") / "a checkout"  # the space is on purpose
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    # A copy, because set-up writes this checkout's own paths into it.
    shutil.copytree(ROOT / ".tools", folder / ".tools", symlinks=True)
    git = "git -c user.name=test -c user.email=test@example.com"
    run(folder, f"git init --quiet && git add --all && {git} commit --quiet --message test")
    yield folder
    run(folder, "scripts/demo --down")


def run(folder: Path, command: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
    done = subprocess.run(
        ["bash", "-ec", command],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def masked(text: str) -> list[str]:
    """Without what varies, and without the signs of life of a slow step."""
    text = re.sub(r"(?m)^\[ *\d+s\]   … .*\n", "", text)
    for pattern, name in _VARIES:
        text = re.sub(pattern, name, text)
    return [line.rstrip() for line in text.strip().splitlines()]


def shown() -> str:
    """The README's block."""
    readme = (ROOT / "README.md").read_text()
    block = readme.split("<!-- demo -->")[1].split("<!-- /demo -->")[0]
    return block.strip().removeprefix("```text").removesuffix("```")


def test_the_demo_prints_what_the_readme_shows(checkout):
    text = run(checkout, "scripts/demo")
    # The steps of the set-up depend on the machine; the README shows what comes after.
    assert masked(text[text.index("[", text.index("Ready: eval")) :]) == masked(shown())


def test_again_it_changes_nothing(checkout):
    assert "24 unchanged" in run(checkout, "scripts/demo")


def test_the_readmes_switch(checkout):
    switch = "pulumi config set model openai/gpt-oss-20b && pulumi up"
    assert switch in (ROOT / "README.md").read_text()
    run(checkout, f'eval "$(scripts/env lab)"; {switch} --yes')
    assert "I am openai/gpt-oss-20b" in run(checkout, "scripts/demo")


def test_all_this_changed_no_tracked_file(checkout):
    assert str(checkout) in (checkout / "Pulumi.lab.yaml").read_text()
    assert run(checkout, "git status --porcelain") == ""


def test_down_leaves_nothing(checkout):
    run(checkout, "scripts/demo --down")
    assert run(checkout, "git status --porcelain") == ""
    assert not (checkout / "Pulumi.lab.yaml").exists()
    assert not Lab("demo", checkout).store.exists()
    assert not list((checkout / ".lab").glob("demo/*"))
    assert not (checkout / ".lab" / "demo-state").exists()
