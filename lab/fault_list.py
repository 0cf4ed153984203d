"""The faults that a deployed pair has to survive: what is done, and how it comes back.

Each function does its fault to a serving pair and returns how the pair came, or shall come, back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster.service_spec import MAX_RESTARTS
from lab import fault_operator as operator
from lab.engine.tensorrt_llm.serve.faults import SWITCH
from lab.fault_operator import POWER_OFF_S, expect
from lab.fault_pair import HEAD, MODELS, WORKER, Pair
from remote.rank0.codes import FAILING, HUNG
from remote.rank0.kernels import COMPILES
from remote.rank0.server import FAILING_S
from tests.lab import stack as stacks

#: How long a cable is out.
CUT_S = 20
#: No node has it: 32 MiB in four files.
ON_HUB_ONLY = "lab/bulk-4x8M"
FABRIC = ("half0", "half1")
RAILS = ("enp1s0f0np0", "enP2p1s0f0np0")
RAIL = RAILS[0]
#: docs/serving.md promises 100 s, and the machine is loaded.
HIDDEN_HANG_S = 180
ITSELF, ONE_UP = "by itself", "by one up"


@dataclass(frozen=True)
class Fault:
    """`how` it comes back; `outage`: whether clients must notice; `again_s`: a generous bound on the way
    back, in seconds; `late`: Swarm may repair something after it serves again.
    """

    name: str
    done: str
    act: Callable[[Pair], None]
    how: str = ITSELF
    outage: bool = True
    again_s: float = 120.0
    late: bool = False


def _power(*nodes: int) -> Callable[[Pair], None]:
    def act(pair: Pair) -> None:
        pair.power("off", *nodes)
        time.sleep(POWER_OFF_S)
        pair.power("on", *nodes)

    return act


def _cut(node: int, *links: str) -> Callable[[Pair], None]:
    def act(pair: Pair) -> None:
        pair.link("down", node, *links)
        time.sleep(CUT_S)
        pair.link("up", node, *links)

    return act


#: Deletes and sets again the addresses of the fabric, as systemd-networkd does when a carrier goes and comes.
READDRESS = r"""
ip -o -4 addr show | awk '$2 ~ /^en(P2)?p1s0f/ { print $2, $4 }' | while read -r dev address; do
  ip addr del "$address" dev "$dev"; sleep 0.3; ip addr add "$address" dev "$dev"
done"""


def _gids_move(node: int, act: Callable[[Pair], None]) -> Callable[[Pair], None]:
    """What `act` does, while place 3 of every GID table is held: the RoCE v2 GID then stands at 4."""

    def moved(pair: Pair) -> bool:
        shown = pair.inside(node, "cat /sys/class/infiniband/*/ports/1/gid_attrs/types/4 2>/dev/null || true")
        return shown.split("\n").count("RoCE v2") == len(FABRIC)

    def all_of_it(pair: Pair) -> None:
        pair.inside(node, "echo 3 >/etc/lab/held-gids")
        act(pair)
        stacks.until(lambda: moved(pair), 60, "the GIDs at index 4")
        pair.inside(node, "rm /etc/lab/held-gids")

    return all_of_it


def _flap(node: int) -> Callable[[Pair], None]:
    def act(pair: Pair) -> None:
        pair.link("down", node, *FABRIC)
        pair.inside(node, READDRESS)
        time.sleep(CUT_S)
        pair.link("up", node, *FABRIC)

    return act


def _inside(node: int, script: str) -> Callable[[Pair], None]:
    return lambda pair: _ignored(pair.inside(node, script))


def _engine(node: int, number: str) -> Callable[[Pair], None]:
    return lambda pair: pair.engine(node, number)


def _container(node: int) -> Callable[[Pair], None]:
    return lambda pair: _ignored(pair.inside(node, f"docker kill {pair.container(node)}"))


def _ignored(_: object) -> None:
    return None


def _bad_model(model: str, *parts: str) -> Callable[[Pair], None]:
    """`up` fails with the cause, and has brought the old one back."""

    def act(pair: Pair) -> None:
        pair.stack.set("readyTimeout", 15)
        run = pair.switch(model, ok=False)
        pair.stack.set("readyTimeout", 120)
        pair.stack.set("model", pair.model)
        expect(run.code != 0, f"`up` with {model} succeeded")
        for part in (*parts, f"{pair.model} serves again as before"):
            expect(part in run.text, f"{part!r} is not in: {run.text[-1500:]}")
        pair.stack.up()  # with the old model in the configuration: forgets the failed one's weights

    return act


def _completions_fail(pair: Pair) -> None:
    """Every completion is answered with 400 from now on, and /health with 200, until the launch ends."""
    before = pair.container(HEAD)
    expect(before != "", "rank 0 does not run")
    inside = f"sh -c 'echo illegal_instruction >{SWITCH}'"
    pair.inside(HEAD, f"docker exec {before} {inside}")
    _ends_itself(pair, before, FAILING, FAILING_S + 60)


def _ends_itself(pair: Pair, container: str, code: int, seconds: float) -> None:
    """Rank 0's `container` is replaced in time, having ended with `code`."""
    stacks.until(lambda: pair.container(HEAD) not in ("", container), seconds, "the launch to end")
    ended = pair.inside(HEAD, f"docker inspect --format '{{{{.State.ExitCode}}}}' {container}").strip()
    expect(ended == str(code), f"rank 0 ended with {ended}")


