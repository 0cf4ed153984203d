"""The Swarm's plan, made of what the probe found: what `up` would refuse is refused at preview."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.checks import CHECKS, Context
from cluster.facts import Facts, SwarmState
from tests import samples

HEAD, WORKER = "10.24.11.11", "10.24.11.12"


def with_swarm(facts: Facts, nodes: dict[str, dict[str, str]] | None = None, **swarm: object) -> Facts:
    state = replace(SwarmState(), **swarm)
    return replace(facts, docker=replace(facts.docker, swarm=state), swarm_nodes=nodes or {})


def context(*nodes: Facts) -> Context:
    look = samples.look(2)
    return Context("dgx", samples.settings(2), nodes, look.caches)


def pair() -> tuple[Facts, ...]:
    return samples.look(2).facts


def labels(rank: int, stack: str = "dgx") -> dict[str, str]:
    return {"trtspark.stack": stack, "trtspark.rank": str(rank)}


def manager(facts: Facts, nodes: dict[str, dict[str, str]]) -> Facts:
    address = str(facts.address)
    return with_swarm(facts, nodes, state="active", node_id="h", manager=True, managers=(address,))


def worker(facts: Facts, node_id: str = "w", managers: tuple[str, ...] = (HEAD,), state="active") -> Facts:
    return with_swarm(facts, state=state, node_id=node_id, managers=managers)


def found(*nodes: Facts, check: str = "swarm.membership", **settings: object) -> list[tuple[str, str]]:
    asked = replace(context(*nodes), settings=samples.settings(2, **settings))
    return [(one.node, one.found) for one in CHECKS[check](asked)]


def test_fresh_machines_and_our_own_swarm_are_right():
    head, other = pair()
    assert found(head, other) == []
    assert found(manager(head, {"h": labels(0), "w": labels(1)}), worker(other)) == []


def test_a_manager_that_lost_its_address_is_told_once_with_both_addresses():
    head, other = pair()
    swarm = with_swarm(head, {}, state="active", node_id="h", manager=True, address="10.24.11.99")
    [(node, what)] = found(swarm, worker(other, managers=("10.24.11.99",)), check="swarm.address")
    assert node == HEAD
    assert "10.24.11.99" in what
    assert HEAD in what
    assert found(swarm, worker(other, managers=("10.24.11.99",))) == []


def test_a_worker_that_lost_its_address_goes_on():
    head, other = pair()
    swarm = with_swarm(other, state="active", node_id="w", managers=(HEAD,), address="10.24.11.98")
    ours = manager(head, {"h": labels(0), "w": labels(1)})
    asked = context(ours, swarm)
    assert [(one.level, one.node) for one in CHECKS["swarm.address"](asked)] == [("WARN", WORKER)]
    assert found(ours, swarm) == []


def test_an_address_on_another_interface_of_the_machine_is_no_loss():
    head, other = pair()
    swarm = with_swarm(head, {}, state="active", node_id="h", manager=True, address="192.168.100.11")
    assert found(swarm, other, check="swarm.address") == []


def test_a_swarm_at_an_ipv6_address_has_not_lost_it():
    """Of IPv6 addresses the probe's facts have no list to compare with."""
    head, other = pair()
    swarm = with_swarm(head, {}, state="active", node_id="h", manager=True, address="fd00::11")
    assert found(swarm, other, check="swarm.address") == []


def test_a_worker_of_somebody_elses_swarm():
    head, other = pair()
    [(node, what)] = found(head, worker(other, managers=("10.9.9.9",)))
    assert node == WORKER
    assert "another Swarm" in what


def test_a_head_that_is_a_worker_elsewhere():
    head, other = pair()
    [(node, what)] = found(worker(head, managers=("10.9.9.9",)), other)
    assert node == HEAD
    assert "worker of another Swarm" in what


def test_the_order_of_the_nodes_swapped():
    head, other = pair()
    [(node, what)] = found(worker(head, managers=(WORKER,)), manager(other, {"h": labels(0), "w": labels(1)}))
    assert node == HEAD
    assert WORKER in what


