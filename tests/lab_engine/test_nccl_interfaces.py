"""NCCL_SOCKET_IFNAME and NCCL_IB_HCA: prefixes, exact names, exclusion, ports."""

import pytest

from lab.engine.tensorrt_llm.nccl.interfaces import Interface, Pattern, all_interfaces, choose

SPARK = [
    Interface("lo", "127.0.0.1"),
    Interface("enP7s7", "10.24.11.13"),
    Interface("enp1s0f0np0", "192.168.100.11"),
    Interface("enP2p1s0f0np0", "192.168.101.11"),
    Interface("docker0", "172.17.0.1"),
]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (None, ["enP7s7", "enp1s0f0np0", "enP2p1s0f0np0"]),
        ("enp1s0f0np0", ["enp1s0f0np0"]),
        ("enP", ["enP7s7", "enP2p1s0f0np0"]),
        ("=enP7s7", ["enP7s7"]),
        ("=enP", []),
        ("^docker,lo", ["enP7s7", "enp1s0f0np0", "enP2p1s0f0np0"]),
        ("^=docker0,lo,enP7s7", ["enp1s0f0np0", "enP2p1s0f0np0"]),
        ("enp1s0f0np0,enP2p1s0f0np0", ["enp1s0f0np0", "enP2p1s0f0np0"]),
        ("wlan", []),
    ],
)
def test_socket_interfaces(pattern, names):
    assert [interface.name for interface in choose(pattern, SPARK)] == names


def test_without_a_pattern_docker_and_loopback_are_the_last_resorts():
    assert [i.name for i in choose(None, [SPARK[0], SPARK[4]])] == ["docker0"]
    assert [i.name for i in choose(None, [SPARK[0]])] == ["lo"]
    ib = Interface("ib0", "10.0.0.1")
    assert choose(None, [*SPARK, ib]) == [ib]


@pytest.mark.parametrize(
    ("pattern", "device", "port", "accepted"),
    [
        ("", "rocep1s0f0", 1, True),
        ("rocep1s0f0", "rocep1s0f0", 1, True),
        ("roce", "roceP2p1s0f0", 1, True),
        ("=roce", "rocep1s0f0", 1, False),
        ("=rocep1s0f0:1,roceP2p1s0f0:1", "roceP2p1s0f0", 1, True),
        ("rocep1s0f0:2", "rocep1s0f0", 1, False),
        ("^rocep1s0f1", "rocep1s0f0", 1, True),
        ("^rocep1s0f1", "rocep1s0f1", 1, False),
        ("mlx5_0", "rocep1s0f0", 1, False),
    ],
)
def test_hcas(pattern, device, port, accepted):
    assert Pattern.parse(pattern).accepts(device, port) is accepted


def test_this_machines_loopback_is_found():
    assert Interface("lo", "127.0.0.1", "255.0.0.0") in all_interfaces()
