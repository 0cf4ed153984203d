"""The GID table of a simulated port: places as the kernel gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.machinery import rdma_devices

PARTS = ("address", "operstate", "addr_info")
MAC = "3c:6d:66:cc:b3:b7"
V2 = "RoCE v2"


def link(*addresses: str, state: str = "UP") -> dict[str, object]:
    info = [{"family": "inet", "local": address} for address in addresses]
    return dict(zip(PARTS, (MAC, state, info), strict=True))


@pytest.fixture
def port(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(rdma_devices, "DRAFT", tmp_path / "draft")
    monkeypatch.setattr(rdma_devices, "HELD_GIDS", tmp_path / "held")
    return tmp_path / "port"


def shown(port: Path, *addresses: str, state: str = "UP") -> dict[str, list[int]]:
    """After a change of the interface: IPv4 address -> the indexes of its RoCE v2 GIDs."""
    rdma_devices.write_port(port, "enp1s0f0np0", link(*addresses, state=state), "200 Gb/sec (4X HDR)")
    table = rdma_devices.table_of(port)
    return {
        address: [index for index, entry in sorted(table.items()) if entry == (mapped(address), V2)]
        for address in addresses
    }


def mapped(address: str) -> str:
    return rdma_devices.full(f"::ffff:{address}")


def test_one_address_is_at_2_and_3(port):
    assert shown(port, "192.168.100.11") == {"192.168.100.11": [3]}
    assert (port / "gids/7").read_text().strip() == rdma_devices.full("::")
    assert not (port / "gids/8").exists()
    assert not (port / "gid_attrs/types/4").exists()


def test_a_lost_carrier_alone_moves_nothing(port):
    shown(port, "192.168.100.11")
    (port.parent / "held").write_text("3\n")
    assert shown(port, "192.168.100.11", state="DOWN") == {"192.168.100.11": [3]}


def test_an_address_that_comes_back_while_its_old_entry_is_held_moves_to_4(port):
    shown(port, "192.168.100.11")
    (port.parent / "held").write_text("3\n")
    assert shown(port) == {}
    assert shown(port, "192.168.100.11") == {"192.168.100.11": [4]}
    assert (port / "gids/3").read_text().strip() == rdma_devices.full("::")
    (port.parent / "held").unlink()
    assert shown(port, "192.168.100.11") == {"192.168.100.11": [4]}, "it stays where it is"


def test_a_second_address_takes_what_is_free(port):
    shown(port, "10.0.0.1", "192.168.100.11")
    assert shown(port, "192.168.100.11") == {"192.168.100.11": [5]}
    assert shown(port, "192.168.100.11", "10.0.0.2") == {"192.168.100.11": [5], "10.0.0.2": [3]}
