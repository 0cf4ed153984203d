"""Weights on two simulated Sparks: fetched while the old model answers, resumed, repaired, given back.

The tests of this file are one story: each goes on where the one before ended.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import requests

from tests.lab import stack as stacks

pytestmark = [pytest.mark.lab, pytest.mark.long]
OLD = "openai/gpt-oss-20b"
#: On the lab's Hub only: 24 MiB in eight shards, and 32 MiB in four.
NEW, BULK = "Qwen/Qwen2.5-14B-Instruct", "lab/bulk-4x8M"
CACHE = "/home/nvidia/.cache/huggingface/hub"


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    one = stacks.create(tmp_path_factory.mktemp("weights") / "project", lab)
    one.env.pop("HF_HUB_OFFLINE", None)
    one.env["HF_ENDPOINT"] = lab["hub"]
    one.set("weights", {"deleteOnDestroy": True})
    one.set("model", OLD)
    one.before = stacks.leavings(lab)
    yield one
    one.pulumi("destroy", "--yes", "--skip-preview", ok=False)


@pytest.fixture
def hub(lab):
    """The lab's Hub, without faults and with an empty list of requests."""
    clear = [f"{lab['hub']}/-/{what}" for what in ("faults", "requests")]
    for url in clear:
        requests.delete(url, timeout=5)
    yield Hub(lab["hub"], lab["operator_ip"])
    for url in clear:
        requests.delete(url, timeout=5)


class Hub:
    """The lab's own addresses of its Hub."""

    def __init__(self, url: str, operator: str) -> None:
        self.url, self.operator = url, operator

    def slow(self, rate: float) -> None:
        fault = {"kind": "slow", "rate": rate, "shared": True}
        assert requests.post(f"{self.url}/-/faults", json=fault, timeout=5).ok

    def fetched(self) -> list[dict]:
        """Answers to the nodes with a large file's content; the operator reads the files' heads only."""
        listed = requests.get(f"{self.url}/-/requests", timeout=5).json()
        large = [one for one in listed if one.get("place") == "cdn" and one["method"] == "GET"]
        return [one for one in large if one["client"] != self.operator]


class Asking(threading.Thread):
    """Asks a server all the time which model it serves: [(time, model or "")]."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.answers, self.stopped = url, [], threading.Event()
        self.start()

    def run(self) -> None:
        while not self.stopped.wait(0.05):
            asked = time.time()
            try:
                answer = requests.get(f"{self.url}/v1/models", timeout=2).json()["data"][0]["id"]
            except (requests.RequestException, ValueError, LookupError):
                answer = ""
            self.answers.append((asked, answer))

    def stop(self) -> list[tuple[float, str]]:
        self.stopped.set()
        self.join()
        return self.answers


def serves(stack) -> str:
    found = requests.get(f"{stack.output('endpoint')}/v1/models", timeout=5).json()
    return str(found["data"][0]["id"])


def blobs(lab, node: int, model: str) -> str:
    folder = f"{CACHE}/models--{model.replace('/', '--')}"
    return stacks.inside(lab, node, f"cd {folder}/snapshots/*/ && sha256sum *.safetensors | sort")


def arrived(lab, node: int, model: str) -> float:
    """When the last byte of a model's files came to a node."""
    folder = f"{CACHE}/models--{model.replace('/', '--')}/blobs"
    return max(map(float, stacks.inside(lab, node, f"find {folder} -type f -printf '%T@\\n'").split()))


def test_the_old_model_answers_until_the_new_one_is_on_every_node(stack, lab, hub):
    stack.up()
    assert hub.fetched() == []  # every node had it
    hub.slow(4e6)
    asking = Asking(stack.output("endpoint"))
    stack.set("model", NEW)
    stack.up()
    answers = asking.stop()
    requests_of = hub.fetched()
    first = min(one["time"] for one in requests_of)
    last = max(arrived(lab, node, NEW) for node in range(2))
    during = [model for when, model in answers if first < when < last]
    assert last - first > 2
    assert len(during) > 20
    assert set(during) == {OLD}
    assert serves(stack) == NEW
    assert blobs(lab, 0, NEW) == blobs(lab, 1, NEW)
    head = lab["nodes"][0]["host"]
    assert {one["client"] for one in requests_of} == {head}


def test_up_again_does_nothing(stack, hub):
    run = stack.up()
    assert set(run.counts) == {"unchanged"}, run.text
    assert hub.fetched() == []


