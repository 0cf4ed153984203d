"""How labs are cabled, and the addresses and files that follow from it."""

from ipaddress import IPv4Network

import pytest
import yaml

from lab import cabling, names, netplan_files
from lab.variants import Variant

LAN = IPv4Network("10.100.7.0/24")


def wires(number, shape="direct", variant=None):
    return cabling.wires("lab-1", LAN, number, shape, variant or Variant())


def addresses(number, shape="direct", variant=None):
    found = wires(number, shape, variant)
    return {wire.netdev: str(wire.address) for wire in found if wire.address and wire.link != "mgmt"}


def test_a_pair_has_the_addresses_of_nvidias_netplan_file():
    assert addresses(2) == {"enp1s0f0np0": "192.168.100.12/24", "enP2p1s0f0np0": "192.168.101.12/24"}


def test_both_halves_of_a_cage_share_one_cable():
    assert {wire.bridge for wire in wires(1)[1:] if wire.link} == {"cable0"}


def test_a_ring_has_six_subnets_of_two_nodes():
    """The addresses of NVIDIA's tool, node by node."""
    found = {n: [a.removeprefix("192.168.") for a in addresses(n, "ring").values()] for n in (1, 2, 3)}
    assert {n: sorted(a) for n, a in found.items()} == {
        1: ["0.1/24", "1.1/24", "2.1/24", "3.1/24"],
        2: ["0.2/24", "1.2/24", "4.1/24", "5.1/24"],
        3: ["2.2/24", "3.2/24", "4.2/24", "5.2/24"],
    }


@pytest.mark.parametrize("kind", ["static", "one-subnet"])
def test_the_ends_of_a_cable_are_in_one_subnet(kind):
    variant = Variant(addresses=kind)
    ends = [wire for n in (1, 2, 3) for wire in wires(n, "ring", variant)[1:]]
    by_net: dict = {}
    for wire in ends:
        by_net.setdefault((wire.address.network, wire.bridge), []).append(wire.address.ip)
    assert len(by_net) == (6 if kind == "static" else 3)
    assert {len(set(found)) for found in by_net.values()} == {2 if kind == "static" else 4}
    assert len({wire.bridge for wire in ends}) == 3


@pytest.mark.parametrize(
    ("variant", "found"),
    [
        (Variant(cage=1), {"enp1s0f1np1": "192.168.100.11/24", "enP2p1s0f1np1": "192.168.101.11/24"}),
        (Variant(halves=1), {"enp1s0f0np0": "192.168.100.11/24"}),
        (
            Variant(addresses="one-subnet"),
            {"enp1s0f0np0": "192.168.100.11/24", "enP2p1s0f0np0": "192.168.100.111/24"},
        ),
        (Variant(addresses="none"), {}),
        (Variant(cable=False), {}),
    ],
)
def test_variants_of_the_fabric(variant, found):
    assert addresses(1, variant=variant) == found


def test_link_local_addresses_follow_from_the_mac():
    found = addresses(1, variant=Variant(addresses="link-local"))
    assert all(address.startswith("169.254.") and address.endswith("/16") for address in found.values())
    assert len(set(found.values())) == 2


def test_a_spark_without_a_cable_has_no_connectx7():
    assert [wire.netdev for wire in wires(1, variant=Variant(cable=False))] == [names.MANAGEMENT]


def test_netplan_files_are_those_of_an_ubuntu_desktop():
    found = netplan_files.files("lab-1", "spark-1", wires(1), Variant(mtu=9000))
    desktop, cable, profile = sorted(found)
    assert (desktop, cable) == ("01-network-manager-all.yaml", "40-cx7.yaml")
    uuid = profile.removeprefix("90-NM-").removesuffix(".yaml")
    nm = yaml.safe_load(found[profile])["network"]["ethernets"][f"NM-{uuid}"]
    assert (nm["match"], nm["networkmanager"]["uuid"]) == ({"name": "enP7s7"}, uuid)
    assert yaml.safe_load(found[cable])["network"]["ethernets"] == {
        "enp1s0f0np0": {"addresses": ["192.168.100.11/24"], "mtu": 9000},
        "enP2p1s0f0np0": {"addresses": ["192.168.101.11/24"], "mtu": 9000},
    }
    bare = Variant(addresses="none")
    assert "40-cx7.yaml" not in netplan_files.files("lab-1", "spark-1", wires(1, variant=bare), bare)
