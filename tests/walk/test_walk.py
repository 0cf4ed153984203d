"""A random walk: configuration, an operator's acts, acts by hand and faults, in any order.

After all of them one `up` serves what is configured, or says what only a person can do; a second one changes
nothing; `destroy` gives the machines back as they were; and what others have there is as they left it.
`TRTSPARK_WALK` is how many walks are made (each of up to 30 acts); without it, what the quick run bears.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cluster.errors import TrtSparkError, Unreachable
from cluster.swarm_plan import LEDGER_LABEL
from remote.services import APIError
from tests.providers.fake_swarm import _task
from tests.walk.machines import CRASHES, HOSTS, KINDS, Faults, Killed, Machines
from tests.walk.small_stack import Stack

QUICK = 25
#: What an error of the last `up` may ask of a person.
PERSONS = ("takeOver", "docker swarm leave", "listed first", CRASHES)
THEIRS = {"Name": "registry", "Labels": {}, "Mode": {"Replicated": {"Replicas": 1}}, "TaskTemplate": {}}


class Walk(RuleBasedStateMachine):
    """One stack on three machines, of which none, one or two are in a Swarm of somebody else's."""

    acts, runs = 0, 0
    """Of all walks, the runs being those of Pulumi's commands."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.folder = tempfile.TemporaryDirectory()
        self.machines = Machines(Path(self.folder.name))
        self.machines.install(self.patch)
        self.stack = Stack(self.machines)
        self.stack.pulumi.install(self.patch)
        self.deployed: Any = None
        self.others: Any = None
        self.exported: Any = None
        self.blind = False
        self.outdated = False
        """Whether the state is an older one, or lost, and no `up` has come to its end since."""

    @initialize(members=st.integers(0, 2))
    def somebody_elses_swarm(self, members: int) -> None:
        """From before us, with a service, a config and a secret."""
        engines = self.machines.engines
        head = engines[HOSTS[0]]
        if members:
            head.init_swarm(HOSTS[0], HOSTS[0], {})
            self.others = head.swarm
            self.others.services["registry"] = {"ID": "theirs", "Version": {"Index": 1}, "Spec": dict(THEIRS)}
            head.create_config("theirs", b"", {})
            head.create_secret("theirs", b"", {})
            head.labels()["zone"] = "rack-1"
        if members > 1:
            token = head.inspect_swarm()["JoinTokens"]["Worker"]
            engines[HOSTS[1]].join_swarm([f"{HOSTS[0]}:2377"], token, HOSTS[1], HOSTS[1])
        self.begun = True

    # configuration

    @rule(
        key=st.sampled_from(["model", "count", "head_only", "running", "port", "image", "turned"]),
        data=st.data(),
    )
    def configure(self, key: str, data: st.DataObject) -> None:
        values = {
            "model": ["lab/a", "lab/b", CRASHES],
            "count": [1, 2, 3],
            "head_only": [False, True],
            "running": [False, True],
            "port": [8355, 8400],
            "image": ["release@sha256:1", "release@sha256:2"],
            "turned": [False, True],
        }
        change = {key: data.draw(st.sampled_from(values[key]))}
        self.stack.config = replace(self.stack.config, **change)  # type: ignore[arg-type]

    @rule(count=st.integers(1, 3), turned=st.booleans())
    def other_nodes(self, count: int, turned: bool) -> None:
        """Of three machines the second is taken out, or replaced by the third, …"""
        self.stack.config = replace(self.stack.config, count=count, turned=turned)

    # the operator

    @rule()
    def up(self) -> None:
        self._look_into_books()
        if self._try(self.stack.up):
            self.deployed, self.outdated = self.stack.config, False

    @rule(at=st.integers(1, 90), kind=st.sampled_from(sorted(KINDS)), after=st.booleans())
    def interrupted_up(self, at: int, kind: str, after: bool) -> None:
        self.machines.faults = Faults(at, KINDS[kind], after)
        self._try(self.stack.up)
        self.machines.faults = Faults()

    @rule()
    def refresh(self) -> None:
        self._try(self.stack.pulumi.refresh)

    @precondition(lambda self: self.deployed == self.stack.config and not self.machines.engines.unreachable)
    @rule(count=st.integers(1, 3))
    def state_lost(self, count: int) -> None:
        """And adopted at once, on as many machines as before or fewer."""
        self.stack.pulumi.state, self.outdated = [], True
        if self._ledger():
            self.stack.config = replace(self.stack.config, count=min(count, self.stack.config.count))
        self.up()

    @rule()
    def export(self) -> None:
        """`pulumi stack export`, kept for later."""
        self.exported = (self.stack.name, self.stack.pulumi.export())

    @precondition(lambda self: self.exported and self.exported[0] == self.stack.name)
    @rule()
    def imported(self) -> None:
        """`pulumi stack import` of an older state: what was made since is in no state."""
        self.stack.pulumi.state = list(self.exported[1])
        self.outdated = True
        self._look_into_books()

    @rule(told=st.booleans())
    def rename(self, told: bool) -> None:
        """`pulumi stack rename`, with `takeOver` as it needs, or without it."""
        name = {"dgx": "lab", "lab": "dgx"}[self.stack.name]
        self.stack.config = replace(self.stack.config, take_over=self.stack.name if told else "")
        self.stack.name = name

    # by hand

    @rule(host=st.sampled_from(HOSTS))
    def leave(self, host: str) -> None:
        engine = self.machines.engines[host]
        if engine.swarm is None:
            return
        if engine.swarm is self.others and host == HOSTS[0]:
            self.others = None
        engine.leave_swarm(force=True)

    @rule(rank=st.integers(0, 2), data=st.data())
    def change_service(self, rank: int, data: st.DataObject) -> None:
        found = self._service(rank)
        act = data.draw(st.sampled_from(["rm", "scale", "edit", "give up"]))
        if found is None:
            return
        name = found["Spec"]["Name"]
        if act == "rm":
            del self._managed().services[name]
        elif act == "scale":
            found["Spec"]["Mode"] = {"Replicated": {"Replicas": 0}}
        elif act == "edit":
            found["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"] = ["BY=hand"]
        else:
            found["given_up"] = _task(found)
            self._kill(rank)
        found["Version"]["Index"] += 1

    @rule(what=st.sampled_from(["configs", "secrets"]))
    def remove_objects(self, what: str) -> None:
        """`docker config rm` and `docker secret rm`; Docker keeps what a service uses."""
        swarm = self._managed()
        head = self.machines.engines[HOSTS[0]]
        for name, id_ in list(getattr(swarm, what).items()) if swarm else []:
            if name != "theirs":
                try:
                    (head.remove_config if what == "configs" else head.remove_secret)(id_)
                except APIError:
                    continue

    @rule(host=st.sampled_from(HOSTS))
    def unlabel(self, host: str) -> None:
        engine = self.machines.engines[host]
        if engine.swarm is not None and engine.node_id in engine.swarm.nodes:
            for key in [key for key in engine.labels() if key != "zone"]:
                del engine.labels()[key]
                engine.swarm.nodes[engine.node_id]["Version"]["Index"] += 1

    @rule(host=st.sampled_from(HOSTS[1:]))
    def node_rm(self, host: str) -> None:
        swarm, engine = self._managed(), self.machines.engines[host]
        if swarm and engine.swarm is swarm:
            swarm.nodes.pop(engine.node_id, None)

    @rule(rank=st.integers(0, 2))
    def kill_container(self, rank: int) -> None:
        self._kill(rank)

    @rule(rank=st.integers(0, 2))
    def pause_container(self, rank: int) -> None:
        for host in HOSTS:
            engine = self.machines.engines[host]
            engine.paused |= {
                one for one, labels in engine.running.items() if labels.get("trtspark.rank") == str(rank)
            }

    # faults

    @rule(host=st.sampled_from(HOSTS))
    def unreachable(self, host: str) -> None:
        self.machines.engines.unreachable[host] = Unreachable(host, "it does not answer.", "Is it on?")

    @precondition(lambda self: self.machines.engines.unreachable)
    @rule()
    def back(self) -> None:
        self.machines.engines.unreachable.clear()

    def check_invariants(self, *context: Any) -> None:
        """Hypothesis calls it after every act."""
        Walk.acts += 1
        super().check_invariants(*context)

    # what is so in the end

    def teardown(self) -> None:
        try:
            if hasattr(self, "begun"):
                self.machines.engines.unreachable.clear()
                self._look_into_books()
                there = self._up_gets_there()
                # What an older state does not know, and no `up` has adopted, is in nobody's books.
                if not self.blind and (there or not self.outdated):
                    self._destroy_gives_back()
        finally:
            self.patch.undo()
            self.folder.cleanup()

    def _up_gets_there(self) -> bool:
        for _ in range(2):
            config = self.stack.config
            try:
                self.stack.up()
            except TrtSparkError as error:
                if not any(text in str(error) for text in PERSONS):
                    raise
                if "takeOver" not in str(error):
                    return False
                [other] = {*re.findall(r"takeOver (\w+)", str(error))}
                self.stack.config = replace(config, take_over=other)
            else:
                assert self.machines.serves() == (config.model if config.running else None)
                assert self.stack.up() == []
                return True
        raise AssertionError("takeOver was set as the error says, and is asked for again")

    def _destroy_gives_back(self) -> None:
        self.stack.destroy()
        for host in HOSTS:
            engine = self.machines.engines[host]
            if any(host in text for text in self.stack.pulumi.warned):
                continue
            assert engine.running.keys() | engine.ended.keys() == {"theirs"}, host
            assert not engine.volumes, host
            assert host not in self.machines.owners
            assert self.machines.keys(host).read_text() == "ssh-ed25519 AAAA somebody@elsewhere\n"
            assert sorted(os.listdir(self.machines.root / host)) == [".ssh"]
            # A worker whose Swarm lost its only manager has no labels; the model keeps them.
            if engine.swarm and engine.swarm is self._managed() and engine.node_id in engine.swarm.nodes:
                assert engine.labels().keys() <= {"zone"}, host
        if self.others is not None:
            assert self.machines.engines[HOSTS[0]].swarm is self.others
            assert self.others.services.keys() == {"registry"}
            assert (self.others.configs.keys(), self.others.secrets.keys()) == ({"theirs"}, {"theirs"})

    # helpers

    def _try(self, act: Any) -> bool:
        Walk.runs += 1
        try:
            act()
        except (TrtSparkError, APIError, Killed):
            return False
        return True

    def _managed(self) -> Any:
        swarm = self.machines.engines[HOSTS[0]].swarm
        return swarm if swarm is not None and swarm.manager else None

    def _look_into_books(self) -> None:
        """What neither the state nor the ledger knows, no `up` can give back."""
        self.blind |= self.outdated and not self._ledger()

    def _ledger(self) -> bool:
        """Whether the Swarm still knows what we did: people may have removed a label, or the Swarm."""
        swarm, head = self._managed(), self.machines.engines[HOSTS[0]]
        return bool(swarm) and LEDGER_LABEL in {**swarm.labels, **head.labels()}

    def _service(self, rank: int) -> Any:
        swarm = self._managed()
        services = swarm.services.values() if swarm else []
        return next((s for s in services if s["Spec"]["Labels"].get("trtspark.rank") == str(rank)), None)

    def _kill(self, rank: int) -> None:
        for host in HOSTS:
            engine = self.machines.engines[host]
            for one, labels in list(engine.running.items()):
                if labels.get("trtspark.rank") == str(rank):
                    engine.ended[one] = engine.running.pop(one)


def test_walk() -> None:
    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=int(os.environ.get("TRTSPARK_WALK", QUICK)),
            stateful_step_count=30,
            deadline=None,
            print_blob=True,
            derandomize="TRTSPARK_WALK" not in os.environ,  # a red run can be repeated
            phases=[Phase.generate] if os.environ.get("TRTSPARK_WALK") else list(Phase),
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{Walk.acts} acts, {Walk.runs} of them runs of Pulumi")
