"""What RDMA writes and NCCL should reach, and what is said when they do not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cluster import fabric, link_report, rail_report
from cluster.rail_report import Nccl, Rails, Rate
from tests import samples


def wires(**worker: Any) -> list[dict[str, Any]]:
    """The two rails of a pair; `worker` changes the worker's second end."""
    nodes = samples.facts(2)
    found = link_report.wires(fabric.plan(nodes, [[], []]), nodes)
    found[1]["ends"][1] |= worker
    return found


def rails(mine: list[dict[str, Any]], *rates: float, together: float = 94.0) -> Rails:
    """`rates`: of the first rail there and back, then the second's."""
    each = {}
    for number, wire in enumerate(mine):
        ends = [end["address"] for end in wire["ends"]]
        each[ends[0], ends[1]] = Rate(rates[2 * number])
        each[ends[1], ends[0]] = Rate(rates[2 * number + 1])
    return Rails(each, {(0, 1): [Rate(together)] * 2, (1, 0): [Rate(together)] * 2})


def warned(mine: list[dict[str, Any]], measured: Rails, nccl: Nccl, tcp: float = 20.0) -> list[str]:
    return rail_report.warnings(mine, dict.fromkeys(measured.each, tcp), measured, nccl)


GOOD = Nccl(189.6, version="2.28.9")


def test_published_figures_of_a_healthy_pair_are_good():
    mine = wires()
    measured = rails(mine, 111.7, 111.6, 109.0, 112.0)
    assert warned(mine, measured, GOOD) == []
    assert rail_report.rdma(mine[0], measured) == "RDMA 111.7 and 111.6 Gb/s (expected 112): good"
    assert rail_report.together_lines(mine, measured)[0] == (
        "spark-1 to spark-2: RDMA over 2 rails at once 188.0 Gb/s (expected 190): good"
    )
    assert rail_report.nccl_line(mine, 2, GOOD) == (
        "NCCL 2.28.9 all-reduce between 2 ranks: 23.7 GB/s, 189.6 Gb/s (expected 190): good"
    )
    assert rail_report.notes(measured, GOOD) == []


def test_a_slow_rail_is_named_with_both_ends_and_what_to_do():
    mine = wires()
    measured = rails(mine, 111.7, 111.6, 30.2, 111.0)
    [one] = warned(mine, measured, GOOD)
    assert one.startswith(
        "spark-1 enP2p1s0f0np0 (roceP2p1s0f0) to spark-2 enP2p1s0f0np0 (roceP2p1s0f0): RDMA writes reach "
        "30.2 Gb/s, and 112 are expected (link 200, PCIe 126). Push the cable in"
    )
    assert "too slow" in rail_report.rdma(mine[1], measured)
    [one] = warned(mine, measured, GOOD, tcp=90.0)
    assert "TCP is faster (90.0), so the cable is good: check the switch's flow control" in one


def test_what_the_adapters_lost_is_named_at_each_end_though_the_rate_is_good():
    mine = wires()
    grown = {
        (0, "roceP2p1s0f0"): {"port_xmit_packets": 10_000, "packet_seq_err": 40},
        (1, "roceP2p1s0f0"): {"port_rcv_packets": 10_000, "out_of_sequence": 500, "np_cnp_sent": 6},
        (0, "rocep1s0f0"): {"port_xmit_packets": 10**6, "packet_seq_err": 40},
    }
    measured = dataclasses.replace(rails(mine, *[111.0] * 4, together=70.0), grown=grown)
    first, second = warned(mine, measured, GOOD)
    assert first.startswith(
        "spark-1 enP2p1s0f0np0 (roceP2p1s0f0), linked to spark-2 enP2p1s0f0np0 (roceP2p1s0f0): 0.4 % of "
        "10000 packets were out of sequence or sent again (packet_seq_err 40) during the test. Push the cable"
    )
    assert second.startswith("spark-2 enP2p1s0f0np0 (roceP2p1s0f0), linked to spark-1 ")
    assert "The switch reports congestion: check its flow control" in second


