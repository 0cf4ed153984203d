"""InfiniBand or sockets: decided by sysfs, device nodes and variables, and shown in the log."""

import re
from pathlib import Path

import pytest

from cluster import nccl_log
from lab.engine.tensorrt_llm.nccl.async_events import AsyncEvents
from lab.engine.tensorrt_llm.nccl.devices import Machine
from lab.engine.tensorrt_llm.nccl.interfaces import Interface
from lab.engine.tensorrt_llm.nccl.log import Log, NcclError
from lab.engine.tensorrt_llm.nccl.transport import choose

PRESENT = [Interface("enp1s0f0np0", "192.168.100.11"), Interface("enP2p1s0f0np0", "192.168.101.11")]
CABLED = ("roceP2p1s0f0", "rocep1s0f0")
ALL = ("roceP2p1s0f0", "roceP2p1s0f1", "rocep1s0f0", "rocep1s0f1")
OWN, ADDRESS, NONE = (
    "fe80:0000:0000:0000:3e6d:66ff:fecc:b3b7",
    "0000:0000:0000:0000:0000:ffff:c0a8:640b",
    "0000:0000:0000:0000:0000:0000:0000:0000",
)
SECOND = "0000:0000:0000:0000:0000:ffff:0a00:0001"
V1, V2 = "IB/RoCE v1", "RoCE v2"
TABLE = [(OWN, V1), (OWN, V2), (ADDRESS, V1), (ADDRESS, V2), (NONE, ""), (NONE, "")]
"""The GID table of a port with one IPv4 address; the type of an unused entry cannot be read."""
LOOPBACK = Interface("lo", "127.0.0.1")
RECORDED = Path(__file__).parents[1] / "fixtures/nccl-2.28.9"
SOCKET = {"NCCL_SOCKET_IFNAME": "enp1s0f0np0"}


@pytest.fixture
def spark(tmp_path):
    """The four ports of a Spark's ConnectX-7, cabled on the first of each half."""
    for number, name in enumerate(ALL):
        port = tmp_path / f"sys/class/infiniband/{name}/ports/1"
        (port / "gids").mkdir(parents=True)
        (port / "gid_attrs/types").mkdir(parents=True)
        for index, (gid, kind) in enumerate(TABLE):
            (port / f"gids/{index}").write_text(gid + "\n")
            if kind:
                (port / f"gid_attrs/types/{index}").write_text(kind + "\n")
        (port / "state").write_text("4: ACTIVE\n" if name in CABLED else "1: DOWN\n")
        verbs = tmp_path / f"sys/class/infiniband_verbs/uverbs{number}"
        verbs.mkdir(parents=True)
        (verbs / "ibdev").write_text(name + "\n")
        nodes = tmp_path / "dev/infiniband"
        nodes.mkdir(parents=True, exist_ok=True)
        (nodes / f"uverbs{number}").touch()
    return tmp_path


def chosen(folder, capsys, version="2.28.9", **environment):
    variables = {"NCCL_DEBUG": "INFO", **environment}
    machine = Machine(folder / "sys", folder / "dev")
    try:
        transport = choose(variables, Log(variables, version), PRESENT, machine)
    except NcclError as error:
        transport = error
    return transport, capsys.readouterr().out


def addresses(transport):
    return [rail.address for rail in transport.rails]


def test_both_halves_of_the_cable(spark, capsys):
    transport, log = chosen(spark, capsys, **SOCKET)
    assert (transport.name, addresses(transport)) == ("IB", ["192.168.100.11", "192.168.101.11"])
    line = (
        "NET/IB : Using [0]rocep1s0f0:1/RoCE [1]roceP2p1s0f0:1/RoCE [RO]; OOB enp1s0f0np0:192.168.100.11<0>"
    )
    assert line in log
    assert "Using network IB" in log
    assert "GDRDMA" not in log


def test_one_hca_by_name(spark, capsys):
    transport, _ = chosen(spark, capsys, NCCL_IB_HCA="=rocep1s0f0:1", **SOCKET)
    assert addresses(transport) == ["192.168.100.11"]


def test_the_netdev_may_be_told_by_sysfs(spark, capsys):
    told = spark / "sys/class/infiniband/rocep1s0f0/ports/1/gid_attrs/ndevs"
    told.mkdir(parents=True)
    (told / "0").write_text("enP2p1s0f0np0\n")
    transport, _ = chosen(spark, capsys, NCCL_IB_HCA="rocep1s0f0", **SOCKET)
    assert addresses(transport) == ["192.168.101.11"]


@pytest.mark.parametrize("variables", [{"NCCL_IB_DISABLE": "1"}, {"NCCL_NET": "Socket"}])
def test_sockets_when_asked_for(spark, capsys, variables):
    transport, log = chosen(spark, capsys, **variables, **SOCKET)
    assert (transport.name, addresses(transport)) == ("Socket", ["192.168.100.11"])
    assert "NET/Socket : Using [0]enp1s0f0np0:192.168.100.11<0>" in log
    assert "NET/IB" not in log
    assert ("Failed to initialize NET plugin IB" in log) is ("NCCL_IB_DISABLE" in variables)


