"""Which cores mpirun gives to ranks: the image's own OpenMPI with two daemons, as on two machines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from remote.rank0 import files, mpirun
from tests.lab_engine import test_in_image
from tests.lab_engine.test_in_image import drive, roots  # noqa: F401  # fixtures

pytestmark = [
    pytest.mark.long,
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="chroot and namespaces need root"),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot show it"),
]
#: The second is a name alone: the stand-in for ssh does not dial it.
ADDRESSES = ("10.77.0.1", "10.77.0.2")
NETWORK = f"""
ip link add mpi0 type veth peer name mpi1
ip addr add {ADDRESSES[0]}/24 dev mpi0
ip link set mpi0 up
ip link set mpi1 up
"""
LAUNCH = {
    "ranks": [{"rank": rank, "address": address} for rank, address in enumerate(ADDRESSES)],
    "subnet": "10.77.0.0/24",
}
#: mpirun's `ssh -F CONFIG HOST COMMAND`: the other machine's daemon starts here.
SSH = f"""#!/bin/sh
until [ "$1" = {ADDRESSES[1]} ]; do shift; done
shift
exec sh -c "$*"
"""
#: A rank's second thread: TensorRT-LLM's own repair frees the main thread alone.
RANK = """
import os, re, threading
def told():
    text = open("/proc/thread-self/status").read()
    print("rank", os.environ["OMPI_COMM_WORLD_RANK"], re.search("Cpus_allowed_list:(.*)", text)[1].strip())
thread = threading.Thread(target=told)
thread.start()
thread.join()
"""


def script(words: list[str]) -> str:
    line = " ".join(f"'{word}'" for word in [*words, "python3", "/rank.py"])
    return f"""
        mkdir -p {files.RUN}
        printf '%s slots=1\\n' {" ".join(ADDRESSES)} > {files.RUN}/hostfile
        chmod 755 /usr/local/bin/ssh
        exec {line}
    """


@pytest.mark.parametrize("openmpi", [4, pytest.param(5, marks=pytest.mark.long)])
def test_ranks_may_use_every_core(drive, monkeypatch, openmpi):  # noqa: F811  # the fixture
    monkeypatch.setattr(mpirun, "client", lambda: "/usr/local/bin/ssh")
    setup = test_in_image.SETUP.replace("ip link set lo up", f"ip link set lo up\n{NETWORK}")
    monkeypatch.setattr(test_in_image, "SETUP", setup)
    allowed = os.sched_getaffinity(0)
    status = Path("/proc/self/status").read_text()
    every = status.split("Cpus_allowed_list:")[1].split("\n")[0].strip()
    ours = mpirun.words(LAUNCH, openmpi)
    place = ours.index("--bind-to")
    without = [*ours[:place], *ours[place + 2 :]]
    seen = {}
    for name, words in (("ours", ours), ("without", without)):
        found = drive(
            ["bash", "-c", script(words)],
            files={"rank.py": RANK, "usr/local/bin/ssh": SSH},
            openmpi=openmpi,
            seconds=20,
        )
        assert found["exit"] == 0, found["log"]
        seen[name] = sorted(line for line in found["log"].splitlines() if line.startswith("rank "))
    assert seen["ours"] == [f"rank 0 {every}", f"rank 1 {every}"]
    assert [line.split()[2] for line in seen["without"]] == [str(min(allowed))] * 2