def _mtu_lowered(pair: Pair) -> None:
    """Packets of the size agreed on are lost on one rail, and no rank gets on; clients give up and try again,
    and none waits. (The lab's watch is such a client.)
    """
    before = pair.container(HEAD)
    expect(before != "", "rank 0 does not run")
    mtu = pair.inside(WORKER, f"cat /sys/class/net/{RAIL}/mtu").strip()
    pair.inside(WORKER, f"ip link set {RAIL} mtu 1400")
    try:
        _ends_itself(pair, before, HUNG, HIDDEN_HANG_S)
    finally:
        pair.inside(WORKER, f"ip link set {RAIL} mtu {mtu}")


def _loss(pair: Pair) -> None:
    """Every twentieth packet is lost on both rails, for a while. (Is it named? tests/lab/test_doctor.py.)"""
    rules = [f"INPUT -i {rail} -m statistic --mode random --probability 0.05 -j DROP" for rail in RAILS]
    pair.inside(WORKER, " && ".join(f"iptables -I {rule}" for rule in rules))
    try:
        time.sleep(CUT_S)
    finally:
        pair.inside(WORKER, " ; ".join(f"iptables -D {rule}" for rule in rules))


def _paused(node: int) -> Callable[[Pair], None]:
    return lambda pair: _ignored(pair.inside(node, f"docker pause {pair.container(node)}"))


def _half_kernels(pair: Pair) -> None:
    """Rank 0 is killed when the worker's autotuner file is half written: no start can use that file."""
    sealed = "ls /var/lib/docker/volumes/trtspark-*-kernels/_data/*/sealed 2>/dev/null | wc -l"
    stacks.until(lambda: pair.inside(HEAD, sealed).strip() != "0", 60, "the kernels to be kept")
    half = "sh -c 'truncate -s 100 /opt/trtspark/kernels/autotuner.json'"
    pair.inside(WORKER, f"docker exec {pair.container(WORKER)} {half}")
    before = pair.container(HEAD)
    pair.inside(HEAD, f"docker kill {before}")
    stacks.until(lambda: pair.container(HEAD) not in ("", before), 60, "rank 0's new container")
    log = f"docker logs {pair.container(HEAD)} 2>&1"
    stacks.until(lambda: COMPILES in pair.inside(HEAD, log), 60, "a start that compiles")


def _slow_load(pair: Pair) -> None:
    pair.switch("lab/slow-load")
    pair.switch(MODELS[0])


