"""The serving image on several nodes: one and the same by digest, whatever their image stores are."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.errors import PlanError


def agreed(image: str, nodes: Sequence[str], digests: Sequence[str]) -> str:
    """The digest (NAME@sha256:…) that all nodes have for `image`, head first.

    Digests are the registry's: an image's id is another thing in each of Docker's two image stores, and
    differs between two nodes for one image. Raises PlanError naming both where one has another digest.
    """
    for node, digest in zip(nodes, digests, strict=True):
        if digest != digests[0]:
            raise PlanError(
                f"{image} is not one image on all nodes: {nodes[0]} has {_short(digests[0])}, "
                f"{node} has {_short(digest)}. The tag moved between their pulls: `docker pull {image}` on "
                "both, or set image to a digest."
            )
    return digests[0]


def _short(digest: str) -> str:
    return digest.rpartition("@")[2][:19] or "none"
