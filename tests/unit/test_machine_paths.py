"""scripts/lint finds paths and addresses of one machine, and nothing that every machine has."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "lib" / "machine_paths.py"
_spec = importlib.util.spec_from_file_location("machine_paths", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
machine_paths = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(machine_paths)

OWN = machine_paths.own_folders(Path("/data/checkout"), Path("/srv/people/ada"))
# Put together here, or this file would be reported.
LAB, USER = "/build/main/." + "lab/demo", "/ho" + "me/ada"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Pulumi.lab.yaml", f"  trtllm-dgx-spark:sshKey: {LAB}/operator"),
        ("Pulumi.lab.yaml", "  - host: 10.136.168.11"),
        ("docs/a.md", "see /data/checkout/lab/disk.py"),
        ("docs/a.md", "see /srv/people/ada/.ssh/id_ed25519"),
        ("tests/a.py", f"KEY = {USER}/.ssh/id_rsa"),
        ("tests/a.json", '"/tmp/pytest' + '-of-ada/pytest-0/x"'),
    ],
)
def test_what_belongs_to_one_machine_is_reported(name, line):
    assert len(machine_paths.found(name, f"one\n{line}\n", OWN)) == 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Pulumi.dgx.yaml", "  - host: 192.168.1.11"),
        ("tests/a.py", 'HEAD = "10.136.168.11"'),
        ("docs/a.md", "/etc/docker/daemon.json, /home/nvidia/.cache/huggingface, /root/.cache, /opt/x"),
        ("scripts/a", '"$root/.venv/bin/python" ~/src/.venv "${HOME}/x/.lab" .lab/demo/lab.json'),
        (".gitignore", "/.venv/"),
        ("docs/a.md", "/data/checkout-of-another"),
    ],
)
def test_what_every_machine_has_is_not(name, line):
    assert machine_paths.found(name, f"{line}\n", OWN) == []


def test_a_system_home_is_nobodys():
    assert machine_paths.own_folders(Path("/a"), Path("/root")) == ["/a"]
