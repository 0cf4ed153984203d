"""What a GPU's samples say. Rows of a GB10 are from field reports; the driver's own bits from nvml.h."""

from __future__ import annotations

import pytest

from cluster import gpu_state

IDLE = ("0", "38", "4.2", "208", "0x0000000000000001")
LOADED = ("96", "71", "78.4", "2411", "0x0000000000000000")
CAPPED = ("96", "74", "92.0", "2300", "0x0000000000000004")
BRAKE = ("96", "60", "31.0", "1200", "0x0000000000000080")
HOT = ("96", "86", "88.0", "1900", "0x0000000000000020")
HUNG = ("96", "55", "22.1", "2405", "0x0000000000000000")
STUCK = ("96", "50", "13.0", "611", "0x0000000000000000")
UNTOLD = ("[N/A]", "[N/A]", "[N/A]", "[N/A]", "[N/A]")


def samples(*rows):
    names = ("utilization.gpu", "temperature.gpu", "power.draw", "clocks.sm", "clocks_event_reasons.active")
    return [gpu_state.read({**dict(zip(names, row, strict=True)), "clocks.max.sm": "3003"}) for row in rows]


def judged(*rows):
    found = samples(*rows)
    checks = {
        "held": gpu_state.held_back,
        "stuck": gpu_state.stuck,
        "hung": gpu_state.hung,
        "hot": gpu_state.hot,
    }
    return {name for name, check in checks.items() if check(found)}


@pytest.mark.parametrize(
    ("row", "found"),
    [(IDLE, set()), (LOADED, set()), (CAPPED, set()), (UNTOLD, set()), (BRAKE, {"held"}),
     (HOT, {"held", "hot"}), (HUNG, {"hung"}), (STUCK, {"stuck"})],
)  # fmt: skip
def test_each_state_and_no_other(row, found):
    assert judged(row, row, row) == found


@pytest.mark.parametrize("row", [HUNG, STUCK, HOT, BRAKE])
def test_a_passing_moment_is_nothing(row):
    assert judged(row, LOADED, row) == set()


def test_no_samples_say_nothing():
    assert judged() == set()
    assert gpu_state.above([], 2200) is None


def test_a_power_cap_counts_where_it_takes_most_of_the_clock():
    low = ("96", "60", "35.0", "1100", "0x0000000000000004")
    assert "1100 of 3003 MHz" in gpu_state.held_back(samples(low, low))


def test_a_clock_above_the_cap_is_seen_and_its_step_is_not():
    assert gpu_state.above(samples(LOADED), 2200) == 2411
    assert gpu_state.above(samples(LOADED), 2400) is None