def test_without_device_nodes_it_falls_back(spark, capsys):
    for node in (spark / "dev/infiniband").iterdir():
        node.unlink()
    transport, log = chosen(spark, capsys, **SOCKET)
    assert transport.name == "Socket"
    assert "transport/net_ib.cc:715 NCCL WARN NET/IB : Unable to open device rocep1s0f0" in log
    assert "NCCL INFO NET/IB : No device found." in log


def test_the_fall_back_is_silent_without_debug(spark, capsys):
    (spark / "dev/infiniband/uverbs0").unlink()
    transport, log = chosen(spark, capsys, NCCL_DEBUG="", NCCL_IB_HCA="roceP2p1s0f0", **SOCKET)
    assert (transport.name, log) == ("Socket", "")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"NCCL_NET": "IB", "NCCL_IB_HCA": "mlx5"}, "Failed to initialize any NET plugin"),
        ({"NCCL_NET": "OFI"}, "Failed to initialize any NET plugin"),
        ({"NCCL_SOCKET_IFNAME": "eth9"}, "no socket interface found"),
    ],
)
def test_what_fails(spark, capsys, variables, said):
    error, log = chosen(spark, capsys, **{**SOCKET, **variables})
    assert isinstance(error, NcclError)
    assert said in log


def with_table(spark, *table):
    for name in CABLED:
        port = spark / f"sys/class/infiniband/{name}/ports/1"
        for index, (gid, kind) in enumerate([*table, *[(NONE, "")] * (len(TABLE) - len(table))]):
            (port / f"gids/{index}").write_text(gid + "\n")
            (port / f"gid_attrs/types/{index}").unlink(missing_ok=True)
            if kind:
                (port / f"gid_attrs/types/{index}").write_text(kind + "\n")


RANGE = {"NCCL_IB_ADDR_RANGE": "192.168.100.0/24"}
TWO = [(OWN, V1), (OWN, V2), (SECOND, V1), (SECOND, V2), (ADDRESS, V1), (ADDRESS, V2)]


@pytest.mark.parametrize(
    ("table", "variables", "index"),
    [
        (TABLE, {}, 3),
        # After a reboot or a link flap, and with the first place free.
        ([(OWN, V1), (OWN, V2), (ADDRESS, V1), (NONE, ""), (ADDRESS, V2)], {}, 4),
        ([(NONE, ""), (OWN, V1), (OWN, V2), (ADDRESS, V2), (ADDRESS, V1)], {}, 3),
        (TABLE, {"NCCL_IB_ROCE_VERSION_NUM": "2", "NCCL_IB_ADDR_FAMILY": "AF_INET"}, 3),
        (TABLE, {"NCCL_IB_ROCE_VERSION_NUM": "1"}, 2),
        (TABLE, {"NCCL_IB_ADDR_FAMILY": "AF_INET6"}, 0),
        # Of two addresses the first, unless a range says which.
        (TWO, {}, 3),
        (TWO, RANGE, 5),
        (TABLE[:2], {}, 0),
        # Pinned: whatever is there.
        (TABLE, {"NCCL_IB_GID_INDEX": "1"}, 1),
        (TABLE, {"NCCL_IB_GID_INDEX": "4"}, 4),
        (TABLE, {"NCCL_IB_GID_INDEX": "99"}, 99),
        (TABLE, {"NCCL_IB_GID_INDEX": "-1"}, 3),
    ],
)
def test_the_gid_is_chosen_at_each_start(spark, capsys, table, variables, index):
    with_table(spark, *table)
    transport, _ = chosen(spark, capsys, NCCL_IB_HCA="=rocep1s0f0", **variables, **SOCKET)
    gid = transport.rails[0].gid
    assert (gid.index, gid.there) == (index, index < len(table) and table[index][0] != NONE)


@pytest.mark.parametrize(
    ("version", "place"),
    [
        ("2.27.7", "bootstrap.cc:115"),
        ("2.28.9", "bootstrap.cc:114"),
        ("2.29.7", "bootstrap.cc:114"),
        ("2.30.7", "bootstrap.cc:126 (bootstrapNetInit)"),
    ],
)
def test_a_warning_has_the_form_of_its_version(spark, capsys, version, place):
    _, log = chosen(spark, capsys, version, NCCL_SOCKET_IFNAME="eth9")
    text = re.escape(f"[0] {place} NCCL WARN Bootstrap : no socket interface found")
    assert re.search(rf"\n\n\[\d{{4}}-\d\d-\d\d [\d:]{{8}}\] \S+:\d+:\d+ {text}\n", log)
    assert [line.warning for line in nccl_log.parse_all(log.splitlines())] == [False, True]


