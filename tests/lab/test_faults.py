"""A deployed pair comes back from what may happen to it: the quick faults of lab/faults.py.

The whole list, with its measured times: `python -m lab.faults`.
"""

from __future__ import annotations

import pytest

from lab import fault_list, faults
from lab.fault_pair import Pair

pytestmark = [pytest.mark.lab, pytest.mark.long]
#: Those that cover each way of noticing once, within minutes.
QUICK = (
    "engine-rank-0",
    "engine-rank-1",
    "container-rank-1",
    "restart-head",
    "hang-rank-1",
    "gid-flap",
    "gid-restart",
    "half-kernels",
    "power-head",
    "crash-loop",
    "lost-state",
    "destroy-dead-worker",
)
#: Noticed within so many seconds, where docs/serving.md promises something; generous, for a loaded machine.
NOTICED_S = {"engine-rank-0": 15, "engine-rank-1": 15, "hang-rank-1": 40, "gid-restart": 40}


@pytest.fixture(scope="module")
def pair(lab, tmp_path_factory):
    one = Pair.deployed(lab, tmp_path_factory.mktemp("faults") / "project")
    yield one
    one.stack.pulumi("destroy", "--yes", "--skip-preview", ok=False)


@pytest.mark.parametrize("fault", faults.chosen(QUICK), ids=lambda fault: fault.name)
def test_it_serves_again_and_nothing_is_left_behind(pair, fault):
    row = faults.run(pair, fault)
    assert row.wrong == ""
    if fault.outage:
        assert row.noticed is not None
        assert row.noticed < NOTICED_S.get(fault.name, 90)


def test_every_fault_has_a_name_of_its_own():
    names = [fault.name for fault in fault_list.FAULTS]
    assert len(set(names)) == len(names)
