"""The name of an image: registry, repository, tag and digest, and the release that the tag names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cluster.release import Release, parse

#: Where Docker looks for a name without a registry, and what serves that registry's API.
DOCKER_HUB, DOCKER_HUB_API = "docker.io", "registry-1.docker.io"
#: Repositories whose tags are releases of TensorRT-LLM, perhaps with words after a dash.
_TENSORRT_LLM = re.compile(r"tensorrt[-_]?llm|trt[-_]?llm", re.I)


@dataclass(frozen=True)
class ImageName:
    """`registry` is a host, with a port if one is written; `tag` and `digest` may be "", but not both."""

    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def reference(self) -> str:
        """What a registry is asked for: the digest, which wins over a tag, as in Docker."""
        return self.digest or self.tag

    @property
    def api(self) -> str:
        """The host that answers for the registry."""
        return DOCKER_HUB_API if self.registry == DOCKER_HUB else self.registry

    @property
    def release(self) -> Release | None:
        """The release that the tag names: 1.3.0rc5 of …/tensorrt-llm/release:1.3.0rc5-arm64."""
        if not _TENSORRT_LLM.search(self.repository):
            return None
        return parse(re.split(r"[-_]", self.tag, maxsplit=1)[0])


def parsed(text: str) -> ImageName:
    """The parts of HOST:PORT/REPOSITORY:TAG@DIGEST; what is left out is Docker Hub's, and latest."""
    rest, _, digest = text.partition("@")
    first, slash, more = rest.partition("/")
    registry = first if slash and (first == "localhost" or "." in first or ":" in first) else ""
    path = more if registry else rest
    repository, colon, tag = path.rpartition(":")
    if not colon:
        repository, tag = path, ""
    if registry in ("", "index.docker.io", "docker.io"):
        registry = DOCKER_HUB
        repository = repository if "/" in repository else f"library/{repository}"
    return ImageName(registry, repository, tag or ("" if digest else "latest"), digest)