def test_a_disk_that_fills_up_in_the_middle_is_said_and_the_rest_comes_later(stack, lab, hub):
    """Somebody else's file takes the room of the second node while the model arrives there."""
    folder = f"{CACHE}/models--{BULK.replace('/', '--')}"
    stacks.inside(
        lab, 1, f"mkdir {folder} && mount -t tmpfs -o size=40m tmpfs {folder} && chown 1000:1000 {folder}"
    )
    try:
        hub.slow(8e6)
        stack.set("model", BULK)
        up = stack.start("up", "--yes", "--skip-preview")
        stacks.until(lambda: len(hub.fetched()) >= 1, 120, "the download to begin")
        stacks.inside(lab, 1, f"head -c 30M /dev/zero >{folder}/theirs")
        assert up.wait(120) != 0
        assert serves(stack) == NEW
        again = stack.up(ok=False)
        assert again.code != 0
        assert re.search(rf"{lab['nodes'][1]['host']}.*no space is left on the disk", again.text), again.text
    finally:
        # A container that was there before would not see files on what was mounted after its start.
        stacks.inside(lab, 1, f"umount {folder}; rmdir {folder}")
    stack.up()
    assert serves(stack) == BULK
    assert sum(one["sent"] for one in hub.fetched()) < 1.2 * 4 * 8 * (1 << 20)
    stack.set("model", NEW)
    stack.up()
    for node in range(2):
        stacks.inside(lab, node, f"rm -r {folder}")


def test_a_killed_up_goes_on_where_it_was(stack, lab, hub):
    hub.slow(3e6)
    stack.set("model", BULK)
    up = subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive"],
        cwd=stack.folder,
        env=stack.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        stacks.until(lambda: len(hub.fetched()) >= 2, 120, "the download to begin")
        time.sleep(1)
    finally:
        os.killpg(up.pid, signal.SIGKILL)
        up.wait()
    stack.pulumi("cancel", "--yes")
    time.sleep(1)  # the download goes on without anybody
    run = stack.up()
    assert serves(stack) == BULK, run.text
    assert blobs(lab, 0, BULK) == blobs(lab, 1, BULK)
    sent = sum(one["sent"] for one in hub.fetched())
    assert sent < 1.2 * 4 * 8 * (1 << 20)


def test_damage_is_found_by_refresh_and_mended_from_the_other_node(stack, lab, hub):
    folder = f"{CACHE}/models--{BULK.replace('/', '--')}/snapshots/*"
    whole = blobs(lab, 1, BULK)
    stacks.inside(lab, 1, f"printf damage | dd of=$(readlink -f {folder}/model-00002-of-*) conv=notrunc 2>&1")
    stacks.inside(lab, 0, f"rm $(readlink -f {folder}/model-00003-of-*)")
    refreshed = stack.pulumi("refresh", "--yes", "--skip-preview")
    assert re.search(r"ModelWeights trtllm-weights updated .*~missing", refreshed.text), refreshed.text
    run = stack.up()
    assert re.search(r"ModelWeights trtllm-weights updated", run.text), run.text
    assert blobs(lab, 0, BULK) == blobs(lab, 1, BULK) == whole
    assert hub.fetched() == []
    assert set(stack.up().counts) == {"unchanged"}


def test_a_gated_model_needs_a_token_that_is_left_nowhere(stack, lab, hub):
    token = Path(lab["hub_token"]).read_text().strip()
    stack.set("model", "lab/gated")
    run = stack.up(ok=False)
    assert run.code != 0
    assert "lab/gated" in run.text
    stack.pulumi("config", "set", "--secret", "hfToken", token)
    stack.up()
    assert serves(stack) == "lab/gated"
    assert token not in stack.pulumi("stack", "export").text
    for node in range(2):
        ids = "docker ps --quiet --all"
        everything = (
            f"ps -eo args; docker inspect $({ids}); for id in $({ids}); do docker logs $id 2>&1; done"
        )
        assert token not in stacks.inside(lab, node, everything)
        found = stacks.inside(
            lab, node, f"grep -rl {token[3:]} /home/nvidia /tmp /run/user 2>/dev/null || true"
        )
        assert found.strip() == ""


def test_destroy_takes_what_was_fetched_and_nothing_else(stack, lab):
    stack.destroy()
    stacks.same(lab, stack.before)
