"""Checks of the serving image: its release, whether these machines run it, whether it can be pulled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cluster import image, image_name, image_table, registry
from cluster.checks.table import Context, Finding, Level, check
from cluster.facts import Facts

_SET_IMAGE = "`pulumi config set image …`"
#: What a registry's answer to a node means, and what to do; REGISTRY stands for its name.
_ANSWERS: Mapping[registry.Word, tuple[str, str]] = {
    "missing": (
        "REGISTRY has no such image",
        f"Is it spelt right? Set another one with {_SET_IMAGE}.",
    ),
    "denied": (
        "REGISTRY wants a login, or has no such image",
        f"Is it spelt right? Set another one with {_SET_IMAGE}. Where a login is needed, run "
        "`docker login REGISTRY` on every node.",
    ),
    "untrusted": (
        "Docker does not trust the certificate of REGISTRY",
        "Put its CA into /etc/docker/certs.d/REGISTRY/ca.crt on every node, or name the registry under "
        "insecure-registries in daemon.json.",
    ),
    "unreachable": (
        "Docker cannot reach REGISTRY",
        "Is the registry up? Check the node's DNS and route, and Docker's proxy settings.",
    ),
}


@check(
    "image.release",
    "The image's release of TensorRT-LLM is not known to fail with this model on so many nodes "
    "(docs/images.md).",
    f"Set another image with {_SET_IMAGE}; allowUntestedImage deploys it all the same.",
    "FAIL",
    "WARN",
    "NOTE",
)
def release(context: Context) -> Iterator[Finding]:
    """By the image's own word where it is on a node or the registry told, else by its tag."""
    settings = context.settings
    if not settings.running:
        return
    known = image.release_of(settings.image, *_environments(context))
    if known is None:
        yield Finding(
            "NOTE",
            "",
            f"Which release of TensorRT-LLM {settings.image} has is not known before it is pulled.",
            "It is checked then, before anything is started from it.",
        )
        return
    shape = context.found.model.shape if context.found and context.found.model else None
    model = image_table.served(settings.model, shape, settings.backend)
    ranks = len(context.nodes)
    for entry in image_table.judged(known, ranks, model):
        if entry.verdict != "ok":
            refused = entry.verdict == "refuse" and not settings.allow_untested_image
            yield Finding(
                "FAIL" if refused else "WARN", "", *image_table.sentences(known, ranks, model, entry, refused)
            )


@check(
    "image.driver",
    "Every node's driver is what the image was built for.",
    "`sudo apt update && sudo apt full-upgrade` there, then reboot; or set an older image.",
    "FAIL",
    "WARN",
    alone=True,
)
def driver(context: Context) -> Iterator[Finding]:
    """CUDA's own requirement fails; an older driver of the same branch is a warning."""
    if not context.settings.running:
        return
    for facts in context.nodes:
        env = facts.docker.image.env if facts.docker.image else _from_registry(context)
        if problem := image.driver_problem(env, facts.driver, facts.cuda):
            fatal = problem.fatal and not context.settings.allow_untested_image
            todo = f"{problem.todo} {image_table.OVERRIDE}" if fatal else problem.todo
            yield Finding("FAIL" if fatal else "WARN", facts.node, problem.found, todo)


@check(
    "image.platform",
    "The image is made for the nodes' processors: linux/arm64 on Sparks.",
    f"Set an image for it with {_SET_IMAGE}.",
)
def platform(context: Context) -> Iterator[Finding]:
    """By the image on the node, else by the registry."""
    name = context.settings.image
    for facts in context.nodes:
        wanted, have = facts.docker.platform, _platforms(context, facts)
        if wanted and have and wanted not in have:
            yield Finding(
                "FAIL",
                facts.node,
                f"{name} is for {', '.join(have)}, and this machine runs {wanted}.",
                f"Set an image for {wanted} with {_SET_IMAGE}.",
            )


