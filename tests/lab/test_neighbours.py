"""Sparks that say by mDNS that they offer ssh are found over the lab's wires, and `trtspark init` takes them.

The operator is in the switch's network namespace: several interfaces, most without an address, as on a desk.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from lab.state import Lab
from tests.lab import stack as stacks
from tests.lab.conftest import NAME
from tests.lab.terminal import Terminal

pytestmark = [pytest.mark.lab, pytest.mark.long]
ADVERT = Path(__file__).with_name("mdns_advert.py")
LAB = Lab(NAME)


def within(namespace: str, *words: str) -> list[str]:
    return ["nsenter", f"--net=/run/netns/{namespace}", *words]


@pytest.fixture(scope="module")
def sparks(lab):
    """Both nodes answer mDNS questions, on their cables too: the switch has no way to those addresses."""
    with ExitStack() as stack:
        for node in lab["nodes"]:
            advert = [sys.executable, str(ADVERT), node["name"], node["host"], *node["fabric"]]
            words = within(LAB.node(node["name"]).namespace, *advert)
            process = stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
            stack.callback(process.terminate)
            assert process.stdout.readline() == "ready\n"
        yield lab["nodes"]


def test_a_real_responder_is_understood(sparks):
    script = "from trtspark.discovery import neighbours; [print(one) for one in neighbours()]"
    done = subprocess.run(
        within(LAB.switch, sys.executable, "-c", script),
        cwd=stacks.ROOT, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"{node['name']} ({node['host']})" for node in sparks]


def test_init_shows_them_and_takes_them_by_number(sparks, lab, tmp_path):
    stack = stacks.create(tmp_path / "project", lab)
    stack.env["PYTHONPATH"] = str(stacks.ROOT)
    for key in ("nodes", "model"):
        stack.set(key, None)
    screen = Terminal("neighbours", stack.folder, stack.env, 120, 50)
    try:
        screen.type(" ".join(within(LAB.switch, sys.executable, "-m", "trtspark", "--stack", "lab", "init")))
        shown = screen.until("Head (number", 60)
        for number, node in enumerate(sparks, 1):
            assert f"  {number}  {node['name']} ({node['host']})" in shown
        screen.type("2")
        # What is left, the one at the other end of the cable first.
        shown = screen.until("Worker 1", 60)
        assert f"  1  {sparks[0]['name']} ({sparks[0]['host']})" in shown.partition("Head (")[2]
        screen.type("1")
        screen.until(f"{sparks[0]['host']}: the login of nvidia works.")
        screen.type("-")
        screen.until("The model (number", 60)
        screen.type("openai/gpt-oss-20b")
        screen.ends(90)
    finally:
        screen.close()
    found = yaml.safe_load((stack.folder / "Pulumi.lab.yaml").read_text())["config"]
    assert [node["host"] for node in found[f"{stacks.PROJECT}:nodes"]] == [
        node["host"] for node in reversed(sparks)
    ]
