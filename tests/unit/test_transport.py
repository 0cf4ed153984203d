"""RDMA as a proven fact: which rank said what, what moved, and why not."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from cluster import fabric, transport, transport_causes
from remote import transport as remote_transport
from remote.ssh import Result
from tests import samples

HALVES = ("rocep1s0f0", "roceP2p1s0f0")


def network(count: int = 2, **overrides: str) -> list[dict[str, Any]]:
    nodes = samples.facts(count)
    return transport.network(fabric.plan(nodes, [[] for _ in nodes]), nodes, overrides)


def ranks(count: int = 2, **overrides: str) -> tuple[transport.Expected, ...]:
    return transport.expected(network(count, **overrides))


def log(rank: int, text: str, host: str = "", pid: int = 200, word: str = "INFO") -> str:
    who = f"{host or f'spark-{rank + 1}'}:{pid}:{pid} [0]"
    if word == "WARN":
        return f"[2026-09-01 10:00:00] {who} misc/ibvwrap.cc:380 (wrap_ibv_modify_qp) NCCL WARN {text}"
    return f"{who} NCCL {word} {text}"


def using(rank: int, *hcas: str) -> str:
    listed = " ".join(f"[{i}]{hca}:1/RoCE" for i, hca in enumerate(hcas or HALVES))
    return f"NET/IB : Using {listed} [RO]; OOB enp1s0f0np0:192.168.100.{11 + rank}<0>"


def well(count: int = 2, host: str = "") -> list[str]:
    lines = []
    for rank in range(count):
        lines += [
            log(rank, f"Bootstrap: Using enp1s0f0np0:192.168.100.{11 + rank}<0>", host),
            log(rank, using(rank), host),
            log(rank, "Using network IB", host),
        ]
    return lines


def moved(count: int = 2, **changes: int) -> list[dict[str, list[int]]]:
    return [{name: [changes.get(name, 50_000), 0] for name in HALVES} for _ in range(count)]


def test_all_is_well():
    assert transport.problems(ranks(), well(), moved()) == []
    assert not transport.still(ranks(), well(), moved())
    assert transport.summary(ranks(), well(), moved()) == [
        f"spark-{n}: NET/IB rocep1s0f0 (moved 50000 bytes), roceP2p1s0f0 (moved 50000 bytes)" for n in (1, 2)
    ]


def test_equal_host_names_and_pids_are_told_apart_by_address():
    expected = tuple(dataclasses.replace(rank, hostname="spark") for rank in ranks(3))
    lines = well(3, host="spark")
    assert sorted(transport.reports(expected, lines)) == [0, 1, 2]
    fallen = [line.replace(using(1), "NET/Socket : Using [0]enp1s0f0np0:192.168.100.12<0>") for line in lines]
    [problem] = transport.problems(expected, fallen, moved(3))
    assert problem.startswith("rank 1 (10.24.11.12): NCCL took sockets")


def test_a_rank_may_be_known_by_its_own_word_only():
    """Behind another bootstrap interface than planned, with a host name that nobody knows."""
    lines = [
        log(1, "Bootstrap: Using eth9:172.16.0.9<0>", "box", 7),
        log(1, "ncclCommInitRankConfig comm 0x1 rank 1 nranks 2 cudaDev 0 - Init START", "box", 7),
        log(1, "NET/IB : Using [0]mlx5_0:1/RoCE [RO]; OOB eth9:172.16.0.9<0>", "box", 7),
    ]
    assert transport.reports(ranks(), lines)[1].devices == ("mlx5_0",)


def test_a_rank_that_says_nothing():
    [problem] = transport.problems(ranks(), well(1), moved(), debug="NCCL_DEBUG=WARN")
    assert problem.startswith("rank 1 (10.24.11.12): NCCL did not say which transport it opened")
    assert "(`nccl` sets NCCL_DEBUG=WARN: take that out)" in problem


def test_a_half_that_was_not_opened_is_named():
    lines = [line.replace(using(1), using(1, "rocep1s0f0")) for line in well()]
    [problem] = transport.problems(ranks(), lines, moved())
    assert problem.startswith("rank 1 (10.24.11.12): NCCL did not open roceP2p1s0f0 (it opened rocep1s0f0).")


def test_devices_that_the_user_chose_are_not_compared():
    lines = [line.replace(using(1), using(1, "rocep1s0f0")) for line in well()]
    assert transport.problems(ranks(NCCL_IB_HCA="x"), lines, moved()) == []


def test_a_half_that_stood_still_is_named_with_its_cause():
    found = transport.problems(ranks(), well(), moved(roceP2p1s0f0=200))
    assert len(found) == 2
    assert "the counters of roceP2p1s0f0 stood still during a completion. Likely cause:" in found[0]
    assert transport.still(ranks(), well(), moved(roceP2p1s0f0=200))


def test_ends_with_different_mtu_explain_a_half_that_stands_still():
    changed = network()
    changed[1]["hcas"][1]["mtu"] = 1500.0  # as Pulumi hands numbers back
    [first, _] = transport.problems(transport.expected(changed), well(), moved(roceP2p1s0f0=0))
    assert "enP2p1s0f0np0 has MTU 9000, and enP2p1s0f0np0 of 10.24.11.12 1500: set one on both." in first


def test_what_moved_is_a_difference():
    before = [{"a": [100, 10]}, {}]
    after = [{"a": [150, 30]}, {"b": [7, 8]}]
    assert transport.difference(before, after) == [{"a": [50, 20]}, {"b": [7, 8]}]


MODIFY = "Call to ibv_modify_qp failed with 110 Connection timed out, on dev rocep1s0f0:1, curr state INIT, "
GONE = "Call to ibv_modify_qp failed with 61 No data available, on dev roceP2p1s0f0:1, local GID index 3, "
CASES = [
    (["Call to ibv_open_device failed", "NET/IB : Unable to open device rocep1s0f0"], "no-device"),
    (["NET/IB : No device found.", "Failed to initialize any NET plugin"], "filter"),
    (["Failed to open libibverbs.so[.1]"], "no-verbs"),
    (["ibv_reg_mr_iova2 failed with error Cannot allocate memory"], "memlock"),
    ([MODIFY + "local GID index 1, local GID fe80::3e6d, remote GID ::ffff:192.168.100.12"], "gid-family"),
    ([MODIFY + "local GID index 5, local GID ::, remote GID ::ffff:192.168.100.12"], "gid-index"),
    (
        [MODIFY + "local GID index 3, local GID ::ffff:192.168.0.1, remote GID ::ffff:192.168.1.2"],
        "other-subnet",
    ),
    (
        [MODIFY + "local GID index 3, local GID ::ffff:192.168.0.1, remote GID ::ffff:192.168.0.2"],
        "unreachable",
    ),
    (["Call to ibv_modify_qp failed with 110 Connection timed out"], "unreachable"),
    (
        ["socketPollConnect: connect to 192.168.100.12<40001> failed: No route to host"],
        "firewall",
    ),
    (["Bootstrap : no socket interface found"], "interface"),
    (["NET/IB : rocep1s0f0:1 Got non-fatal async event: port error(10)"], "link-lost"),
    (["NET/IB : rocep1s0f0:1 Got async error event: port error"], "link-lost"),
    (["NET/IB : Got async fatal event: port error"], "link-lost"),
    (["NET/IB : rocep1s0f0:1 GID table changed"], "gid-changed"),
    (["NET/IB : rocep1s0f0:1 unknown event type (18)"], "gid-changed"),
    (["NET/IB : rocep1s0f0:1 Got async event: GID table change"], "gid-changed"),
    ([GONE + "local GID ::, remote GID ::ffff:192.168.100.12"], "gid-index"),
]


@pytest.mark.parametrize(("texts", "id"), CASES)
def test_what_nccl_says_has_a_cause(texts, id):
    lines = [*well(1), log(1, "Bootstrap: Using enp1s0f0np0:192.168.100.12<0>")]
    lines += [log(1, text, word="WARN") for text in texts]
    said = transport_causes.told(ranks(), lines, transport.lines_of)
    cause = next(cause for cause in transport_causes.CAUSES if cause.id == id)
    assert said.startswith("rank 1 (10.24.11.12): NCCL said: ")
    assert texts[0][:40] in said or texts[-1][:40] in said
    assert f"Likely cause: {cause.means}; {cause.todo}." in said


def test_a_warning_that_is_not_in_the_table_is_quoted_with_its_rank():
    lines = [*well(), log(1, "Cuda failure 'named symbol not found'", word="WARN"), log(0, "x", word="WARN")]
    said = transport_causes.told(ranks(), lines, transport.lines_of)
    assert said == "rank 1 (10.24.11.12): NCCL said: \"Cuda failure 'named symbol not found'\"."


def test_every_cause_has_a_case():
    assert {id for _, id in CASES} | {"half-idle"} == {cause.id for cause in transport_causes.CAUSES}


def test_an_old_toolkit_explains_a_container_without_devices():
    changed = network()
    changed[1]["toolkit"] = "1.10.0"
    lines = [log(1, "NET/IB : Unable to open device rocep1s0f0", word="WARN")]
    said = transport_causes.told(transport.expected(changed), lines, transport.lines_of)
    assert "NVIDIA's container toolkit there is 1.10.0" in said


def test_a_healthy_log_has_no_cause():
    assert transport_causes.told(ranks(), well(), transport.lines_of) == ""


@pytest.mark.parametrize(
    ("wanted", "nccl", "expected"),
    [
        ("auto", {}, "IB"),
        ("rdma", {}, "IB"),
        ("any", {}, "any"),
        ("auto", {"NCCL_NET": "Socket"}, "any"),
        ("auto", {"NCCL_IB_DISABLE": "1"}, "any"),
    ],
)
def test_what_the_gate_insists_on(wanted, nccl, expected):
    found = fabric.plan(samples.facts(2), [[], []], wanted)
    assert transport.required(found, nccl) == expected
    assert transport.required(fabric.plan(samples.facts(1), [[]], "auto"), nccl) == "none"


class FakeNodes:
    """Nodes whose counters stand at the next of `readings` each time they are read."""

    def __init__(self, readings: list[list[dict[str, list[int]]]]) -> None:
        self.readings = readings
        self.reads = [0, 0]

    def __call__(self, connection: Any) -> Any:
        number = int(connection.host.rsplit(".", 1)[-1]) - 11

        nodes = self

        class Shell:
            def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
                reading = nodes.readings[min(nodes.reads[number], len(nodes.readings) - 1)][number]
                nodes.reads[number] += 1
                return Result(0, json.dumps({"hca_counters": reading}), "")

            def close(self) -> None:
                return

        return Shell()


def reading(first: int, second: int) -> list[dict[str, list[int]]]:
    return [{HALVES[0]: [first, first], HALVES[1]: [second, second]} for _ in range(2)]


@pytest.fixture
def completions(monkeypatch):
    seen: list[int] = []
    monkeypatch.setattr(remote_transport, "_complete", lambda _props, words: seen.append(words))
    monkeypatch.setattr(remote_transport, "SETTLE_S", 0)
    return seen


def props(wanted: str = "IB") -> dict[str, Any]:
    return {
        "url": "http://10.24.11.11:8355",
        "model": "m",
        "transport": wanted,
        "network": network(),
        "connections": [one.as_props() for one in samples.connections(2)],
        "ncclDebug": "",
    }


def test_one_short_completion_is_enough_where_all_moves(completions):
    nodes = FakeNodes([reading(0, 0), reading(9000, 9000)])
    assert len(remote_transport.prove(props(), well, nodes)) == 2
    assert completions == [8]


def test_a_longer_completion_is_tried_before_a_half_is_blamed(completions):
    nodes = FakeNodes([reading(0, 0), reading(9000, 0), reading(9000, 0), reading(18000, 9000)])
    remote_transport.prove(props(), well, nodes)
    assert completions[:2] == [8, 40]


def test_a_half_that_never_moves_fails(completions):
    nodes = FakeNodes([reading(0, 0), reading(9000, 0)])
    with pytest.raises(Exception, match="the counters of roceP2p1s0f0 stood still") as caught:
        remote_transport.prove(props(), well, nodes)
    assert completions == [8, 40, 400]
    assert str(caught.value).endswith("`pulumi config set transport any`.")


def test_sockets_will_do_where_anything_will(completions):
    lines = [log(0, "NET/Socket : Using [0]enp1s0f0np0:192.168.100.11<0>")]
    sockets = ["spark-1: NET/Socket enp1s0f0np0"]
    assert remote_transport.prove(props("any"), lambda: lines, FakeNodes([])) == sockets
    assert remote_transport.prove(props("none"), lambda: [], FakeNodes([])) == []
    assert completions == []
