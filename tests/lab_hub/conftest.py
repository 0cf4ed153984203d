"""A Hub in the test's process, and the real client pointed at it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.utils import disable_progress_bars

from lab.hub.server import Hub

MODEL = "Qwen/Qwen2.5-7B-Instruct"
SHARD = "model-00001-of-00002.safetensors"


@pytest.fixture(scope="session")
def running():
    disable_progress_bars()
    with Hub() as hub:
        yield hub


@pytest.fixture
def hub(running):
    """The Hub without faults and without a past."""
    running.faults.clear()
    running.requests.clear()
    yield running
    running.faults.clear()


class Client:
    """The real client with a cache of its own."""

    def __init__(self, hub: Hub, cache: Path):
        self.hub = hub
        self.cache = cache

    def api(self, token=False):
        return HfApi(endpoint=self.hub.url, token=token)

    def snapshot(self, model=MODEL, token=False, **rest):
        found = snapshot_download(model, endpoint=self.hub.url, cache_dir=self.cache, token=token, **rest)
        return Path(found)

    def file(self, name=SHARD, model=MODEL, token=False, **rest):
        found = hf_hub_download(model, name, endpoint=self.hub.url, cache_dir=self.cache, token=token, **rest)
        return Path(found)

    def unfinished(self):
        return list(self.cache.rglob("*.incomplete"))

    def hf(self, *words, token=None, deadline=60):
        """The real command, in a process of its own."""
        command = shutil.which("hf", path=str(Path(sys.executable).parent))
        assert command
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.cache.parent),
            "HF_ENDPOINT": self.hub.url,
            "HF_HUB_CACHE": str(self.cache),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            **({"HF_TOKEN": token} if token else {}),
        }
        return subprocess.run(
            [command, *words], env=environment, capture_output=True, text=True, timeout=deadline
        )


@pytest.fixture
def client(hub, tmp_path):
    return Client(hub, tmp_path / "cache")
