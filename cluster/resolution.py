"""Which commit of the model is deployed: the Hub's answer, or the nodes' own where it cannot be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster import catalog, fit, hub_files
from cluster.config import Settings
from cluster.errors import TrtSparkError
from cluster.hub_files import Resolved
from cluster.weights_plan import ModelFile, ModelFiles


class HubError(TrtSparkError):
    """The Hub said no, or nothing. One sentence for what was found, one for what to do."""


class HubUnavailable(HubError):
    """No answer about the model: the network, the Hub itself, or we were told not to ask."""


#: Hex digits of a SHA-256: how the digest of a file in LFS is told from git's own, which has 40.
_SHA256 = 64


@dataclass(frozen=True)
class Found:
    """What a run serves. `model` is None where its shape is not known; `why` says why the Hub was not
    asked, "" when it was.
    """

    resolved: Resolved
    model: fit.Model | None = None
    why: str = ""

    @property
    def commit(self) -> str:
        """The Hub's commit, 40 hex digits."""
        return self.resolved.files.commit

    @property
    def architecture(self) -> str:
        """As config.json says it; "" where the shape is not known."""
        return self.model.shape.architecture if self.model else ""


def from_caches(
    settings: Settings, nodes: Sequence[str], caches: Sequence[Mapping[str, Any]], reason: HubError
) -> Resolved:
    """The commit that the nodes hold, when the Hub could not be asked (`reason`).

    `caches`: remote/node/hub_cache.py's answers in the order of `nodes`. One node that holds it whole is
    enough where it may be copied from there (downloadWeights, and its blobs are named by their digests);
    the head's comes first. Raises HubUnavailable that says what is missing, a line for each node.
    """
    model = settings.model
    listed = list(zip(nodes, caches, strict=True))
    missing = [f"{node}: {_lacks(model, cache)}" for node, cache in listed if _lacks(model, cache)]
    if not missing and len({cache["commit"] for cache in caches}) > 1:
        held = ", ".join(f"{node} has {cache['commit'][:12]}" for node, cache in listed)
        missing = [f"model {model} is at different revisions: {held}."]
    whole = [_held(settings, cache) for cache in caches if not _lacks(model, cache)]
    for found in whole:
        if not missing or (settings.download_weights and all(file.digest for file in found.files.files)):
            return found
    # With a Hub that is down nobody knows whether there is such a model: it may be spelt right.
    spelling = not settings.download_weights and caches[0]["commit"] is None
    close = _did_you_mean(catalog.similar(model, caches[0]["models"])) if spelling else ""
    first = f"{reason} Without it {model} must be on every node; `hf download {model}` fetches it.{close}"
    raise HubUnavailable("\n".join([first, *missing]))


def _held(settings: Settings, cache: Mapping[str, Any]) -> Resolved:
    """What the engine needs of what a node holds whole."""
    digests: Mapping[str, str] = cache.get("blobs") or {}
    files = [
        ModelFile(path, size, digests.get(path, ""), lfs=len(digests.get(path, "")) == _SHA256)
        for path, size in cache["files"].items()
    ]
    chosen = hub_files.needed(settings.model, files, settings.trust_remote_code)
    return Resolved(ModelFiles(settings.model, cache["commit"], "", chosen), gated=False)


def no_such_model(model: str, also: Sequence[str] = ()) -> str:
    """ " Did you mean …?" by the catalog and the ids in the nodes' caches; "" when nothing is close."""
    return _did_you_mean(catalog.suggestions(model, also=list(also)))


def _did_you_mean(close: Sequence[str]) -> str:
    return f" Did you mean {' or '.join(close)}?" if close else ""


def missing_bytes(wanted: ModelFiles, cache: Mapping[str, Any]) -> int:
    """Bytes of the needed files that a node does not have.

    Where a digest is not known a file of the same name and size is taken for the same: this is about room.
    """
    return sum(file.size for file in wanted.files if not _there(file, cache))


def _there(file: ModelFile, cache: Mapping[str, Any]) -> bool:
    digest = (cache.get("blobs") or {}).get(file.path)
    same = not digest or not file.digest or digest == file.digest
    return same and bool(cache["files"].get(file.path) == file.size)


def _lacks(model: str, cache: Mapping[str, Any]) -> str:
    if cache["commit"] is None:
        return f"model {model} is not in {cache['folder']}."
    if cache["problems"]:
        return f"model {model} is not whole in {cache['folder']}: {'; '.join(cache['problems'][:3])}."
    return ""
