"""mpirun's command line. OpenMPI 4.1 and 5 name their options differently, and each silently ignores the
other's: https://docs.open-mpi.org/en/v5.0.x/mca.html and the 4.1 manual pages. 5 starts ranks by PRRTE, whose
own names `prte_info --all` lists (3.0.8 in 5.0.7): its keepalive is still oob_tcp_keepalive_*.
"""

import re
import subprocess

from .files import CARRIED, KEEPALIVE_COUNT, KEEPALIVE_INTERVAL_S, RUN, client

VERSION_S = 60
"""Seconds for `mpirun --version`, also where the image's files are read for the first time."""


def major():
    """4 or 5, of the mpirun in this image."""
    try:
        done = subprocess.run(["mpirun", "--version"], capture_output=True, text=True, timeout=VERSION_S)
    except subprocess.TimeoutExpired:
        raise SystemExit("[trtspark] `mpirun --version` did not end within %d s" % VERSION_S) from None
    text = done.stdout
    found = re.search(r"\(Open ?MPI\) (\d+)\.|PRRTE\D*(\d+)", text)
    if not found:
        raise SystemExit("[trtspark] this image's mpirun is not Open MPI: %r" % text[:200])
    return int(found.group(1) or 5)


def words(launch, major):
    """One rank per node, in the hostfile's order, each free to use every core.

    mpirun binds the ranks of a job of one or two to one core each (4.1.4, 5.0.11), and every thread that a
    rank starts inherits that. The command line also beats what an image's MCA parameter files say.

    With the head's own ssh client every daemon looks for it at that place, though only the head uses it: a
    tree of daemons begins with more nodes than there are. A worker has a stand-in there (AGENT_STUB in
    cluster/service_spec.py).
    """
    ssh = "-F %s/ssh_config" % RUN
    line = ["mpirun", "--allow-run-as-root", "--hostfile", RUN + "/hostfile"]
    line += ["--map-by", "ppr:1:node", "-np", str(len(launch["ranks"]))]
    line += ["--bind-to", "none"]
    if major >= 5:
        line += ["--prtemca", "plm", "ssh", "--prtemca", "plm_ssh_args", ssh]
        line += ["--prtemca", "prte_if_include", launch["subnet"]]
        kind = "--prtemca"
    else:
        line += ["--mca", "plm_rsh_args", ssh]
        line += ["--mca", "oob_tcp_if_include", launch["subnet"]]
        kind = "--mca"
    if client() == CARRIED:
        launcher = "plm_ssh" if major >= 5 else "plm_rsh"
        line += [kind, launcher + "_agent", CARRIED]
    for name, value in (
        ("oob_tcp_keepalive_time", KEEPALIVE_INTERVAL_S * 2),
        ("oob_tcp_keepalive_intvl", KEEPALIVE_INTERVAL_S),
        ("oob_tcp_keepalive_probes", KEEPALIVE_COUNT),
    ):
        line += [kind, name, str(value)]
    return [*line, "--mca", "btl_tcp_if_include", launch["subnet"]]
