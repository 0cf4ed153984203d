"""The model's files on every node: present, whole, and at one revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from cluster.errors import NotPrepared, PlanError, Unreachable
from dynamic_providers.base import Provider, changed
from remote import node
from remote.ssh import Connection, SshShell

LOOK_TIMEOUT_S = 60


class ModelWeightsProvider(Provider):
    """`model`, `revision`, `hfCache`, `connections` -> bytes. Files are never removed by destroy."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Nodes count: a new one needs the files too."""
        olds, news = ({**p, "hosts": _hosts(p)} for p in (_olds, _news))
        return changed(olds, news, ("model", "revision", "hfCache", "hosts"))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Verify on every node, in parallel."""
        return CreateResult(id_="weights", outs=verify(props))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Verify the new model; the old one's files stay."""
        return UpdateResult(outs=verify(_news))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """The revision that every node really holds whole; "" when one does not."""
        if "model" not in props:
            return ReadResult(id_, props)
        answers = look(props)
        whole = {a["commit"] for a in answers if a["commit"] and not a["problems"]}
        agree = len(whole) == 1 and all(not a["problems"] and a["commit"] for a in answers)
        inputs = {key: props[key] for key in ("model", "revision", "hfCache", "connections")}
        inputs["revision"] = whole.pop() if agree else ""
        return ReadResult(id_, {**props, **inputs}, inputs)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Weights stay: they are the user's, and dear."""


def look(props: Mapping[str, Any]) -> list[dict[str, Any]]:
    """remote/node/hub_cache.py's answer of every node."""
    arguments = {"hub_cache": {"hf_cache": props["hfCache"], "model": props["model"]}}
    script, command = node.program(hub_cache="look"), node.command(arguments)

    def one(connection: Mapping[str, Any]) -> dict[str, Any]:
        result = SshShell(Connection.from_props(connection)).run(
            command, stdin=script, timeout=LOOK_TIMEOUT_S
        )
        if result.code:
            said = (result.err.strip().splitlines() or [f"exit code {result.code}"])[-1]
            raise Unreachable(connection["host"], f"its cache cannot be read: {said}.", "Try it again.")
        answer: dict[str, Any] = node.answer(result.out)["hub_cache"]
        return answer

    with ThreadPoolExecutor(len(props["connections"])) as pool:
        return list(pool.map(one, props["connections"]))


def verify(props: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs when every node holds `revision` whole. Raises NotPrepared or PlanError."""
    model, wanted = props["model"], props["revision"]
    answers = look(props)
    for connection, answer in zip(props["connections"], answers, strict=True):
        host = connection["host"]
        todo = f"Run there `hf download {model}`."
        if answer["commit"] is None:
            raise NotPrepared(host, f"model {model} is not in {answer['folder']}.", todo)
        if answer["problems"]:
            raise NotPrepared(host, f"model {model} is not whole: {answer['problems'][0]}.", todo)
        if answer["commit"] != wanted:
            raise PlanError(f"{host}: {model} is at {answer['commit'][:12]}, not {wanted[:12]}. {todo}")
    return {**props, "bytes": sum(answers[0]["files"].values())}


def _hosts(props: Mapping[str, Any]) -> list[str]:
    return [connection["host"] for connection in props.get("connections", [])]


class ModelWeights(Resource, module="trtspark", name="ModelWeights"):
    """The files of one model at one revision, on every node."""

    def __init__(
        self,
        name: str,
        model: str,
        revision: str,
        hf_cache: str,
        connections: Sequence[Mapping[str, Any]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`revision` is the Hub commit; `hf_cache` as configured (~ is the node's user's home)."""
        props = {
            "model": model,
            "revision": revision,
            "hfCache": hf_cache,
            "connections": list(connections),
        }
        super().__init__(ModelWeightsProvider(), name, {**props, "bytes": None}, opts)