def _port_taken(pair: Pair) -> None:
    """Another program has the port and answers with a model of its own."""
    program = (
        "import http.server, json\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        body = json.dumps({'data': [{'id': 'somebody/else'}]}).encode()\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(body)\n"
        "    log_message = lambda *_: None\n"
        "http.server.HTTPServer(('0.0.0.0', 8355), H).serve_forever()\n"
    )
    pair.stack.set("running", False)
    pair.stack.up()
    pair.inside(HEAD, f'(setsid python3 -c "{program}" >/dev/null 2>&1 & echo $! >/run/other.pid); sleep 1')
    pair.stack.set("running", None)
    run = pair.stack.up(ok=False)
    pair.inside(HEAD, "kill $(cat /run/other.pid); rm /run/other.pid")
    expect(run.code != 0 and "8355" in run.text, run.text[-1500:])


def _crash_loop(pair: Pair) -> None:
    """The server is killed until Swarm gives it up."""
    for _ in range(MAX_RESTARTS + 3):
        stacks.until(lambda: pair.container(HEAD) != "", 30, "rank 0's container")
        pair.inside(HEAD, f"docker kill {pair.container(HEAD)} >/dev/null || true")
        try:
            stacks.until(lambda: pair.container(HEAD) != "", 12, "its successor")
        except AssertionError:
            return
    raise AssertionError("Swarm starts it for ever")


def _disk_full(node: int) -> Callable[[Pair], None]:
    """No room for a model's files: `up` says so before it stops what serves."""

    def act(pair: Pair) -> None:
        folder = f"/home/nvidia/.cache/huggingface/hub/models--{ON_HUB_ONLY.replace('/', '--')}"
        offline = dict(pair.stack.env)
        del pair.stack.env["HF_HUB_OFFLINE"]
        pair.stack.env["HF_ENDPOINT"] = pair.lab["hub"]
        pair.inside(
            node,
            f"mkdir -p {folder} && mount -t tmpfs -o size=64k,uid=1000,gid=1000 full {folder} && "
            f"head -c 60k /dev/zero >{folder}/somebody-elses; chown -R nvidia: {folder}",
        )
        try:
            run = pair.switch(ON_HUB_ONLY, ok=False)
            served = pair.answers()
        finally:
            pair.inside(node, f"umount {folder}")
            for one in (HEAD, WORKER):
                pair.inside(one, f"rm -rf {folder}")
            pair.stack.set("model", pair.model)
            pair.stack.env.clear()
            pair.stack.env.update(offline)
        expect(run.code != 0, "it fitted")
        expect("no space is left on the disk" in run.text, run.text[-1500:])
        expect(served, "the old model does not serve any more")

    return act


