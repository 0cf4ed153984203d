"""What docs/security.md says of others' software, as far as it can be seen here."""

from __future__ import annotations

import base64
import importlib
import os
import re
from pathlib import Path
from unittest import mock

import dill
import pytest
from pulumi.dynamic.dynamic import PROVIDER_KEY

ROOT = Path(__file__).parents[2]


class NoProvider:
    """What somebody who may write the state puts into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_provider_in_the_state_is_code_that_runs(tmp_path):
    """In clear: that the program's own providers are encrypted there keeps nobody from writing one."""
    text = base64.b64encode(dill.dumps(NoProvider(tmp_path / "ran"))).decode()
    with mock.patch("grpc.server"), mock.patch("threading.Event"):  # the module serves when it is imported
        process = importlib.import_module("pulumi.dynamic.__main__")
    with pytest.raises(AttributeError):  # it is no provider, which is found out too late
        process.get_provider({PROVIDER_KEY: text}, {})
    assert (tmp_path / "ran").is_dir()


def test_every_test_that_the_page_names_is_there():
    named = set(re.findall(r"`(tests/[\w/.]+)`", (ROOT / "docs/security.md").read_text()))
    assert len(named) > 10
    assert not [name for name in sorted(named) if not (ROOT / name).is_file()]
