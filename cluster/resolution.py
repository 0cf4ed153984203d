"""Which commit of the model is deployed: the Hub's answer, or the nodes' own where it cannot be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster import catalog, fit
from cluster.errors import TrtSparkError
from cluster.hub_files import Resolved
from cluster.weights_plan import ModelFile, ModelFiles


class HubError(TrtSparkError):
    """The Hub said no, or nothing. One sentence for what was found, one for what to do."""


class HubUnavailable(HubError):
    """No answer about the model: the network, the Hub itself, or we were told not to ask."""


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


def from_caches(
    model: str, nodes: Sequence[str], caches: Sequence[Mapping[str, Any]], reason: HubError
) -> Resolved:
    """The commit that every node holds whole, when the Hub could not be asked (`reason`).

    `caches`: remote/node/hub_cache.py's answers in the order of `nodes`. Raises HubUnavailable that says
    what is missing, a line for each node.
    """
    listed = list(zip(nodes, caches, strict=True))
    missing = [f"{node}: {_lacks(model, cache)}" for node, cache in listed if _lacks(model, cache)]
    if not missing and len({cache["commit"] for cache in caches}) > 1:
        held = ", ".join(f"{node} has {cache['commit'][:12]}" for node, cache in listed)
        missing = [f"model {model} is at different revisions: {held}."]
    if missing:
        close = no_such_model(model, caches[0]["models"]) if caches[0]["commit"] is None else ""
        first = f"{reason} Without it {model} must be on every node; `hf download {model}` fetches it.{close}"
        raise HubUnavailable("\n".join([first, *missing]))
    cache = caches[0]
    files = tuple(ModelFile(path, size, "", lfs=False) for path, size in sorted(cache["files"].items()))
    return Resolved(ModelFiles(model, cache["commit"], "", files), gated=False)


def no_such_model(model: str, also: Sequence[str] = ()) -> str:
    """ " Did you mean …?" by the catalog and the ids in the nodes' caches; "" when nothing is close."""
    close = catalog.suggestions(model, also=list(also))
    return f" Did you mean {' or '.join(close)}?" if close else ""


def missing_bytes(wanted: ModelFiles, cache: Mapping[str, Any]) -> int:
    """Bytes of the needed files that a node does not have.

    A file of the same name and size is taken for the same: this is about room, not about truth.
    """
    return sum(file.size for file in wanted.files if cache["files"].get(file.path) != file.size)


def _lacks(model: str, cache: Mapping[str, Any]) -> str:
    if cache["commit"] is None:
        return f"model {model} is not in {cache['folder']}."
    if cache["problems"]:
        return f"model {model} is not whole in {cache['folder']}: {'; '.join(cache['problems'][:3])}."
    return ""
