"""What the tests of the simulated engine share: the lab's models in a folder."""

from pathlib import Path

import pytest

from lab import models
from lab.engine.tensorrt_llm.logger import LEVELS, logger


@pytest.fixture(scope="session")
def hf_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An HF_HOME with all models of the lab."""
    home = tmp_path_factory.mktemp("hf")
    models.write(home)
    return home


@pytest.fixture
def snapshot(hf_home: Path) -> Path:
    """The files of one model that works."""
    return next((hf_home / "hub/models--Qwen--Qwen2.5-7B-Instruct/snapshots").iterdir())


@pytest.fixture(autouse=True)
def _release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The image's default release, whatever the machine's environment says; compiled kernels go away."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRT_LLM_VERSION", "1.3.0rc5")
    for name in ("TLLM_LOG_LEVEL", "NCCL_DEBUG", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(logger, "_level", LEVELS.index("info"))  # as the server sets it
