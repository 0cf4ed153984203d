"""ssh's configuration, the pinned host keys, and mpirun's hostfile: readable by root alone."""

import os
import shutil

RUN = "/tmp/trtspark"
KEY = "/run/secrets/trtspark-mpi-key"
#: The head's own client, brought along for images that have none: remote/node/ssh_client.py.
CARRIED = "/opt/trtspark/ssh/current/ssh"
#: ssh gives up on a peer that vanished after INTERVAL * COUNT seconds; OpenMPI's own keepalive likewise.
KEEPALIVE_INTERVAL_S = 2
KEEPALIVE_COUNT = 3
#: One login serves all that is asked of a worker beside mpirun's own: a firewall may count (decision 61).
SHARED = ("-o", "ControlMaster=auto", "-o", "ControlPersist=60")


def write(launch):
    """Everything under RUN, anew."""
    os.makedirs(RUN, mode=0o700, exist_ok=True)
    peers = launch["ranks"][1:]
    with open(RUN + "/known_hosts", "w", encoding="utf-8") as handle:
        for peer in peers:
            name = peer["address"] if peer["port"] == 22 else "[%(address)s]:%(port)d" % peer
            handle.write("%s %s\n" % (name, peer["host_key"]))
    with open(RUN + "/ssh_config", "w", encoding="utf-8") as handle:
        for peer in peers:
            handle.write("Host %(address)s\n  User %(user)s\n  Port %(port)d\n" % peer)
            handle.write("  HostKeyAlgorithms %s\n" % algorithms(peer["host_key"].split()[0]))
        handle.write(
            "Host *\n  IdentityFile %s\n  IdentitiesOnly yes\n  UserKnownHostsFile %s/known_hosts\n"
            "  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  BatchMode yes\n"
            "  ConnectTimeout 5\n  ServerAliveInterval %d\n  ServerAliveCountMax %d\n"
            "  LogLevel ERROR\n" % (KEY, RUN, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)
        )
    with open(RUN + "/hostfile", "w", encoding="utf-8") as handle:
        for peer in launch["ranks"]:
            handle.write("%s slots=1\n" % peer["address"])


def algorithms(key_type):
    """An RSA key is offered with SHA-2 signatures by today's sshd."""
    return "rsa-sha2-512,rsa-sha2-256" if key_type == "ssh-rsa" else key_type


def client():
    """The image's own ssh; where it has none, the head's."""
    return shutil.which("ssh") or CARRIED


def ssh(address, *words):
    """The command line that runs `words` in the rank container of the node there."""
    shared = (*SHARED, "-o", "ControlPath=%s/ssh-%%C" % RUN)
    return [client(), "-F", RUN + "/ssh_config", *shared, address, *words]
