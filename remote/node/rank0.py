"""The main process of rank 0's container: waits for the other ranks, starts them all, and watches.

`python3 rank0.py LAUNCH.json trtllm-serve …`. With one rank the server runs directly; with more, mpirun
reaches each worker's container through its host's sshd and a forced command (remote/node/rank_exec.sh).
Ends with mpirun's exit code when mpirun ends, and ends mpirun when the server died and mpirun did not
notice (up to 1.3.0rc29 the engine's launcher goes on without it). Swarm starts the container again.

The server is started through `serve` below, because it binds its port without SO_REUSEADDR (1.3.0rc5): one
client's idle connection would then keep a new server from the port for a minute after the old one died.

Standard library only; runs in the serving image (Python 3.10 or later, OpenMPI 4.1 or 5).
"""

import json
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

RUN = "/tmp/trtspark"
KEY = "/run/secrets/trtspark-mpi-key"
#: ssh gives up on a peer that vanished after INTERVAL * COUNT seconds; OpenMPI's own keepalive likewise.
KEEPALIVE_INTERVAL_S = 2
KEEPALIVE_COUNT = 3
WATCH_INTERVAL_S = 0.5
#: The server gets this long to start before its absence counts.
SERVER_START_S = 60
STOP_GRACE_S = 1.5
PEER_RETRY_S = 0.2
#: What the container ends with when the server died under a launcher that goes on.
SERVER_DIED = 70
PEERS_MISSING = 75


def main(launch_path, command):
    """The exit code for the container."""
    with open(launch_path, encoding="utf-8") as handle:
        launch = json.load(handle)
    words = [sys.executable, os.path.abspath(__file__), "serve", *command]
    if len(launch["ranks"]) == 1:
        return watch(words)
    write_files(launch)
    missing = wait_for_peers(launch)
    if missing:
        say("gave up: %s" % "; ".join(missing))
        return PEERS_MISSING
    return watch(mpirun_words(launch, openmpi_major()) + ["trtllm-llmapi-launch", *words])


def serve(command):
    """Become the server (a Python program), with ports that can be bound while old connections close."""
    bind = socket.socket.bind

    def reusing(self, address):
        if self.family == socket.AF_INET and self.type == socket.SOCK_STREAM:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return bind(self, address)

    socket.socket.bind = reusing  # type: ignore[method-assign]  # on purpose: see above
    sys.argv = command
    runpy.run_path(shutil.which(command[0]) or command[0], run_name="__main__")


def say(text):
    print("[trtspark] %s" % text, flush=True)


def write_files(launch):
    """ssh's configuration, the pinned host keys, and mpirun's hostfile, readable by root alone."""
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


def wait_for_peers(launch):
    """[] when every worker's container answered, else what was last seen of each that did not."""
    missing: dict[tuple[int, str], str] = {}
    threads = []
    for peer in launch["ranks"][1:]:
        thread = threading.Thread(target=wait_for_peer, args=(peer, launch, missing))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    return ["rank %d at %s: %s" % (r, a, said) for (r, a), said in sorted(missing.items())]


def wait_for_peer(peer, launch, missing):
    deadline = time.monotonic() + launch["peer_deadline_s"]
    told = ""
    while True:
        done = subprocess.run(
            ["ssh", "-F", RUN + "/ssh_config", peer["address"], "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            say("rank %(rank)d at %(address)s is there" % peer)
            return
        said = (done.stderr.strip().splitlines() or ["exit code %d" % done.returncode])[-1]
        if time.monotonic() > deadline:
            missing[(peer["rank"], peer["address"])] = "%s (after %d s)" % (
                said,
                launch["peer_deadline_s"],
            )
            return
        if said != told:
            say("waiting for rank %d at %s: %s" % (peer["rank"], peer["address"], said))
            told = said
        time.sleep(PEER_RETRY_S)


def openmpi_major():
    """4 or 5: their options differ, and each silently ignores the other's."""
    text = subprocess.run(["mpirun", "--version"], capture_output=True, text=True).stdout
    found = re.search(r"\(Open ?MPI\) (\d+)\.|PRRTE\D*(\d+)", text)
    if not found:
        raise SystemExit("[trtspark] this image's mpirun is not Open MPI: %r" % text[:200])
    return int(found.group(1) or 5)


def mpirun_words(launch, major):
    """mpirun's command line for OpenMPI 4.1 or 5, one rank per node in the hostfile's order."""
    ssh = "-F %s/ssh_config" % RUN
    words = ["mpirun", "--allow-run-as-root", "--hostfile", RUN + "/hostfile"]
    words += ["--map-by", "ppr:1:node", "-np", str(len(launch["ranks"]))]
    if major >= 5:
        words += ["--prtemca", "plm", "ssh", "--prtemca", "plm_ssh_args", ssh]
        words += ["--prtemca", "prte_if_include", launch["subnet"]]
        prefix = ["--prtemca", "prte_%s"]
    else:
        words += ["--mca", "plm_rsh_args", ssh]
        words += ["--mca", "oob_tcp_if_include", launch["subnet"]]
        prefix = ["--mca", "oob_tcp_%s"]
    for name, value in (
        ("keepalive_time", KEEPALIVE_INTERVAL_S * 2),
        ("keepalive_intvl", KEEPALIVE_INTERVAL_S),
        ("keepalive_probes", KEEPALIVE_COUNT),
    ):
        words += [prefix[0], prefix[1] % name, str(value)]
    return [*words, "--mca", "btl_tcp_if_include", launch["subnet"]]


def watch(words):
    """Run `words` to their end; stop them when asked to, or when the server inside has died."""
    say("starting: %s" % " ".join(words))
    child = subprocess.Popen(words, start_new_session=True)
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    seen, started = False, time.monotonic()
    while child.poll() is None:
        alive = server_runs()
        seen = seen or alive
        late = time.monotonic() - started > SERVER_START_S
        if asked.is_set():
            stop(child)
            return 0
        if not alive and (seen or late) and child.poll() is None:
            say("trtllm-serve has ended but its launcher goes on: ending it")
            stop(child)
            return SERVER_DIED
        asked.wait(WATCH_INTERVAL_S)
    stop(child)  # whatever the launcher left behind
    say("ended with exit code %d" % child.returncode)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def server_runs():
    """Whether some process here is the server itself (not mpirun or the launcher that name it)."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/cmdline" % name, "rb") as handle:
                    words = handle.read().split(b"\0")
            except OSError:
                continue
            if words[2:4] == [b"serve", b"trtllm-serve"]:
                return True
    return False


def stop(child):
    """SIGTERM to the whole session, then SIGKILL: nothing of the engine needs saving."""
    for number, patience in ((signal.SIGTERM, STOP_GRACE_S), (signal.SIGKILL, 5)):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if child.poll() is not None:
            return  # what is left dies with the container


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        sys.exit(serve(sys.argv[2:]))
    sys.exit(main(sys.argv[1], sys.argv[2:]))