@pytest.mark.parametrize(
    ("levels", "stamped"),
    [("WARN", (False, True)), ("ALL", (True, True)), ("^INFO", (False, True)), ("INFO", (True, False))],
)
def test_time_stamps_are_for_the_levels_that_have_them(spark, capsys, levels, stamped):
    _, log = chosen(spark, capsys, NCCL_SOCKET_IFNAME="eth9", NCCL_DEBUG_TIMESTAMP_LEVELS=levels)
    lines = [line for line in log.splitlines() if line]
    assert tuple(line.startswith("[20") for line in lines) == stamped


def forms(text):
    """NCCL's lines without what differs between machines: numbers, addresses and interfaces."""
    found = (f"{line.level} {line.source} {line.text}" for line in nccl_log.parse_all(text.splitlines()))
    return {re.sub(r"(eth0|lo|enp1s0f0np0):[\d.]+", "IF", line) for line in found}


@pytest.mark.parametrize(
    ("name", "variables", "present", "fails"),
    [
        ("sockets", {"NCCL_SOCKET_IFNAME": "=lo"}, [LOOPBACK], False),
        ("ib-asked-for-without-devices", {"NCCL_NET": "IB"}, [LOOPBACK], True),
        ("interface-that-is-not-there", {"NCCL_SOCKET_IFNAME": "=enp1s0f0np0"}, [], True),
    ],
)
def test_every_line_is_one_that_the_real_nccl_printed(tmp_path, capsys, name, variables, present, fails):
    """On a machine without RDMA devices, as the recordings' was."""
    environment = {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET,ENV", **variables}
    raised = False
    try:
        choose(environment, Log(environment), present, Machine(tmp_path / "sys", tmp_path / "dev"))
    except NcclError:
        raised = True
    # The real one says nothing of NCCL_NET.
    ours = {line for line in forms(capsys.readouterr().out) if "NCCL_NET set by" not in line}
    assert (raised, len(ours) > 1) == (fails, True)
    assert ours <= forms((RECORDED / f"{name}.txt").read_text())


@pytest.mark.parametrize(
    ("version", "port", "table"),
    [
        ("2.27.7", "Got async error event: port error", "unknown event type (18)"),
        ("2.28.9", "Got non-fatal async event: port error(10)", "GID table changed"),
    ],
)
def test_a_link_that_goes_down_and_a_gid_that_moves_are_events(spark, capsys, version, port, table):
    variables = {"NCCL_DEBUG": "WARN", "NCCL_IB_HCA": "=rocep1s0f0", **SOCKET}
    log = Log(variables, version)
    machine = Machine(spark / "sys", spark / "dev")
    events = AsyncEvents(choose(variables, log, PRESENT, machine).rails, log, machine)
    events.look()
    assert capsys.readouterr().out == ""
    folder = spark / "sys/class/infiniband/rocep1s0f0/ports/1"
    (folder / "state").write_text("1: DOWN\n")
    (folder / "gids/3").write_text(NONE + "\n")
    events.look()
    lines = nccl_log.parse_all(capsys.readouterr().out.splitlines())
    assert [line.text for line in lines] == [f"NET/IB : rocep1s0f0:1 {one}" for one in (port, table)]
    (folder / "state").write_text("4: ACTIVE\n")
    events.look()
    assert "port active" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("version", "asked", "aware"), [("2.30.7", "1", True), ("2.28.9", "1", False), ("2.30.7", "0", False)]
)
def test_only_a_new_nccl_looks_for_subnets(spark, capsys, version, asked, aware):
    transport, _ = chosen(spark, capsys, version, NCCL_IB_SUBNET_AWARE_ROUTING=asked, **SOCKET)
    assert transport.by_subnet is aware


def test_the_order_of_devices_is_pcis_and_not_the_filters_or_the_names(spark, capsys):
    _, log = chosen(spark, capsys, NCCL_IB_HCA="=roceP2p1s0f0:1,rocep1s0f0:1", **SOCKET)
    assert "Using [0]rocep1s0f0:1/RoCE [1]roceP2p1s0f0:1/RoCE" in log
    for index, old in enumerate(("rocep1s0f0", "roceP2p1s0f0")):
        new = spark / f"sys/class/infiniband/mlx5_{index}"
        (spark / f"sys/class/infiniband/{old}").rename(new)
        ndevs = new / "ports/1/gid_attrs/ndevs"
        ndevs.mkdir(parents=True)
        (ndevs / "3").write_text(PRESENT[index].name + "\n")
    for number, name in ((0, "mlx5_1"), (2, "mlx5_0")):
        (spark / f"sys/class/infiniband_verbs/uverbs{number}/ibdev").write_text(name + "\n")
    _, log = chosen(spark, capsys, **SOCKET)
    assert "Using [0]mlx5_0:1/RoCE [1]mlx5_1:1/RoCE" in log


@pytest.mark.parametrize(
    ("subsystems", "shown"), [("INIT,NET,ENV", True), ("COLL", False), ("^NET,INIT", False), ("ALL", True)]
)
def test_subsystems_that_are_not_asked_for_are_silent(spark, capsys, subsystems, shown):
    _, log = chosen(spark, capsys, NCCL_DEBUG_SUBSYS=subsystems, **SOCKET)
    assert ("NET/IB : Using" in log) is shown