@pytest.mark.parametrize("rank", [0, 1])
def test_a_machine_of_another_stack(rank):
    head, other = pair()
    nodes = {"h": labels(0), "w": labels(1)}
    nodes["hw"[rank]] = labels(rank, "two")
    [(_, what)] = found(manager(head, nodes), worker(other))
    assert "stack two" in what


@pytest.mark.parametrize(
    ("state", "error"),
    [("pending", ""), ("error", "x509: certificate has expired or is not yet valid"), ("active", "")],
)
def test_what_up_mends_is_no_obstacle(state, error):
    """A worker that its Swarm forgot, that still looks for its manager, or whose certificate expired."""
    head, other = pair()
    away = with_swarm(other, state=state, node_id="gone", managers=(HEAD,), error=error)
    assert found(manager(head, {"h": labels(0)}), away) == []


@pytest.mark.parametrize("state", ["locked", "error"])
def test_a_membership_that_cannot_heal(state):
    head, other = pair()
    [(node, _)] = found(with_swarm(head, state=state), other)
    assert node == HEAD


def test_a_stack_that_is_taken_over_is_no_obstacle():
    head, other = pair()
    theirs = (manager(head, {"h": labels(0, "two"), "w": labels(1, "two")}), worker(other))
    assert found(*theirs)
    assert found(*theirs, takeOver="two") == []
    assert found(*theirs, takeOver="three")


def test_a_machine_that_another_stack_prepared():
    head, other = pair()
    prepared = replace(other, owner="two")
    assert found(head, prepared, check="machine.owner") == [(WORKER, "it belongs to stack two.")]
    assert found(head, prepared, check="machine.owner", takeOver="two") == []
    assert found(head, replace(other, owner="dgx"), check="machine.owner") == []


def test_a_machine_where_another_stacks_rank_runs():
    head, other = pair()
    serving = replace(head, ranks=(("two", "0", "8355"),))
    assert found(serving, other, check="machine.owner") == [(HEAD, "it belongs to stack two.")]


FOREIGN = ("10.9.9.9",)


@pytest.mark.parametrize("state", ["active", "pending", "error", "locked"])
@pytest.mark.parametrize("managing", [False, True])
@pytest.mark.parametrize("head_in_swarm", [False, True])
def test_a_worker_in_somebody_elses_swarm_in_every_state(state, managing, head_in_swarm):
    """Its manager may be itself, silent, or locked; its certificate may have expired."""
    head, other = pair()
    known = (WORKER,) if managing else FOREIGN
    error = "x509: certificate has expired" if state == "error" else ""
    away = with_swarm(other, state=state, node_id="w", manager=managing, managers=known, error=error)
    [(node, what)] = found(manager(head, {"h": labels(0)}) if head_in_swarm else head, away)
    assert node == WORKER
    assert ("manages" if managing else "belongs to") in what
    assert "another Swarm" in what


@pytest.mark.parametrize("state", ["active", "pending", "error"])
def test_a_head_that_is_a_worker_of_a_silent_swarm(state):
    head, other = pair()
    [(node, what)] = found(worker(head, managers=FOREIGN, state=state), other)
    assert node == HEAD
    assert "another Swarm" in what


def test_every_machine_in_another_swarm_is_named_at_once():
    nodes = [worker(facts, f"w{i}", FOREIGN) for i, facts in enumerate(samples.look(3).facts)]
    others = nodes[1:]
    asked = Context("dgx", samples.settings(3), [samples.look(3).facts[0], *others], samples.look(3).caches)
    assert [one.node for one in CHECKS["swarm.membership"](asked)] == [one.node for one in others]


def test_a_head_and_a_worker_in_two_other_swarms():
    """The worker manages a Swarm, but not the one that the head is in."""
    head, other = pair()
    elsewhere = with_swarm(other, state="active", node_id="w", manager=True, managers=(WORKER,))
    nodes = dict(found(worker(head, managers=FOREIGN), elsewhere))
    assert set(nodes) == {HEAD, WORKER}
    assert "another Swarm" in nodes[HEAD]
