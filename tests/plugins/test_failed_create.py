"""A create that fails half-way stays in the state: the next `up` goes on with it, `destroy` undoes it."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.lab
MODULE = """
import pathlib
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult
from dynamic_providers.base import Provider, kept_on_failure

def note(text):
    with pathlib.Path("log").open("a") as log:
        log.write(text + "\\n")

class HalfProvider(Provider):
    def diff(self, _id, olds, news):
        return DiffResult(changes=False)
    def create(self, props):
        outs = {**props, "made": ""}
        with kept_on_failure("half", outs):
            outs["made"] = "the first part"
            if pathlib.Path("fail").exists():
                raise RuntimeError("10.0.0.1: the second part is missing. Put it there.")
        return CreateResult("half", {**props, "made": "all"})
    def update(self, _id, olds, news):
        note(f"update {olds['made']}")
        return UpdateResult({**news, "made": "all"})
    def delete(self, _id, props):
        note(f"delete {props['made']}")

class Half(Resource, module="trial", name="Half"):
    def __init__(self, name):
        super().__init__(HalfProvider(), name, {"made": None})
"""
PROGRAM = """
from half import Half
Half("half")
"""


@pytest.fixture
def half(project):
    """A project of one dynamic resource, whose create fails after its first part."""
    (project.folder / "half.py").write_text(MODULE)
    (project.folder / "fail").touch()
    project.program(PROGRAM)
    failed = project.up()
    assert failed.returncode
    assert "the second part is missing" in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr
    return project


def log(project) -> list[str]:
    return (project.folder / "log").read_text().splitlines()


def test_the_next_up_updates_it(half):
    (half.folder / "fail").unlink()
    assert half.up().returncode == 0
    assert log(half) == ["update the first part"]
    changes = json.loads(half.pulumi("preview", "--json").stdout)["changeSummary"]
    assert set(changes) == {"same"}


def test_destroy_undoes_it(half):
    assert half.pulumi("destroy", "--yes", "--skip-preview").returncode == 0
    assert log(half) == ["delete the first part"]