def test_a_rail_that_moves_nothing_is_never_good():
    """Nothing is expected of a link whose rate is not known (0), so 0.0 Gb/s was good."""
    mine = wires(rate=0)
    measured = rails(mine, 111.0, 111.0, 0.0, 111.0, together=100.0)
    assert rail_report.rdma(mine[1], measured) == "RDMA 0.0 and 111.0 Gb/s (expected 0): too slow"
    [one] = warned(mine, measured, GOOD)
    assert "RDMA writes reach 0.0 Gb/s" in one


def test_a_narrow_pcie_link_lowers_what_is_expected():
    """An x2 function cannot do more: the check fabric.pcie names it, and the rail is not called broken."""
    mine = wires(pcie=63)
    measured = rails(mine, 111.7, 111.6, 55.5, 55.4, together=80.0)
    assert rail_report.expected(mine[1]) == pytest.approx(55.8, abs=0.1)
    assert warned(mine, measured, Nccl(165.0)) == []


def test_a_link_of_100_is_judged_as_one():
    mine = wires()
    for wire in mine:
        for end in wire["ends"]:
            end["rate"] = 100
    assert rail_report.expected(mine[0]) == pytest.approx(95, abs=0.1)
    assert rail_report.expected_together(mine) == pytest.approx(95, abs=0.1)


def test_two_cables_carry_twice_as_much():
    mine = wires()
    more = [{**wire, "ends": [{**end, "port": 1} for end in wire["ends"]]} for wire in mine]
    assert rail_report.expected_together([*mine, *more]) == pytest.approx(2 * 189.9, abs=0.1)


def test_rails_that_are_fast_alone_and_slow_together():
    mine = wires()
    found = warned(mine, rails(mine, 111.7, 111.6, 109.0, 112.0, together=48.0), GOOD)
    assert len(found) == 2
    assert "reaches 96.0 Gb/s of 190, though each rail is fast by itself" in found[0]


def test_rdma_that_does_not_work_at_all():
    mine = wires()
    measured = rails(mine, 111.7, 111.6, 109.0, 112.0)
    ends = [end["address"] for end in mine[0]["ends"]]
    each = {**measured.each, (ends[0], ends[1]): Rate(None, "on spark-2: IB device rocep1s0f0 not found")}
    [one] = warned(mine, Rails(each), GOOD)
    assert "RDMA does not work (on spark-2: IB device rocep1s0f0 not found). Check on both" in one
    assert rail_report.rdma(mine[0], Rails(each)).startswith("RDMA no rate and 111.6 Gb/s")


def test_nccl_that_is_slow_says_whether_the_rails_are():
    mine = wires()
    [one] = warned(mine, rails(mine, 111.7, 111.6, 109.0, 112.0), Nccl(20.0))
    assert "NCCL's all-reduce reaches 20.0 Gb/s of 190. The rails are not: look for NCCL variables" in one
    found = warned(mine, rails(mine, 111.7, 111.6, 30.0, 30.0), Nccl(60.0))
    assert found[-1].endswith("The rails named above are the likely cause.")


def test_what_is_not_tested_is_said_with_the_packages_name():
    mine = wires()
    measured = Rails(missing=["10.24.11.12"])
    notes = rail_report.notes(measured, Nccl(None, "the server runs on a. Stop it."))
    assert notes == [
        "RDMA writes were not tested: there is no ib_write_bw on 10.24.11.12. Install it there with "
        "`sudo apt install perftest`, and try again.",
        "NCCL was not tested: the server runs on a. Stop it.",
    ]
    assert rail_report.rdma(mine[0], measured) == "RDMA not tested"
    assert warned(mine, measured, Nccl(None, "it")) == []


def test_a_server_that_ran_meanwhile_is_said():
    mine = wires()
    measured = rails(mine, 111.7, 111.6, 109.0, 112.0)
    [first, _] = rail_report.notes(measured, Nccl(None, "the server runs on a. Stop it.", busy=True))
    assert first.startswith("The server ran during the test of the rails")
