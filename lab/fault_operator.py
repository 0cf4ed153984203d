"""Faults of lab/fault_list.py that are what operators do, or meet while they do it."""

from __future__ import annotations

import json
import shutil
import time

from lab.fault_pair import HEAD, MODELS, WORKER, Pair
from tests.lab import stack as stacks

#: How long the power is off.
POWER_OFF_S = 5


def expect(condition: bool, what: str) -> None:
    """Raise AssertionError where it is not so."""
    if not condition:
        raise AssertionError(what)


def first_fails(pair: Pair) -> None:
    """A first deployment that crashes is destroyed to the end."""
    pair.stack.destroy()
    pair.stack.set("model", "lab/crash-at-load")
    run = pair.stack.up(ok=False)
    expect(run.code != 0, "a model that crashes was deployed")
    pair.stack.destroy()
    swarm = pair.inside(HEAD, "docker info --format '{{.Swarm.LocalNodeState}}'").strip()
    expect(swarm == "inactive", f"the Swarm is {swarm}")
    pair.stack.set("model", pair.model)


def swapped(pair: Pair) -> None:
    """Refused before anything stops."""
    pair.stack.set("nodes", pair.hosts(WORKER, HEAD))
    run = pair.stack.up(ok=False)
    pair.stack.set("nodes", pair.hosts(HEAD, WORKER))
    expect(run.code != 0 and "manages the Swarm" in run.text, run.text[-1500:])


def second_stack(pair: Pair) -> None:
    """Refused at preview; its `destroy` touches nothing."""
    folder = pair.stack.folder.with_name("second")
    shutil.rmtree(folder, ignore_errors=True)
    second = stacks.create(folder, pair.lab, name="two")
    second.set("nodes", pair.hosts(HEAD, WORKER))
    second.set("port", 8400)
    run = second.up(ok=False)
    expect(run.code != 0 and "it belongs to stack lab" in run.text, run.text[-1500:])
    second.destroy()


def power_during_up(pair: Pair) -> None:
    """A worker's power is cut while `up` switches the model: the error names it."""
    pair.stack.set("model", MODELS[1])
    child = pair.stack.start_shown("up", "--yes", "--skip-preview")
    before = pair.container(HEAD)
    stacks.until(lambda: pair.container(HEAD) != before, stacks.DEADLINE_S, "the switch to begin")
    pair.power("off", WORKER)
    time.sleep(POWER_OFF_S)
    pair.power("on", WORKER)
    text, _ = child.communicate(timeout=stacks.DEADLINE_S)
    pair.stack.set("model", pair.model)
    expect("urllib3" not in text and "Traceback" not in text, text[-2500:])


def lost_state(pair: Pair) -> None:
    """The state is gone; the operator makes the stack anew and says `up`."""
    shutil.rmtree(pair.stack.folder / "state")
    (pair.stack.folder / "state").mkdir()
    saved = (pair.stack.folder / "Pulumi.lab.yaml").read_text()
    pair.stack.pulumi("stack", "init", "lab")
    (pair.stack.folder / "Pulumi.lab.yaml").write_text(saved)


def two_operators(pair: Pair) -> None:
    """The second one with the same backend is told of the lock; the first one's work is done."""
    other = MODELS[1]
    pair.stack.set("model", other)
    first = pair.stack.start("up", "--yes", "--skip-preview")
    stacks.until(
        lambda: any(pair.stack.folder.glob("state/.pulumi/locks/**/*.json")), 30, "the first one's lock"
    )
    second = pair.stack.up(ok=False)
    code = first.wait(stacks.DEADLINE_S)
    pair.stack.set("model", pair.model)
    expect(second.code != 0 and "locked" in second.text, second.text[-1000:])
    expect(code == 0, f"the first `up` ended with {code}")
    expect(pair.answers(other), f"{other} does not serve")


def two_backends(pair: Pair) -> None:
    """Two who know nothing of each other, at the same time: neither harms the nodes."""
    folder = pair.stack.folder.with_name("other")
    shutil.rmtree(folder, ignore_errors=True)
    other = stacks.create(folder, pair.lab)
    shutil.copy(pair.stack.folder / "Pulumi.lab.yaml", folder)
    children = [one.start("up", "--yes", "--skip-preview") for one in (other, pair.stack)]
    for child in children:
        child.wait(stacks.DEADLINE_S)
    other.up()


def killed_deploy(pair: Pair) -> None:
    """Every resource's creation is the last thing that one run sees."""
    pair.stack.destroy()
    _kill_at_every_phase(pair)


def killed_switch(pair: Pair) -> None:
    pair.stack.set("model", MODELS[1])
    _kill_at_every_phase(pair)
    pair.stack.set("model", pair.model)


def _kill_at_every_phase(pair: Pair) -> None:
    """Kill `up` when a resource's operation begins, then the next run at the next one, until one ends."""
    done: set[str] = set()
    while True:
        seen: list[str] = []

        def begins(lines: list[str], seen: list[str] = seen) -> bool:
            found = [urn for urn in begun(lines) if urn not in done]
            seen[:] = found[:1]
            return bool(found)

        if not pair.killed("up", "--yes", "--skip-preview", when=begins):
            break
        done.update(seen)
        pair.stack.pulumi("cancel", "--yes", ok=False)
    print(f"  killed at {len(done)} resources", flush=True)
    expect(bool(done), "no run was killed")


def begun(lines: list[str]) -> list[str]:
    """The URNs of the resources that something is done to, in the order of an event log's lines."""
    found = []
    for line in lines:
        try:
            event = json.loads(line).get("resourcePreEvent")
        except ValueError:
            continue  # half written
        if event and event["metadata"]["op"] not in ("same", "read"):
            found.append(event["metadata"]["urn"])
    return found


def destroy_with_dead_worker(pair: Pair) -> None:
    """`destroy` takes away what it can reach, and says what it cannot; `up` takes it from there."""
    pair.power("off", WORKER)
    run = pair.stack.pulumi("destroy", "--yes", "--skip-preview", ok=False)
    host = pair.lab["nodes"][WORKER]["host"]
    expect(run.code == 0 or host in run.text, run.text[-1500:])
    services = pair.inside(HEAD, "docker service ls --quiet 2>/dev/null || true").strip()
    pair.power("on", WORKER)
    expect(services == "", f"services are left on the head: {services} {run.text[-2500:]}")


def worker_gone(pair: Pair) -> None:
    """The third node takes the place of the worker, whose power never comes back (until the test's end)."""
    pair.power("off", WORKER)
    pair.stack.set("nodes", pair.hosts(HEAD, 2))
    pair.stack.up()
    expect(pair.answers(), "it does not serve with the new worker")
    nodes = pair.inside(HEAD, "docker node ls --format '{{.Hostname}}'").split()
    expect(sorted(nodes) == ["spark-1", "spark-3"], f"the Swarm lists {nodes}")
    pair.power("on", WORKER)
    pair.stack.set("nodes", pair.hosts(HEAD, WORKER))


def head_alone(pair: Pair) -> None:
    """The worker is dead: the head serves alone, without an error; the worker comes back after all."""
    pair.power("off", WORKER)
    pair.stack.set("headOnly", True)
    run = pair.stack.up()
    expect("no longer listed" in run.text, run.text[-1500:])
    expect(pair.answers(), "the head does not serve alone")
    pair.power("on", WORKER)
    pair.stack.set("headOnly", None)
