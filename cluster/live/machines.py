"""Live checks of each node: what was prepared and fetched is still there, and its cables do not lose data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cluster import link_errors, preparation
from cluster.checks.table import Finding
from cluster.facts import Facts, Hca
from cluster.live.seen import Live
from cluster.live.swarm import UP
from cluster.live.table import live_check

#: Unplugging and reboots count too.
DOWN_OFTEN = 20


@live_check(
    "deployed.prepared",
    "Docker is still as `up` has prepared it: the NVIDIA runtime, the GPU as a resource.",
    UP,
)
def prepared(live: Live) -> Iterator[Finding]:
    """Undone by hand, or by an update of a package."""
    for facts in live.nodes:
        if not facts.docker.problem and not facts.gpu_problem and (steps := preparation.steps(facts)):
            yield Finding(
                "FAIL", facts.node, f"Docker is not prepared as it was: {'; '.join(steps)}.", f"Run {UP}"
            )


@live_check(
    "weights.deployed",
    "Every node holds the deployed model whole, at the deployed revision.",
    UP,
)
def weights(live: Live) -> Iterator[Finding]:
    """By sizes and headers; `pulumi refresh` compares with the record, `verify: full` every byte."""
    wanted = str(live.outputs.get("revision") or "")
    if not live.serving or live.outputs.get("model") != live.settings.model or not wanted:
        return
    for facts, cache in zip(live.nodes, live.caches, strict=True):
        if cache["commit"] is None:
            found = f"model {live.settings.model} is no longer in {cache['folder']}."
        elif cache["commit"] != wanted:
            found = f"its cache's main is {cache['commit'][:12]}, and {wanted[:12]} is deployed."
        elif cache["problems"]:
            listed = "; ".join(cache["problems"][:3])
            found = f"model {live.settings.model} is not whole in {cache['folder']}: {listed}."
        else:
            continue
        yield Finding("FAIL", facts.node, found, f"Run {UP} Only what is missing is fetched.")


@live_check(
    "image.same",
    "All ranks run the same image, by its digest.",
    "`pulumi up` starts all ranks from one digest.",
)
def image(live: Live) -> Iterator[Finding]:
    """And the one that is deployed."""
    deployed = str(live.outputs.get("image") or "")
    wanted = deployed.rpartition("@")[2] if "@" in deployed else ""
    seen = [one for machine in live.machines for one in machine.digests if one]
    common = frozenset.intersection(*seen) if seen else frozenset()
    if seen and not common:
        yield Finding("FAIL", "", "the ranks run images of different digests.", f"Run {UP}")
    elif wanted and common and wanted not in common:
        yield Finding("FAIL", "", f"the ranks do not run the deployed image {wanted[:19]}.", f"Run {UP}")


@live_check(
    "fabric.errors",
    "The adapters count no errors on the halves in use.",
    "Push the cable in until it clicks, or use another; `ethtool -S INTERFACE` has more counters.",
    "WARN",
)
def errors(live: Live) -> Iterator[Finding]:
    """Since the driver came up. On a fabric without flow control a little is sent again all the time."""
    for facts, machine in zip(live.nodes, live.machines, strict=True):
        for hca in facts.hcas:
            counters = machine.counters.get(hca.name, {})
            if not hca.usable:
                continue
            text = link_errors.said(counters)
            if counters.get("link_downed", 0) > DOWN_OFTEN:
                text += f"{' and ' if text else ''}the link went down {counters['link_downed']} times"
            if text:
                peers = " and ".join(_peers(live.nodes, facts, hca)) or "nothing"
                yield Finding(
                    "WARN",
                    facts.node,
                    f"{hca.name} ({hca.netdev}), linked to {peers}: {text} since its driver started.",
                    link_errors.todo(hca.netdev, counters),
                )


def _peers(nodes: Sequence[Facts], facts: Facts, hca: Hca) -> list[str]:
    """The other ends of a link: interfaces of other nodes in its subnet."""
    if hca.address is None:
        return []
    return [
        f"{other.node} {one.netdev}"
        for other in nodes
        for one in other.hcas
        if other is not facts and one.address is not None and one.address.network == hca.address.network
    ]


@live_check(
    "gpu.container",
    "A container of the NVIDIA runtime sees the GPU.",
    "Check `docker info` for the nvidia runtime; `sudo nvidia-ctk runtime configure` shows what it lacks.",
    needs="gpus",
)
def container(live: Live) -> Iterator[Finding]:
    """Tried with an image that is there: nothing is pulled."""
    for facts in live.nodes:
        said = (live.gpus or {}).get(facts.node, "")
        if said:
            yield Finding(
                "FAIL",
                facts.node,
                f"a container does not see its GPU: {said}.",
                "Check there that `docker info` names the nvidia runtime; `pulumi refresh` and `pulumi up` "
                "prepare it again.",
            )
