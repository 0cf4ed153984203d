"""The screen of status: what it says, and that it fits."""

from __future__ import annotations

import pytest
from rich.console import Console

from cluster.service_spec import mark
from cluster.spec_drift import of_state
from cluster.vitals import Gpu, Load, Port, Rank, Vitals
from tests.unit.test_service_spec import inspected, spec
from trtspark.screen import State, duration, flow, rendered

IMAGE = "release@sha256:1"
PORTS = (Port("rocep1s0f0", "enp1s0f0np0", 200.0, 1.5, 0.25), Port("roceP2p1s0f0", "enP2p1s0f0np0", 200.0))


def node(number, **changes):
    rank = Rank(number, "running", "Up", 200.0, 1, "spec")
    found = {
        "node": f"10.24.11.{11 + number}",
        "gpu": Gpu(37.0, 61.0, None, 2418.0),
        "memory": 128 << 30,
        "available": 64 << 30,
        "ranks": (rank,),
        "ports": PORTS,
    }
    return Vitals(**{**found, **changes})


def state(**changes):
    found = {
        "stack": "dgx",
        "endpoint": "http://10.24.11.11:8355",
        "model": "openai/gpt-oss-120b",
        "deployed": "openai/gpt-oss-120b",
        "served": "openai/gpt-oss-120b",
        "revision": "b5c939de8f754692c1647ca79fbf85e8c1e70f8a",
        "transport": ["rank 0: NET/IB over rocep1s0f0, roceP2p1s0f0"],
        "nodes": [node(0), node(1)],
        "load": Load(2, 0, 38.24),
        "ranks": 2,
    }
    return State(**{**found, **changes})


def shown(one, width=100):
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(rendered(one, width))
    return capture.get()


def test_one_screen_says_it_all():
    text = shown(state())
    for part in (
        "http://10.24.11.11:8355", "answers", "up 3 min", "openai/gpt-oss-120b @ b5c939de8f75",
        "2 requests running, 38.2 tokens/s", "NET/IB", "37 %", "64.0/128 GiB",
        "200 Gb/s, in 1.50, out 0.25", "none seen",
    ):  # fmt: skip
        assert part in text
    assert state().healthy


def test_a_load_that_is_not_known_has_its_reason():
    assert "iterationStats: true" in shown(state(load=Load()))
    dead = shown(state(load=Load(), served=""))
    assert "unknown: the API does not answer" in dead
    assert "iterationStats" not in dead


@pytest.mark.parametrize("width", [60, 80])
def test_it_fits_a_small_terminal(width):
    many = state(
        load=Load(), transport=["x" * 300] * 2, served="", nodes=[node(0, problem="p" * 300), node(1)]
    )
    for one in (state(), many):
        lines = shown(one, width).splitlines()
        assert len(lines) <= 23
        assert max(map(len, lines)) <= width


def test_what_is_not_told_is_no_number():
    text = shown(state(nodes=[Vitals("n", problem="nvidia@n: it does not answer.")]))
    assert "0 %" not in text
    assert " -" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"endpoint": ""}, "nothing is deployed"),
        ({"model": "a/b"}, "a/b is configured, openai/gpt-oss-120b deployed"),
        ({"served": "a/b"}, "a/b is served"),
        ({"served": ""}, "does not answer"),
        ({"nodes": [node(0), node(1, ranks=())]}, "rank 1 does not run"),
        (
            {
                "served": "",
                "nodes": [node(0), node(1, ranks=(Rank(1, "paused", "Up", 9.0, 0, ""),))],
            },
            "rank 1 is paused: `pulumi up` starts it again",
        ),
        ({"nodes": [node(0), Vitals("n", problem="n: gone.")]}, "n: gone."),
        ({"running": False}, "ranks run, and `running` is false"),
    ],
)
def test_drift_in_a_line(changes, said):
    one = state(**changes)
    assert said in "; ".join(one.drift)
    assert not one.healthy


def test_a_spec_that_up_did_not_give_is_drift_and_stays_out_of_the_document():
    resource = {"type": "x:dynamic/trtspark:SwarmService", "outputs": {"spec": spec(rank=0), "image": IMAGE}}
    wanted, there = of_state([resource]), inspected(spec(rank=0))
    ranks = (Rank(0, "running", "Up", 200.0, 0, mark(spec(rank=0))),)
    one = state(nodes=[node(0, ranks=ranks, services={0: there}), node(1)], given=wanted)
    assert one.healthy
    there["TaskTemplate"]["ContainerSpec"]["Env"].append("X=1")
    assert [line for line in one.drift if line.startswith("rank 0 runs another spec")]
    assert "X=1" not in str(one.document())
    unasked = state(nodes=[node(0, ranks=ranks), node(1)], given=wanted)
    assert unasked.healthy  # no manager could say


def test_stopped_on_purpose_is_healthy():
    assert state(running=False, served="", nodes=[node(0, ranks=()), node(1, ranks=())]).healthy


def test_json_has_null_for_what_is_not_known():
    document = state(load=Load()).document()
    assert document["nodes"][0]["gpu"]["power"] is None
    assert document["load"]["running"] is None
    assert document["uptime"] == 200.0


def test_durations():
    assert [duration(s) for s in (42, 200, 18_720, 400_000)] == ["42 s", "3 min", "5.2 h", "5 days"]


def test_a_narrow_pcie_link_stands_beside_the_rate():
    assert flow(Port("a", "b", 200.0, 1.0, 2.0, "x2 at 32 GT/s")) == (
        "200 Gb/s (PCIe only x2 at 32 GT/s), in 1.00, out 2.00"
    )


def test_a_server_that_completes_nothing_is_not_well():
    found = state(fault="HTTP 400: CUDA error: an illegal instruction was encountered")
    assert not found.healthy
    text = shown(found)
    assert "completes nothing" in text
    assert "an illegal instruction was encountered" in shown(found, 160)
    assert state(running=False, served="", nodes=[], fault="HTTP 400: x").drift == []


def test_ranks_that_may_not_use_every_core_are_a_warning():
    slow = Rank(1, "running", "Up", 200.0, 1, "spec", "30 of 31 threads may only run on CPU 0")
    one = state(nodes=[node(0), node(1, ranks=(slow,))])
    assert "Warning    10.24.11.12: rank 1: 30 of 31 threads" in shown(one)
    [text] = one.document()["warnings"]
    assert text.startswith("10.24.11.12: rank 1: 30 of 31 threads may only run on CPU 0. Run `pulumi up`")
    assert one.drift == []
    assert state().warnings == []
    assert "Warning" not in shown(state())


def test_a_port_that_loses_packets_is_a_warning_and_shown_at_its_link():
    losing = Port(
        "rocep1s0f0", "enp1s0f0np0", 200.0, 1.5, 0.25, losing="5 % of 99 packets", todo="Push it in."
    )
    found = state(nodes=[node(0), node(1, ports=(losing,))])
    assert found.warnings == ["10.24.11.12 enp1s0f0np0: 5 % of 99 packets since the last look. Push it in."]
    assert found.healthy
    assert "enp1s0f0np0  200 Gb/s, loses packets, in 1.50, out 0.25" in shown(found)
    assert found.document()["nodes"][1]["ports"][0]["losing"] == "5 % of 99 packets"
