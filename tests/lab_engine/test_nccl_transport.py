"""InfiniBand or sockets: decided by sysfs, device nodes and variables, and shown in the log."""

import pytest

from lab.engine.tensorrt_llm.nccl.devices import Machine
from lab.engine.tensorrt_llm.nccl.interfaces import Interface
from lab.engine.tensorrt_llm.nccl.log import Log, NcclError
from lab.engine.tensorrt_llm.nccl.transport import choose

PRESENT = [Interface("enp1s0f0np0", "192.168.100.11"), Interface("enP2p1s0f0np0", "192.168.101.11")]
CABLED = ("roceP2p1s0f0", "rocep1s0f0")
ALL = ("roceP2p1s0f0", "roceP2p1s0f1", "rocep1s0f0", "rocep1s0f1")
SOCKET = {"NCCL_SOCKET_IFNAME": "enp1s0f0np0"}


@pytest.fixture
def spark(tmp_path):
    """The four ports of a Spark's ConnectX-7, cabled on the first of each half."""
    for number, name in enumerate(ALL):
        port = tmp_path / f"sys/class/infiniband/{name}/ports/1"
        (port / "gids").mkdir(parents=True)
        (port / "gids/3").write_text("0000:0000:0000:0000:0000:ffff:c0a8:640b\n")
        (port / "gids/5").write_text("0000:0000:0000:0000:0000:0000:0000:0000\n")
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
        transport = choose(variables, Log(variables), PRESENT, machine, version)
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


def test_without_device_nodes_it_falls_back(spark, capsys):
    for node in (spark / "dev/infiniband").iterdir():
        node.unlink()
    transport, log = chosen(spark, capsys, **SOCKET)
    assert transport.name == "Socket"
    assert "NCCL WARN NET/IB : Unable to open device rocep1s0f0" in log
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
        ({"NCCL_IB_GID_INDEX": "5"}, "ibv_modify_qp failed with 110 Connection timed out"),
        ({"NCCL_IB_GID_INDEX": "9"}, "local GID index 9"),
    ],
)
def test_what_fails(spark, capsys, variables, said):
    error, log = chosen(spark, capsys, **{**SOCKET, **variables})
    assert isinstance(error, NcclError)
    assert said in log


def test_a_gid_that_is_there(spark, capsys):
    transport, _ = chosen(spark, capsys, NCCL_IB_GID_INDEX="3", **SOCKET)
    assert len(transport.rails) == 2


def test_without_an_index_the_gid_of_the_ipv4_address_is_taken(spark, capsys):
    gids = spark / "sys/class/infiniband/rocep1s0f0/ports/1/gids"
    (gids / "1").write_text("fe80:0000:0000:0000:3e6d:66ff:fecc:b3b7\n")
    transport, _ = chosen(spark, capsys, NCCL_IB_HCA="=rocep1s0f0", **SOCKET)
    assert str(transport.rails[0].gid) == "::ffff:192.168.100.11"
    transport, _ = chosen(spark, capsys, NCCL_IB_HCA="=rocep1s0f0", NCCL_IB_GID_INDEX="1", **SOCKET)
    assert transport.rails[0].gid.family == "RoCE v2 over IPv6"


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
