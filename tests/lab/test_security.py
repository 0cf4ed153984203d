"""What may connect, what a key may do, and where secrets are not: on a deployed pair, with canaries."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

from cluster import least_privilege
from lab.state import Lab
from tests.lab import stack as stacks

pytestmark = [pytest.mark.lab, pytest.mark.long]
MODEL = "lab/gated"
#: What `hf auth login` of a node's owner leaves beside the models, and what is in it.
LOGIN = [f"/home/nvidia/.cache/huggingface/{name}" for name in ("token", "stored_tokens")]
OWNERS = "hf_ofTheOwnersOwnLogin"
PAGE = Path(stacks.ROOT / "docs" / "security.md").read_text()


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    """Deployed with a token that had to be used: the model is gated."""
    one = stacks.create(tmp_path_factory.mktemp("security") / "project", lab)
    one.env.pop("HF_HUB_OFFLINE", None)
    one.env["HF_ENDPOINT"] = lab["hub"]
    one.token = Path(lab["hub_token"]).read_text().strip()
    one.set("model", MODEL)
    one.set("weights", {"deleteOnDestroy": True})
    done = subprocess.run(
        ["pulumi", "config", "set", "--secret", "hfToken", "--stack", "lab"],
        input=one.token,
        cwd=one.folder,
        env=one.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for node in range(len(lab["nodes"])):
        stacks.inside(
            lab, node, f"echo {OWNERS} | tee {LOGIN[0]} > {LOGIN[1]}; chown nvidia {' '.join(LOGIN)}"
        )
    one.seen = Watch(lab)
    one.printed = one.up().text
    one.seen.stop()
    yield one
    one.pulumi("destroy", "--yes", "--skip-preview", ok=False)
    for node in range(len(lab["nodes"])):
        stacks.inside(lab, node, f"rm -f {' '.join(LOGIN)}")


class Watch(threading.Thread):
    """Every command line and environment of this machine's processes (the nodes' are among them)."""

    def __init__(self, lab) -> None:
        super().__init__(daemon=True)
        self.texts: set[bytes] = set()
        self.over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.wait(0.1):
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        self.texts.add((process / name).read_bytes())
                    except OSError:
                        continue

    def stop(self) -> None:
        self.over.set()
        self.join()


def private_key(lab) -> str:
    container = stacks.inside(lab, 0, "docker ps --quiet --filter label=trtspark.rank=0").strip()
    return stacks.inside(lab, 0, f"docker exec {container} cat /run/secrets/trtspark-mpi-key")


def test_the_token_is_nowhere_in_clear(stack, lab):
    canary = stack.token.encode()
    held = [text for text in stack.seen.texts if canary in text]
    # Pulumi itself hands a program its configuration so, on the operator's machine alone.
    assert not [text for text in held if b"PULUMI_CONFIG=" not in text], "argv or environment of a process"
    assert stack.token not in stack.printed
    for path in (stack.folder / "state").rglob("*"):
        assert not path.is_file() or canary not in path.read_bytes(), path
    assert canary not in (stack.folder / "Pulumi.lab.yaml").read_bytes()
    export = stack.pulumi("stack", "export").text
    assert stack.token not in export
    for node in range(len(lab["nodes"])):
        everything = "docker ps -aq | xargs docker inspect; docker ps -aq | xargs -n1 docker logs 2>&1"
        assert stack.token not in stacks.inside(lab, node, everything)
        swarm = "docker service ls -q | xargs --no-run-if-empty docker service inspect 2>/dev/null || true"
        assert stack.token not in stacks.inside(lab, node, swarm)


def test_neither_secret_is_on_a_disk(stack, lab):
    """The nodes' disks as this machine sees them: everything written since they were booted first."""
    key = private_key(lab).splitlines()[2]
    disks = Lab(lab["name"]).store / "nodes"
    assert len(list(disks.iterdir())) == len(lab["nodes"])
    for secret in (stack.token, key):
        done = subprocess.run(
            ["grep", "-rlaF", "--devices=skip", "-f", "-", str(disks)],
            input=secret,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "", done.stdout[:2000]


def test_the_private_key_is_in_no_state_and_no_output(stack, lab):
    line = private_key(lab).splitlines()[2]
    assert line not in stack.pulumi("stack", "export").text
    assert line not in stack.printed
    assert not [text for text in stack.seen.texts if line.encode() in text]


def by_key(lab, script: str, to: int = 1) -> subprocess.CompletedProcess[str]:
    """A script in rank 0's container, as somebody would write it who got hold of MPI's key there.

    SSH and HOST in it stand for ssh with that key, and for the login on node `to`.
    """
    node = lab["nodes"][to]
    ssh = (
        "ssh -i /run/secrets/trtspark-mpi-key -o BatchMode=yes -o StrictHostKeyChecking=no "
        "-o UserKnownHostsFile=/dev/null -o ConnectTimeout=5"
    )
    script = script.replace("SSH ", f"{ssh} ").replace("HOST", f"{node['user']}@{node['fabric'][0]}")
    container = stacks.inside(lab, 0, "docker ps --quiet --filter label=trtspark.rank=0").strip()
    words = ["exec", "--name", lab["name"], lab["nodes"][0]["name"], "--", "docker", "exec", "-i", container]
    return subprocess.run(
        [sys.executable, "-m", "lab", *words, "bash", "-c", script],
        cwd=stacks.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_the_key_reaches_the_rank_container_and_nothing_of_the_host(stack, lab):
    stacks.inside(lab, 1, "echo host-only >/home/nvidia/of-the-host; chown nvidia /home/nvidia/of-the-host")
    done = by_key(lab, "SSH HOST 'cat /proc/1/cmdline; ls /home/nvidia /var/run/docker.sock; docker ps'")
    assert "sleep" in done.stdout
    assert "of-the-host" not in done.stdout
    assert "docker.sock" not in done.stdout
    stacks.inside(lab, 1, "rm /home/nvidia/of-the-host")


def test_the_key_gives_no_terminal_and_no_shell(stack, lab):
    done = by_key(lab, "SSH -tt HOST")
    assert "PTY allocation request failed" in done.stderr
    assert "nvidia@" not in done.stdout


@pytest.mark.parametrize("forward", ["-L 127.0.0.1:9999:127.0.0.1:22", "-W 127.0.0.1:22"])
def test_the_key_forwards_nothing(stack, lab, forward):
    """The far sshd would greet with SSH-2.0 if it did."""
    through = "exec 3<>/dev/tcp/127.0.0.1/9999 && timeout 3 head -c 7 <&3"
    script = f"timeout 8 SSH {forward} -N HOST & sleep 3; {through}; wait"
    done = by_key(lab, script if forward.startswith("-L") else f"timeout 8 SSH {forward} HOST | head -c 7")
    assert "SSH-2.0" not in done.stdout
    assert "administratively prohibited" in done.stderr, done.stderr


def test_the_key_is_of_no_use_elsewhere(stack, lab):
    """On a worker itself, whose addresses are not the head's: in memory, so that no disk has it."""
    worker = lab["nodes"][1]
    place = "/dev/shm/mpi-key"
    ssh = (
        f"ssh -v -i {place} -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no "
        f"-o UserKnownHostsFile=/dev/null {worker['user']}@{worker['fabric'][0]} true"
    )
    script = (
        f"umask 077; cat > {place} <<'END'\n{private_key(lab)}\nEND\n{ssh} 2>&1; echo code $?; rm {place}"
    )
    said = stacks.inside(lab, 1, script)
    assert "Offering public key" in said
    assert "Permission denied" in said
    assert "code 255" in said


def test_the_heads_own_sshd_does_not_accept_the_key(stack, lab):
    done = by_key(lab, "SSH HOST true", to=0)
    assert done.returncode == 255
    assert "Permission denied" in done.stderr


def in_rank(lab, rank: int, script: str) -> str:
    """A script in a rank's container, as root there; its output."""
    container = stacks.inside(lab, rank, f"docker ps --quiet --filter label=trtspark.rank={rank}").strip()
    return stacks.inside(lab, rank, f"docker exec -i {container} bash <<'END'\n{script}\nEND")


#: Of linux/capability.h.
BITS = {
    "CAP_DAC_OVERRIDE": 1, "CAP_KILL": 5, "CAP_NET_BIND_SERVICE": 10, "CAP_NET_RAW": 13, "CAP_IPC_LOCK": 14,
    "CAP_SYS_CHROOT": 18, "CAP_MKNOD": 27, "CAP_AUDIT_WRITE": 29, "CAP_SETFCAP": 31,
}  # fmt: skip
RAW = "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"


def completes(stack) -> bool:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
    answer = requests.post(stack.output("endpoint") + "/v1/chat/completions", json=body, timeout=60)
    return answer.ok and bool(answer.json()["choices"][0]["message"]["content"])


@pytest.mark.parametrize("rank", [0, 1])
def test_no_process_of_a_rank_may_do_more_than_it_needs(stack, lab, rank):
    told = in_rank(lab, rank, "grep -h '^Cap[BE]\\|^NoNew\\|^Name' /proc/[0-9]*/status")
    assert "python3" in told, "the rank itself, and not only the container's first process"
    sets = [int(value, 16) for value in re.findall(r"^CapBnd:\s*(\w+)", told, re.M)]
    for name in least_privilege.DROPPED:
        assert not any(one >> BITS[name] & 1 for one in sets), name
    effective = [int(value, 16) for value in re.findall(r"^CapEff:\s*(\w+)", told, re.M)]
    for name in ("CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_IPC_LOCK"):
        assert all(one >> BITS[name] & 1 for one in effective), name
    engine = stacks.inside(lab, rank, "docker version --format '{{.Server.APIVersion}}'").strip()
    wanted = "1" if tuple(map(int, engine.split("."))) >= least_privilege.NO_NEW_PRIVILEGES_API else "0"
    assert set(re.findall(r"^NoNewPrivs:\s*(\d)", told, re.M)) == {wanted}
    found = "docker inspect --format {{.HostConfig.PidsLimit}} $(docker ps -q --filter label=trtspark.rank)"
    assert stacks.inside(lab, rank, found).strip() == str(least_privilege.PIDS)
    refused = in_rank(lab, rank, f"python3 -c '{RAW}' 2>&1; mknod /tmp/disk b 8 0 2>&1; true")
    assert refused.count("not permitted") == 2, refused


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_sees_the_models_and_no_login_of_the_owner(stack, lab, rank):
    assert in_rank(lab, rank, "ls -A /root/.cache/huggingface").split() == ["hub"]
    there = in_rank(lab, rank, "ls /root/.cache/huggingface/hub").split()
    assert "models--lab--gated" in there
    assert all(name.startswith("models--") for name in there), there
    assert OWNERS in stacks.inside(lab, rank, f"cat {LOGIN[0]}")
    assert OWNERS not in in_rank(lab, rank, "mount; cat /root/.cache/huggingface/*token* 2>&1 || true")


def test_two_ranks_with_these_rights_complete(stack):
    assert completes(stack)


def listeners(lab, node: int) -> set[tuple[str, str, int, str]]:
    """(protocol, address, port, process) of everything that listens in the node's network."""
    found = set()
    for line in stacks.inside(lab, node, "ss -lntupH").splitlines():
        fields = line.split()
        address, _, port = fields[4].rpartition(":")
        process = re.search(r'\(\("([^"]+)"', line)
        name = process.group(1) if process else ""
        found.add((fields[0], address.strip("[]").partition("%")[0], int(port), name))
    return found


def documented() -> dict[str, list[str]]:
    """Port -> the row's cells, of the page's table."""
    part = PAGE.partition("<!-- ports")[2].partition("\n\n")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if "|" in line
    ]
    return {row[0]: row for row in rows[2:]}


#: The processes of an MPI job: OpenMPI's own, and the engine's, which is Python.
JOB = {"mpirun", "orted", "python3"}


@pytest.mark.parametrize("node", [0, 1])
def test_nothing_listens_that_the_page_does_not_list(stack, lab, node):
    rows = documented()
    one = lab["nodes"][node]
    inside = {"127.0.0.1", "::1", *one["fabric"]}
    for protocol, address, port, process in listeners(lab, node):
        known = next((row for name, row in rows.items() if re.match(rf"{port}\b", name)), None)
        if known is None:
            what = f"{one['name']}: {protocol} {address}:{port} ({process}) is not in docs/security.md"
            assert address in inside or (protocol == "tcp" and port >= 1024 and process in JOB), what
            continue
        assert protocol in known[0], known
        if known[1] == "head":
            assert node == 0, known
        if known[2] == "address":
            assert address == one["host"], (address, known)
    if node == 0:
        assert ("tcp", one["host"], 8355) in {listed[:3] for listed in listeners(lab, 0)}


def test_a_changed_host_key_stops_with_both_fingerprints(stack, lab):
    before = stack.pulumi("stack", "export").text
    other = lab["nodes"][0]["host_key"]
    nodes = [{"host": n["host"], "user": n["user"]} for n in lab["nodes"]]
    nodes[1]["hostKey"] = other
    stack.set("nodes", nodes)
    run = stack.pulumi("preview", ok=False)
    assert run.code != 0
    for key in (other, lab["nodes"][1]["host_key"]):
        done = subprocess.run(
            ["ssh-keygen", "-lf", "-"], input=key, capture_output=True, text=True, check=True
        )
        assert done.stdout.split()[1] in run.text, run.text
    assert json.loads(stack.pulumi("stack", "export").text)["deployment"] == json.loads(before)["deployment"]
    stack.set("nodes", [{"host": n["host"], "user": n["user"]} for n in lab["nodes"]])


def test_one_key_gives_the_containers_their_rights_back(stack, lab):
    """The last test here: the server starts anew."""
    stack.set("restrictContainers", False)
    assert stack.up().counts["updated"] >= 2
    for rank in (0, 1):
        assert in_rank(lab, rank, f"python3 -c '{RAW}' && echo may").strip() == "may"
    assert completes(stack)
