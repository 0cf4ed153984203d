"""`pulumi new` makes a project from a checkout, whatever runs in it."""

from __future__ import annotations

import os
import subprocess

import pytest

from lab.state import Lab
from tests.lab.stack import ROOT

pytestmark = pytest.mark.lab


def test_pulumi_new_copies_a_checkout_with_a_running_lab(lab, tmp_path):
    (tmp_path / "state").mkdir()
    words = [
        "pulumi",
        "new",
        str(ROOT),
        "--dir",
        str(tmp_path / "new"),
        "--name",
        "another",
        "--generate-only",
    ]
    env = {**os.environ, "PULUMI_BACKEND_URL": f"file://{tmp_path}/state", "PULUMI_CONFIG_PASSPHRASE": "lab"}
    done = subprocess.run(
        [*words, "--offline", "--yes", "--force", "--non-interactive"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "name: another" in (tmp_path / "new" / "Pulumi.yaml").read_text()
    # The lab that ran meanwhile has its devices elsewhere.
    store = Lab(lab["name"]).store
    assert ROOT not in store.parents
    assert any(path.is_char_device() for path in (store / "nodes").glob("*/disk/*"))
