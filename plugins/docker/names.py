"""Image names: their registry, repository, tag and digest; and the digest a local image has."""

from dataclasses import dataclass

DOCKER_HUB = "registry-1.docker.io"


@dataclass(frozen=True)
class ImageName:
    """`repository` with its registry as written, and what to pull of it: a digest or a tag."""

    registry: str
    repository: str
    reference: str


def parsed(name: str) -> ImageName:
    """The parts of "registry:5000/repo/image:tag@sha256:…"; the tag is "latest" by default."""
    remainder, _, digest = name.partition("@")
    head, slash, tail = remainder.rpartition("/")
    last, _, tag = tail.partition(":")
    repository = f"{head}{slash}{last}"
    first = repository.partition("/")[0]
    is_registry = "/" in repository and (
        any(mark in first for mark in ".:") or first == "localhost" or repository.count("/") > 1
    )
    return ImageName(first if is_registry else DOCKER_HUB, repository, digest or tag or "latest")


def repo_digest(name: str, digests: list[str]) -> str:
    """Of an image's `digests` ("repo@sha256:…") the one for `name`, as the vendor's plugin picks."""
    repository = name.partition(":")[0]
    fitting = [digest for digest in digests if digest.startswith(repository)]
    return (fitting or digests or [""])[0] if len(digests) != 1 else digests[0]
