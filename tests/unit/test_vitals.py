"""A node's and an engine's figures from their raw words."""

from __future__ import annotations

import pytest

from cluster import vitals

SAMPLE = {
    "time": 100.0,
    "gpu": "37, 61, 43.20, 2418",
    "meminfo": {"MemTotal": 125_500_000, "MemAvailable": 60_000_000},
    "ports": [
        {"device": "rocep1s0f0", "netdev": "enp1s0f0np0", "rate": "200 Gb/sec (2X HDR)", "in": 0, "out": 0}
    ],
    "ranks": [],
    "problem": "",
}


@pytest.mark.parametrize("cell", ["[N/A]", "N/A", "Not Supported", "[Unknown Error]", "", "nan", "inf"])
def test_what_gb10_does_not_tell_is_no_number(cell):
    assert vitals.number(cell) is None


def test_gpu_and_memory():
    found = vitals.vitals("spark-1", {**SAMPLE, "gpu": "37, 61, [N/A], 2418"})
    assert found.gpu == vitals.Gpu(37.0, 61.0, None, 2418.0)
    assert (found.memory, found.available) == (125_500_000 * 1024, 60_000_000 * 1024)
    assert vitals.vitals("spark-1", {**SAMPLE, "gpu": ""}).gpu == vitals.Gpu()


def test_flows_are_differences_and_a_reset_counter_tells_none():
    later = {
        **SAMPLE,
        "time": 102.0,
        "ports": [{**SAMPLE["ports"][0], "in": 5_000_000_000, "out": 250_000_000}],
    }
    [port] = vitals.vitals("n", later, SAMPLE).ports
    assert (port.rate, port.incoming, port.outgoing) == (200.0, 20.0, 1.0)
    [first] = vitals.vitals("n", later).ports
    assert first.incoming is None
    [reset] = vitals.vitals("n", {**SAMPLE, "time": 104.0}, later).ports
    assert reset.incoming is None


def port_of(**errors):
    return {**SAMPLE, "ports": [{**SAMPLE["ports"][0], "errors": errors}]}


def test_lost_packets_are_what_was_counted_since_the_look_before():
    """However many there were before, and however few of all packets ever."""
    before = port_of(port_rcv_packets=10**9, out_of_sequence=20_000, packet_seq_err=7, np_cnp_sent=5)
    later = port_of(port_rcv_packets=10**9 + 2400, out_of_sequence=20_123, packet_seq_err=17, np_cnp_sent=5)
    [port] = vitals.vitals("n", {**later, "time": 101.0}, before).ports
    assert port.losing == (
        "5.12 % of 2400 packets were out of sequence or sent again (out_of_sequence 123, packet_seq_err 10)"
    )
    assert port.todo.startswith("Push the cable in until it clicks")
    assert "`ethtool -S enp1s0f0np0`" in port.todo
    for first, second in ((later, later), (later, before), (SAMPLE, later)):
        [port] = vitals.vitals("n", {**second, "time": 102.0}, first).ports
        assert (port.losing, port.todo) == ("", "")
    [first] = vitals.vitals("n", later).ports
    assert first.losing == ""


def container(rank, state, age, spec="a"):
    return {"rank": str(rank), "name": "x", "state": state, "status": "", "age": age, "spec": spec}


def test_restarts_are_earlier_containers_of_the_same_spec():
    listed = [
        container(0, "running", 5),
        container(0, "exited", 60),
        container(0, "exited", 90),
        container(0, "exited", 900, spec="before the switch"),
        container(1, "running", 500),
    ]
    found = vitals.vitals("n", {**SAMPLE, "ranks": listed}).ranks
    assert [(one.number, one.age, one.restarts) for one in found] == [(0, 5.0, 2), (1, 500.0, 0)]


def test_drained_iterations_are_tokens_per_second():
    item = {
        "numActiveRequests": 3,
        "numQueuedRequests": 1,
        "inflightBatchingStats": {"numGenRequests": 3, "avgNumDecodedTokensPerIter": 1.0},
    }
    found = vitals.drained([item] * 40, 2.0)
    assert found == vitals.Load(3, 1, 60.0)
    assert vitals.drained([], 2.0) == vitals.Load(0, 0, 0.0)
    assert vitals.drained([item], 0.0).tokens_per_second is None


def test_counters_do_not_drain_and_older_versions_have_none():
    text = """# TYPE trtllm_generation_tokens_total counter
trtllm_generation_tokens_total{model_name="m"} 1200.0
trtllm_num_requests_running{model_name="m"} 2.0
"""
    now = vitals.counters(text)
    before = {**now, "generation_tokens_total": 1000.0}
    assert vitals.counted(now, before, 4.0) == vitals.Load(2, None, 50.0)
    assert vitals.counted(now, None, 0.0) == vitals.Load(2, None, None)
    assert vitals.counted(vitals.counters('request_success_total{a="b"} 3.0\n'), None, 0.0) is None


def test_a_narrow_pcie_link_is_shown_and_a_healthy_one_is_not():
    speed = {"current_link_speed": "32.0 GT/s PCIe"}
    shown = []
    for width in ("4", "2"):
        port = {**SAMPLE["ports"][0], "pcie": {**speed, "current_link_width": width}}
        shown += [one.slow_pcie for one in vitals.vitals("n", {**SAMPLE, "ports": [port]}).ports]
    assert shown == ["", "x2 at 32 GT/s"]
