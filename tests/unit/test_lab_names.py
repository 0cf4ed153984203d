"""Names, addresses and variants of labs: derived, stable and never shared."""

import errno
import shutil
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from lab import cabling, lifecycle, names, state
from lab.errors import LabError
from lab.state import Lab, Plan
from lab.variants import parse, usages, variant_of

LINUX_INTERFACE_NAME = 15


def test_two_checkouts_and_two_labs_of_one_have_nothing_in_common():
    labs = [Lab(name, Path(folder)) for folder in ("/a", "/b") for name in ("demo", "test")]
    assert len({lab.id for lab in labs}) == 4
    macs = {names.mac(lab.id, "spark-1", names.MANAGEMENT) for lab in labs}
    assert len(macs) == 4
    assert len({names.gpu_uuid(lab.id, node) for lab in labs for node in ("spark-1", "spark-2")}) == 8


def test_interface_names_are_short_enough():
    lab = Lab("demo")
    wires = [wire for node in lab.nodes(Plan("10.100.0.0/24", names.MAX_NODES)) for wire in node.wires]
    ports = [name for wire in wires for name in (wire.netdev, wire.port)]
    for name in [lab.id, *cabling.bridges("ring"), *ports]:
        assert len(name) <= LINUX_INTERFACE_NAME


def test_subnet_moves_on_when_it_is_taken():
    free = names.subnet("lab-1", [])
    other = names.subnet("lab-1", [free.supernet(new_prefix=23)])
    assert names.subnet("lab-1", []) == free
    assert not other.overlaps(free)
    with pytest.raises(ValueError, match="is taken"):
        names.subnet("lab-1", [IPv4Network("10.0.0.0/8")])


def test_addresses_are_those_of_the_contract():
    lan = IPv4Network("10.100.7.0/24")
    node = Lab("demo").nodes(Plan(str(lan), 2))[1]
    assert str(node.host) == "10.100.7.12"
    assert node.fabric == ["192.168.100.12", "192.168.101.12"]
    assert str(names.operator_address(lan)) == "10.100.7.1"


def test_variants_are_of_one_node_or_of_all(tmp_path):
    daemon = tmp_path / "a:b.json"
    daemon.touch()
    nodes = ["spark-1", "spark-2"]
    found = parse(["no-gpu", "spark-2:no-docker", f"daemon-json={daemon}"], nodes)
    assert variant_of(found["spark-1"]).docker
    assert not variant_of(found["spark-2"]).docker
    assert {variant_of(words).daemon_json for words in found.values()} == {daemon}
    for wrong, reason in {
        "no-gpus": "no such variant",
        "spark-3:no-gpu": "no node 'spark-3'",
        "daemon-json=/nowhere": "no file /nowhere",
        "daemon-json": "written daemon-json=FILE",
        "no-gpu=1": "written no-gpu",
        "mtu=1501": "written mtu=9000",
        "clock=soon": "written clock=SECONDS",
    }.items():
        with pytest.raises(LabError, match=reason):
            parse([wrong], nodes)


def test_variants_that_exclude_each_other_are_refused():
    with pytest.raises(LabError, match="spark-1 cannot be gpus and no-gpu"):
        parse(["no-gpu", "spark-1:gpus=2"], ["spark-1", "spark-2"])


def test_a_fresh_spark_is_the_default():
    fresh = variant_of([])
    assert (fresh.docker_group, fresh.sudo_password, fresh.daemon_json) == (False, True, None)
    told = variant_of(
        ["docker-group", "sudo-nopasswd", "clock=-90", "dockerd-flag=--a", "dockerd-flag=--b=c"]
    )
    assert (told.docker_group, told.sudo_password, told.clock_s) == (True, False, -90)
    assert told.dockerd_flags == ("--a", "--b=c")


def test_the_contract_lists_every_variant():
    text = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text()
    for name, about in usages().items():
        assert f"| `{name.replace('|', chr(92) + '|')}` | {about} |\n" in text


def test_what_a_lab_makes_of_devices_is_outside_of_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "DISKS", tmp_path / "labs")
    lab = Lab("demo", tmp_path / "checkout")
    assert lab.store == tmp_path / "labs" / lab.id
    with lab.locked():
        lab.write_plan(Plan("10.100.0.0/24", 1, store=str(lab.store)))
        lab.make_store()
    assert lab.nodes(Plan("10.100.0.0/24", 1, store=str(lab.store)))[0].disk.is_relative_to(lab.store)
    assert state.orphans() == []
    shutil.rmtree(lab.checkout)
    assert state.orphans() == [lab.store]


def test_a_lab_of_an_older_version_keeps_its_disks_where_they_are(tmp_path):
    lab = Lab("demo", tmp_path)
    lab.folder.mkdir(parents=True)
    (lab.folder / "plan.json").write_text('{"subnet": "10.100.0.0/24", "nodes": 1}')
    assert lab.store == lab.folder
    assert lab.node("spark-1").disk == lab.folder / "nodes" / "spark-1" / "disk"


def test_the_user_of_sudo_gets_the_labs_folder(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(state.os, "lchown", lambda *words: given.append(words))
    (tmp_path / "hub").mkdir()
    monkeypatch.delenv("SUDO_UID", raising=False)
    state.hand_over(tmp_path)
    assert given == []
    monkeypatch.setenv("SUDO_UID", "1000")
    monkeypatch.setenv("SUDO_GID", "1001")
    state.hand_over(tmp_path)
    assert given == [(tmp_path, 1000, 1001), (tmp_path / "hub", 1000, 1001)]


def test_a_file_system_that_cannot_hold_a_disk_is_named(tmp_path, monkeypatch):
    def refuse(*_words):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(lifecycle.os, "setxattr", refuse)
    with pytest.raises(LabError, match=rf"{tmp_path} cannot hold .*not supported.*TRTSPARK_LAB_DISKS"):
        lifecycle._check_store(tmp_path)