FAULTS = (
    Fault("engine-rank-0", "SIGKILL trtllm-serve on rank 0", _engine(HEAD, "KILL")),
    Fault("engine-rank-1", "SIGKILL the engine on rank 1", _engine(WORKER, "KILL")),
    Fault("mpirun", "SIGKILL mpirun", _inside(HEAD, "pkill -KILL -x mpirun")),
    Fault("container-rank-0", "docker kill rank 0", _container(HEAD)),
    Fault("container-rank-1", "docker kill rank 1", _container(WORKER)),
    Fault("dockerd-head", "SIGKILL dockerd on the head", _inside(HEAD, "pkill -KILL -x dockerd")),
    Fault("dockerd-worker", "SIGKILL dockerd on the worker", _inside(WORKER, "pkill -KILL -x dockerd")),
    Fault("restart-head", "systemctl restart docker, head", _inside(HEAD, "systemctl restart docker")),
    Fault("restart-worker", "systemctl restart docker, worker", _inside(WORKER, "systemctl restart docker")),
    Fault("hang-rank-0", "SIGSTOP trtllm-serve on rank 0", _engine(HEAD, "STOP")),
    Fault("hang-rank-1", "SIGSTOP the engine on rank 1", _engine(WORKER, "STOP")),
    Fault("hang-hidden", "MTU lowered on one rail; clients try again", _mtu_lowered, again_s=240.0),
    Fault("paused-head", "docker pause rank 0", _paused(HEAD), ONE_UP),
    Fault("paused-worker", "docker pause rank 1", _paused(WORKER), ONE_UP),
    Fault("completions-fail", "every completion fails, /health is 200", _completions_fail, again_s=240.0),
    Fault("half-kernels", "the worker's compiled kernels are half written", _half_kernels),
    Fault("power-worker", "worker's power cut for 5 s", _power(WORKER)),
    Fault("power-head", "head's power cut for 5 s", _power(HEAD)),
    Fault("power-both", "both nodes' power cut for 5 s", _power(HEAD, WORKER)),
    Fault("half", "one half of the fabric out for 20 s", _cut(WORKER, "half0"), outage=False),
    Fault("halves", "both halves of the fabric out for 20 s", _cut(WORKER, "half0", "half1")),
    Fault("gid-flap", "GIDs move from 3 to 4 with both halves out", _gids_move(WORKER, _flap(WORKER))),
    Fault("gid-restart", "GIDs move from 3 to 4 at a power cut", _gids_move(WORKER, _power(WORKER))),
    Fault("loss", "5 % of packets lost on both rails for 20 s", _loss, outage=False),
    Fault(
        "management-worker",
        "worker's management link out, 20 s",
        _cut(WORKER, "mgmt"),
        outage=False,
        late=True,
    ),
    Fault("management-head", "head's management link out for 20 s", _cut(HEAD, "mgmt"), late=True),
    Fault("crash-loop", "server killed until Swarm gives it up", _crash_loop, ONE_UP),
    Fault("lost-state", "Pulumi's state is lost", operator.lost_state, ONE_UP, outage=False),
    Fault(
        "crash-at-load",
        "switch to a model that crashes at load",
        _bad_model("lab/crash-at-load", "no kernels for"),
    ),
    Fault(
        "out-of-memory",
        "switch to a model that is out of memory",
        _bad_model("lab/out-of-memory", "out of memory"),
    ),
    Fault(
        "never-ready", "switch to a model that never is ready", _bad_model("lab/never-ready", "waited 15 s")
    ),
    Fault("slow-load", "switch to a model that loads for 30 s", _slow_load),
    Fault("wrong-model", "another program's model on the port", _port_taken, ONE_UP),
    Fault("lock", "two operators, one backend", operator.two_operators, ONE_UP),
    Fault("two-backends", "two operators, two backends", operator.two_backends, ONE_UP, outage=False),
    Fault("killed-switch", "SIGKILL of `up` in each phase of a switch", operator.killed_switch, ONE_UP),
    Fault("killed-deploy", "SIGKILL of `up` in each phase of a deploy", operator.killed_deploy, ONE_UP),
    Fault("first-fails", "first deployment crashes, then destroy", operator.first_fails, ONE_UP),
    Fault(
        "swarm-left", "docker swarm leave --force, head", _inside(HEAD, "docker swarm leave --force"), ONE_UP
    ),
    Fault("nodes-swapped", "head and worker swapped in nodes", operator.swapped, ONE_UP, outage=False),
    Fault("second-stack", "a second stack on the same machines", operator.second_stack, ONE_UP, outage=False),
    Fault("power-during-up", "worker's power cut during a switch", operator.power_during_up, ONE_UP),
    Fault(
        "destroy-dead-worker",
        "destroy while the worker has no power",
        operator.destroy_with_dead_worker,
        ONE_UP,
    ),
    Fault("head-alone", "worker dead, headOnly: true, and back", operator.head_alone, ONE_UP),
    Fault("worker-gone", "worker replaced by a third node, and back", operator.worker_gone, ONE_UP),
    Fault("disk-full-head", "no room for weights on the head", _disk_full(HEAD), outage=False),
    Fault("disk-full-worker", "no room for weights on the worker", _disk_full(WORKER), outage=False),
)
#: Rows of the specification that the lab cannot do; they are named in the table and not counted.
NOT_SIMULATED = {
    "clock off by an hour": "all nodes share this machine's clock",
    "disk full below Docker": "a node's Docker lies on this machine's own disk",
}