@check(
    "image.digest",
    "The nodes that have the image have the same one, and what the registry has now, if one still pulls it.",
    "`docker pull IMAGE` on the nodes that are behind, or set image to a digest.",
)
def digest(context: Context) -> Iterator[Finding]:
    """A tag that moved between two pulls; an image with no digest was never pulled."""
    name, asked = context.settings.image, context.registry
    found = {facts.node: image.digests_of(name, facts.docker.image) for facts in context.nodes}
    held = {node: digests for node, digests in found.items() if digests}
    if not held:
        return
    (first, theirs), *others = held.items()
    for node, digests in others:
        if not digests & theirs:
            yield Finding(
                "FAIL",
                "",
                f"{name} is not one image on all nodes: {first} has {_short(theirs)}, {node} has "
                f"{_short(digests)}.",
                f"Run `docker pull {name}` on both, or set image to a digest.",
            )
            return
    now = (asked.of_node.digest or asked.of_operator.digest) if asked else ""
    if asked and now and now not in theirs:
        yield Finding(
            "FAIL",
            "",
            f"{name} is another image by now: {first} has {_short(theirs)}, and {asked.lacking[0]} would "
            f"pull {_short({now})}.",
            f"Run `docker pull {name}` on {first}, or set image to a digest.",
        )


@check(
    "image.there",
    "Where pullImage is false: the image is on every node.",
    "Set pullImage to true, or run `docker pull IMAGE` there.",
)
def there(context: Context) -> Iterator[Finding]:
    """It is not pulled, so it must be there."""
    if context.settings.pull_image:
        return
    for facts in context.nodes:
        if facts.docker.image_known and facts.docker.image is None:
            yield Finding(
                "FAIL",
                facts.node,
                f"it has no image {context.settings.image}, and pullImage is false.",
                f"Run there `docker pull {context.settings.image}`, or set pullImage to true.",
            )


@check(
    "image.registry",
    "The registry gives the image to the nodes that do not have it yet.",
    f"Correct the name with {_SET_IMAGE}, or restore the way to the registry.",
    "FAIL",
    "WARN",
)
def pull(context: Context) -> Iterator[Finding]:
    """One node was asked; its word decides, as it is the one that pulls. Ours says more about the cause."""
    asked = context.registry
    if asked is None or asked.of_node.word == "there":
        return
    host = image_name.parsed(context.settings.image).registry
    level: Level = "FAIL"
    if asked.of_node.word in _ANSWERS:
        meaning, todo = (text.replace("REGISTRY", host) for text in _ANSWERS[asked.of_node.word])
        if asked.of_operator.word == "there":
            todo = f"From this machine the registry answers, and it has the image. {todo}"
    else:
        level, meaning, todo = "WARN", f"{host} gave no usable answer", "`up` tries it all the same."
        if asked.of_operator.word in _ANSWERS:
            todo += (
                f" Asked from this machine: {_ANSWERS[asked.of_operator.word][0].replace('REGISTRY', host)}."
            )
    yield Finding(
        level,
        asked.node,
        f"{context.settings.image} {'cannot' if level == 'FAIL' else 'perhaps cannot'} be pulled: {meaning} "
        f"({asked.of_node.said or 'no reason given'}).",
        todo,
    )


def _environments(context: Context) -> list[Mapping[str, str]]:
    """What the image tells of itself, the surest first."""
    on_nodes = [facts.docker.image.env for facts in context.nodes if facts.docker.image]
    return [*on_nodes, _from_registry(context)]


def _from_registry(context: Context) -> Mapping[str, str]:
    return context.registry.of_operator.env if context.registry else {}


def _platforms(context: Context, facts: Facts) -> tuple[str, ...]:
    if facts.docker.image:
        return (facts.docker.image.platform,) if facts.docker.image.platform else ()
    if context.registry is None or facts.node not in context.registry.lacking:
        return ()
    return context.registry.of_node.platforms or context.registry.of_operator.platforms


def _short(digests: frozenset[str] | set[str]) -> str:
    return min(digests)[:19]
