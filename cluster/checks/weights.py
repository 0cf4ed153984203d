"""Checks of the model's files on the nodes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from cluster import catalog, model_config, weights_plan
from cluster.checks.table import Context, Finding, check


@check(
    "weights.folder",
    "hfCache is a Hugging Face cache's folder, with the models in its hub folder.",
    "Set hfCache to the folder above: `pulumi config set hfCache …`.",
    "WARN",
)
def folder(context: Context) -> Iterator[Finding]:
    """The hub folder itself, as HF_HUB_CACHE has it: everything in it would be fetched anew."""
    for facts, cache in zip(context.nodes, context.caches, strict=True):
        if not cache.get("flat") or not context.settings.running:
            continue
        path = cache["folder"].rstrip("/")
        above, _, name = path.rpartition("/")
        todo = f"Run there `ln -s . {shlex.quote(path + '/hub')}`, or they are fetched anew."
        if name == "hub":
            todo = (
                f"Set the folder above: `pulumi config set hfCache {shlex.quote(above or '/')}`, or they are "
                "fetched anew."
            )
        yield Finding(
            "WARN",
            facts.node,
            f"hfCache is {path}, and the models lie in it and not in {path}/hub.",
            todo,
        )


@check(
    "weights.rights",
    "The user may read the model's folder in the Hugging Face cache, and write to it if files are missing.",
    "`sudo chown -R USER:GROUP FOLDER`: containers that run as root leave root's files.",
)
def rights(context: Context) -> Iterator[Finding]:
    """Root's files, as NVIDIA's playbook makes them. A whole model that can be read is served as it is."""
    for facts, cache in zip(context.nodes, context.caches, strict=True):
        if cache.get("locked") and context.settings.running and _needed(context, cache):
            what = "write to" if cache["readable"] else "read"
            yield Finding(
                "FAIL",
                facts.node,
                f"user {facts.user} may not {what} all of {cache['locked']}.",
                f"Run there `sudo chown -R {cache['owner']} {shlex.quote(cache['locked'])}`.",
            )


def _needed(context: Context, cache: Mapping[str, Any]) -> bool:
    """Whether what is locked keeps the model from being there."""
    if not cache["readable"]:
        return True
    if not context.settings.download_weights:
        return False
    if context.found is None:
        return bool(cache["commit"] is None or cache["problems"])
    files = context.found.resolved.files
    return cache["main"] != files.commit or bool(weights_plan.missing(files, cache))


@check(
    "weights.shared",
    "Which nodes share one Hugging Face cache on a file server.",
    "Nothing needs to be done: it is filled once.",
    "NOTE",
)
def shared(context: Context) -> Iterator[Finding]:
    """Their weights come once, and are checked by the first of them alone."""
    nodes = [facts.node for facts in context.nodes]
    for first, followers in weights_plan.sharing(
        [cache.get("shared", weights_plan.OWN) for cache in context.caches]
    ).items():
        if followers and context.settings.running:
            names = ", ".join(nodes[number] for number in (first, *followers))
            yield Finding(
                "NOTE",
                "",
                f"{names} have one Hugging Face cache, on a file server: the weights come to it once.",
                "",
            )


@check(
    "weights.whole",
    "Where downloadWeights is false: the model is in every node's Hugging Face cache, and whole.",
    "Set downloadWeights to true, or run `hf download MODEL` there.",
)
def whole(context: Context) -> Iterator[Finding]:
    """Missing, or with files missing or cut short, and not to be fetched."""
    model = context.settings.model
    if not context.settings.running or context.settings.download_weights:
        return
    for facts, cache in zip(context.nodes, context.caches, strict=True):
        if not cache.get("readable", True):
            continue  # another check's
        if cache["commit"] is None:
            close = catalog.similar(model, cache["models"])
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            yield Finding(
                "FAIL",
                facts.node,
                f"model {model} is not in {cache['folder']}.",
                f"Set downloadWeights to true, or run there `hf download {model}`.{hint}",
            )
        elif cache["problems"]:
            yield Finding(
                "FAIL",
                facts.node,
                f"model {model} is not whole in {cache['folder']}: {'; '.join(cache['problems'][:3])}.",
                f"Set downloadWeights to true, or run there `hf download {model}`.",
            )


@check(
    "weights.revision",
    "Where downloadWeights is false: all nodes have the model at one revision.",
    "Run `hf download MODEL` on the node that is behind.",
)
def revision(context: Context) -> Iterator[Finding]:
    """Nodes that fetched it at different times."""
    commits = {cache["commit"] for cache in context.caches}
    fetched = not context.settings.running or context.settings.download_weights
    if fetched or None in commits or len(commits) == 1:
        return
    if any(cache["problems"] for cache in context.caches):
        return
    model = context.settings.model
    listed = ", ".join(
        f"{facts.node} has {cache['commit'][:12]}"
        for facts, cache in zip(context.nodes, context.caches, strict=True)
    )
    yield Finding(
        "FAIL",
        "",
        f"model {model} is at different revisions: {listed}.",
        f"Run `hf download {model}` on the node that is behind.",
    )


@check(
    "weights.pinned",
    "Where trustRemoteCode is true: `revision` is the commit whose code was read.",
    "`pulumi config set revision COMMIT` with the commit of the message, once you have read its code.",
)
def pinned(context: Context) -> Iterator[Finding]:
    """A branch or tag is whatever its owner puts there next, and it would run as root at the next `up`."""
    settings, found = context.settings, context.found
    if not settings.running or not settings.trust_remote_code or found is None:
        return
    if settings.revision == found.commit:
        return
    endpoint = found.resolved.files.endpoint
    where = f" at {endpoint}/{settings.model}/tree/{found.commit}" if endpoint else " on the head"
    yield Finding(
        "FAIL",
        "",
        f"trustRemoteCode is true, but revision is {settings.revision or 'not set'}, not a commit: code that "
        f"is added to {settings.model} later would run, too.",
        f"Read the code{where}, then `pulumi config set revision {found.commit}` and `pulumi up`; or "
        "`pulumi config set trustRemoteCode false`.",
    )


@check(
    "weights.place",
    "The Hugging Face cache is a folder that the user can write to, or can be made.",
    "`sudo install -d -o USER FOLDER` there, or another folder: `pulumi config set hfCache`.",
    alone=True,
)
def place(context: Context) -> Iterator[Finding]:
    """Below a file, on a read-only file system, or in a folder that is not the user's. Who may use what is in
    a cache that is there is another check's.
    """
    if not context.settings.running or not context.settings.download_weights:
        return
    key, other = context.settings.hf_cache, "name another folder: `pulumi config set hfCache /a/folder`"
    for facts in context.nodes:
        at = facts.places.get("cache")
        if at is None or (at.folder and (at.writable or at.there == at.path)):
            continue
        cache = shlex.quote(at.path.removesuffix("/hub"))
        if not at.folder:
            found, todo = f"{at.there} is not a folder", f"{other[0].upper()}{other[1:]}."
        elif at.read_only:
            found = f"{at.there} is on a read-only file system"
            todo = f"Mount it so that it can be written, or {other}."
        else:
            found = f"user {facts.user} may not make a folder in {at.there}"
            todo = f"Run there `sudo install -d -o {facts.user} {cache}`, or {other}."
        yield Finding("FAIL", facts.node, f"hfCache is {key}, and {found}.", todo)


@check(
    "weights.tiktoken",
    "Where downloadWeights is false: the head has OpenAI's vocabularies if the model needs them (gpt-oss).",
    "Set downloadWeights to true, or put o200k_base.tiktoken and cl100k_base.tiktoken into the cache's "
    "tiktoken-encodings folder.",
)
def tiktoken(context: Context) -> Iterator[Finding]:
    """Without them the engine fetches them at the first chat request, or fails."""
    model, cache = context.settings.model, context.caches[0]
    fetched = not context.settings.running or context.settings.download_weights
    known = context.found.architecture if context.found else ""
    architecture = known or model_config.architecture_of(cache.get("config", ""))
    if fetched or not catalog.is_gpt_oss(model, architecture) or cache["tiktoken"]:
        return
    if any(other["commit"] is None or other["problems"] for other in context.caches):
        return
    yield Finding(
        "FAIL",
        context.nodes[0].node,
        f"{model} needs OpenAI's vocabularies, and {cache['folder']}/tiktoken-encodings lacks them.",
        "Set downloadWeights to true, or put o200k_base.tiktoken and cl100k_base.tiktoken there "
        "(from openaipublic.blob.core.windows.net/encodings).",
    )
