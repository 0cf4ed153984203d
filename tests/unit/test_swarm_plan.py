"""The Swarm's plan, by examples and against a small model of a Swarm to which its steps are applied."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import NodeError
from cluster.swarm_plan import (
    Init,
    Join,
    Label,
    Ledger,
    Listed,
    Member,
    Rejoin,
    Unlabel,
    astray,
    plan,
    renewals,
)

NAMES = ["spark-1", "spark-2", "spark-3", "spark-4"]
OURS = {"trtspark.stack": "dgx"}


def labels(rank: int, stack: str = "dgx") -> dict[str, str]:
    return {"trtspark.stack": stack, "trtspark.rank": str(rank)}


@dataclass
class Model:
    """A Swarm whose manager is the first machine; `inside` maps its machines to their labels."""

    machines: list[str]
    inside: dict[str, dict[str, str]] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)

    def members(self) -> dict[str, Member]:
        found = {}
        for name in self.machines:
            if name in self.foreign:
                found[name] = Member("active", f"other-{name}", self.foreign[name] == "manager")
            elif name in self.inside:
                found[name] = Member("active", f"id-{name}", name == self.machines[0])
            else:
                found[name] = Member("inactive")
        return found

    def listed(self) -> dict[str, Listed]:
        return {f"id-{name}": Listed(dict(found)) for name, found in self.inside.items()}

    def plan(self, nodes: list[str], stack: str = "dgx"):
        return plan(stack, nodes, self.members(), self.listed())

    def apply(self, steps, stack: str = "dgx") -> None:
        for step in steps:
            if isinstance(step, Init):
                assert not self.inside, "a Swarm is there already"
                self.inside[step.node] = {}
            elif isinstance(step, Join):
                assert self.inside, "there is no Swarm to join"
                assert step.node not in self.inside
                self.inside[step.node] = {}
            elif isinstance(step, Label):
                self.inside[step.node] |= labels(step.rank, stack)
            elif isinstance(step, Unlabel):
                found = self.inside[step.node_id.removeprefix("id-")]
                del found["trtspark.stack"], found["trtspark.rank"]


def test_two_fresh_machines():
    assert Model(NAMES[:2]).plan(NAMES[:2]) == [
        Init("spark-1"),
        Join("spark-2"),
        Label("spark-1", 0),
        Label("spark-2", 1),
    ]


def test_a_swarm_that_is_there_is_adopted_with_labels_only():
    swarm = Model(NAMES[:2], {"spark-1": {"zone": "a"}, "spark-2": {}})
    assert swarm.plan(NAMES[:2]) == [Label("spark-1", 0), Label("spark-2", 1)]


def test_nothing_to_do():
    assert Model(NAMES[:2], {"spark-1": labels(0), "spark-2": labels(1)}).plan(NAMES[:2]) == []


def test_a_lost_label_is_the_only_step():
    swarm = Model(NAMES[:2], {"spark-1": labels(0), "spark-2": OURS})
    assert swarm.plan(NAMES[:2]) == [Label("spark-2", 1)]


def test_a_node_no_longer_listed_loses_our_labels_but_not_its_place():
    swarm = Model(NAMES[:2], {"spark-1": labels(0), "spark-2": labels(1)})
    assert swarm.plan(NAMES[:1]) == [Unlabel("id-spark-2")]


def test_another_stacks_nodes_are_left_alone():
    swarm = Model(NAMES[:2], {"spark-1": labels(0), "spark-2": labels(0, "other")})
    assert swarm.plan(NAMES[:1]) == []


def test_a_node_that_serves_another_stack_is_refused():
    swarm = Model(NAMES[:2], {"spark-1": labels(0), "spark-2": labels(0, "other")})
    with pytest.raises(NodeError, match="spark-2: it belongs to stack other") as caught:
        swarm.plan(NAMES[:2])
    assert "pulumi destroy --stack other" in str(caught.value)


def test_a_worker_of_another_swarm_is_refused_with_its_name():
    swarm = Model(NAMES[:2], {"spark-1": {}}, {"spark-2": "worker"})
    with pytest.raises(NodeError, match="spark-2: it belongs to another Swarm") as caught:
        swarm.plan(NAMES[:2])
    assert "docker swarm leave" in str(caught.value)


def test_a_head_that_is_a_worker_elsewhere_is_refused():
    swarm = Model(NAMES[:2], {}, {"spark-1": "worker"})
    with pytest.raises(NodeError, match="spark-1: it is a worker of another Swarm"):
        swarm.plan(NAMES[:2])


def test_a_worker_that_is_in_a_swarm_while_the_head_is_in_none():
    with pytest.raises(NodeError, match="spark-2: it manages another Swarm"):
        Model(NAMES[:2], {}, {"spark-2": "manager"}).plan(NAMES[:2])


@pytest.mark.parametrize(
    ("state", "todo"),
    [("locked", "docker swarm unlock"), ("error", "leave --force"), ("pending", "leave --force")],
)
def test_a_broken_membership_is_refused(state, todo):
    members = {"spark-1": Member("active", "id-1", True), "spark-2": Member(state)}
    with pytest.raises(NodeError, match="spark-2: ") as caught:
        plan("dgx", NAMES[:2], members, {"id-1": Listed({})})
    assert todo in str(caught.value)


@st.composite
def swarms(draw):
    """Any Swarm whose manager is spark-1, or none, with labels of ours, of others, or wrong ranks."""
    inside = {}
    nodes = ["spark-1", *draw(st.permutations(NAMES[1:]))][: draw(st.integers(1, 4))]
    if draw(st.booleans()):
        free = [{}, {"zone": "a"}, OURS, *(labels(r) for r in range(4))]
        for name in ["spark-1", *draw(st.sets(st.sampled_from(NAMES[1:])))]:
            some = free if name in nodes else [*free, labels(0, "other")]
            inside[name] = dict(draw(st.sampled_from(some)))
    return Model(list(NAMES), inside), nodes


@given(swarms())
def test_after_its_steps_nothing_is_left_to_do(case):
    swarm, nodes = case
    for found in swarm.inside.values():
        if "trtspark.stack" in found:
            found.setdefault("trtspark.rank", "9")
    swarm.apply(swarm.plan(nodes))
    assert swarm.plan(nodes) == []
    ranks = {
        found["trtspark.rank"]: name
        for name, found in swarm.inside.items()
        if found.get("trtspark.stack") == "dgx"
    }
    assert ranks == {str(rank): name for rank, name in enumerate(nodes)}


@given(swarms())
def test_labels_of_others_outside_our_nodes_are_never_touched(case):
    swarm, nodes = case
    theirs = {
        name: dict(found)
        for name, found in swarm.inside.items()
        if name not in nodes and found.get("trtspark.stack") != "dgx"
    }
    for found in swarm.inside.values():
        if "trtspark.stack" in found:
            found.setdefault("trtspark.rank", "9")
    swarm.apply(swarm.plan(nodes))
    assert {name: swarm.inside[name] for name in theirs} == theirs


@given(swarms())
def test_no_step_is_planned_twice(case):
    swarm, nodes = case
    steps = swarm.plan(nodes)
    assert len(steps) == len(set(steps))


EXPIRED = Member("error", error="x509: certificate has expired or is not yet valid")


def test_an_expired_worker_of_ours_joins_again():
    members = {
        "spark-1": Member("active", "id-1", True),
        "spark-2": Member("active", "id-2"),
        "spark-3": EXPIRED,
    }
    assert renewals(NAMES[:3], members, {"spark-3"}) == [Rejoin("spark-3")]


def test_without_expired_ones_nothing_is_renewed():
    assert renewals(NAMES[:2], dict.fromkeys(NAMES[:2], Member("error", error="other")), set()) == []


@pytest.mark.parametrize(
    ("name", "way"), [("spark-1", "pulumi up --refresh"), ("spark-2", "the next `up` takes the node in")]
)
def test_an_expired_manager_and_a_worker_that_is_not_ours_are_left_with_the_way_out(name, way):
    members = {**dict.fromkeys(NAMES[:2], Member("active", "id")), name: EXPIRED}
    with pytest.raises(NodeError, match="has expired") as caught:
        renewals(NAMES[:2], members, set())
    assert "docker swarm leave --force" in str(caught.value)
    assert way in str(caught.value)


@given(st.frozensets(st.text()), st.frozensets(st.text()))
def test_a_ledger_survives_its_label(joined, bare):
    ledger = Ledger(joined, bare)
    assert Ledger.parse(ledger.text()) == ledger


@pytest.mark.parametrize(
    "text", [None, "", "not json", "[]", '"x"', '{"joined": 1}', '{"joined": [1]}', '{"bare": null}']
)
def test_a_label_that_is_no_ledger_says_nothing(text):
    assert Ledger.parse(text) == Ledger()


def test_a_node_whose_labels_somebody_took_off_is_astray():
    ours = {"a": {"trtspark.stack": "dgx", "trtspark.rank": "0"}, "b": {}, "c": {"trtspark.stack": "dgx"}}
    ids = {"head": "a", "no-labels": "b", "no-rank": "c", "not-listed": "d", "in-none": ""}
    assert astray("dgx", ids, ours) == ["no-labels", "no-rank", "not-listed", "in-none"]
    assert astray("dgx", ids, {}) == ["in-none"]
