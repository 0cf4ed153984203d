"""The table of symptoms and the tables of checks belong together; rank 0's exit codes are the program's."""

from __future__ import annotations

from cluster import exits, symptoms
from cluster.checks import CHECKS
from cluster.live import LIVE_CHECKS
from remote.rank0 import codes
from trtspark.doctor.rows import REACHED, RESOLVED

ROWS = [*symptoms.BEFORE, *symptoms.DEPLOYING, *symptoms.WAITING, *symptoms.SERVING]


def test_every_check_has_a_symptom_that_says_what_helps():
    named = {check for row in ROWS for check in row.checks}
    assert named == {*CHECKS, *LIVE_CHECKS, REACHED, RESOLVED}


def test_every_row_says_why_and_what_to_do():
    for row in ROWS:
        assert row.because, row.says
        assert row.do, row.says
        assert "\n" not in row.says + row.because + row.do + row.shows, row.says


def test_rank_0s_exit_codes_mean_what_its_program_says():
    for code, means in codes.MEANINGS.items():
        assert exits.EXITS[code].means == means
    assert set(exits.EXITS) - set(codes.MEANINGS) == {134, 135, 137, 139, 143}


def test_an_exit_code_of_another_program_is_not_explained():
    assert exits.explained(3) == ""


def test_every_live_check_says_what_it_is():
    for check in LIVE_CHECKS.values():
        assert check.about.endswith("."), check.id
        assert check.fix.endswith("."), check.id
        assert check.run.__doc__, check.id
        assert check.id not in CHECKS
