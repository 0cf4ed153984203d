"""The model's files: what there is to have, and which node gets what from whom. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cluster import catalog
from cluster.config import Settings
from cluster.fabric import Fabric

SHA256_DIGITS = 64


@dataclass(frozen=True)
class ModelFile:
    """One file of a revision. `path` in the repository, `size` in bytes.

    `digest` is what the Hub calls it, and the name of its blob in the cache: the content's SHA-256 (64 hex
    digits) where `lfs`, else git's blob id (40 hex digits: SHA-1 over "blob SIZE", a zero, the content).
    """

    path: str
    size: int
    digest: str
    lfs: bool


@dataclass(frozen=True)
class ModelFiles:
    """Every file of `model` that the engine needs, at one Hub commit (40 hex digits).

    `endpoint` is the Hub's address, without a slash at its end ("" when it was not asked).
    """

    model: str
    commit: str
    endpoint: str
    files: tuple[ModelFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def as_props(self) -> dict[str, Any]:
        """Plain data for a resource's inputs."""
        return {**asdict(self), "files": [asdict(file) for file in self.files]}

    @staticmethod
    def from_props(props: Mapping[str, Any]) -> ModelFiles:
        """The inverse of `as_props`; Pulumi hands numbers back as floats."""
        files = tuple(
            ModelFile(one["path"], int(one["size"]), one["digest"], bool(one["lfs"]))
            for one in props["files"]
        )
        return ModelFiles(props["model"], props["commit"], props["endpoint"], files)


@dataclass(frozen=True)
class Half:
    """One way to a node: an address on one of its interfaces, and the subnet it is in ("a.b.c.d/n")."""

    subnet: str
    address: str
    interface: str


@dataclass(frozen=True)
class Link:
    """How a reader reaches a server: through its own half to the server's half number `half`."""

    own: Half
    other: Half
    half: int


#: A file's source: the Hub, the operator ("sent"), another node's number, or None where it is there already.
Source = str | int | None


@dataclass(frozen=True)
class Work:
    """What one node has to do: a source for each file, and how many other nodes read from it."""

    sources: tuple[Source, ...]
    readers: int

    @property
    def idle(self) -> bool:
        """Nothing to fetch and nobody to serve."""
        return not self.readers and all(source is None for source in self.sources)


def assign(
    sizes: Sequence[int],
    there: Sequence[Sequence[bool]],
    wanted: Sequence[Sequence[bool]],
    sent: Sequence[bool] | None = None,
) -> list[Work]:
    """Who fetches what from whom.

    `sizes[f]` in bytes; `there[n][f]`: node n holds file f whole; `wanted[n][f]`: it shall; `sent[f]`: the
    operator has it. What nobody holds is fetched from the Hub once, by the node that holds most already
    (the head among equals); it goes on from node to node in a chain, each handing on while it receives,
    so that no cable carries a file twice in one direction.
    """
    nodes = range(len(there))
    held = [sum(size for size, have in zip(sizes, there[n], strict=True) if have) for n in nodes]
    fetcher = max(nodes, key=lambda n: (held[n], -n))
    sources: list[list[Source]] = [[None] * len(sizes) for _ in nodes]
    for file in range(len(sizes)):
        holders = [n for n in nodes if there[n][file]]
        lacking = [n for n in nodes if wanted[n][file] and not there[n][file]]
        if not lacking:
            continue
        if not holders:
            first = fetcher if fetcher in lacking else lacking[0]
            sources[first][file] = "sent" if sent and sent[file] else "hub"
            lacking.remove(first)
            holders = [first]
        chain = [*holders, *lacking]
        for place, node in enumerate(lacking):
            # One reader for each holder, then one for each of those: chains side by side.
            sources[node][file] = chain[place]
    servers = [{source for source in mine if isinstance(source, int)} for mine in sources]
    return [Work(tuple(mine), sum(n in servers[other] for other in nodes)) for n, mine in enumerate(sources)]


#: What a node tells of a folder that no other can have.
OWN: Mapping[str, Any] = {"network": False, "names": ()}


def sharing(folders: Sequence[Mapping[str, Any]]) -> dict[int, list[int]]:
    """A node's number -> those after it that have the same folder. `folders[n]`: what node n tells of its own
    (remote/node/shared_folder.py).
    """
    found: dict[int, list[int]] = {}
    for number, mine in enumerate(folders):
        first = next((one for one in found if _same(mine, folders[one])), None)
        if first is None:
            found[number] = []
        else:
            found[first].append(number)
    return found


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Cloned disks have inodes and times in common, so one of the two must be mounted from elsewhere."""
    return bool((one["network"] or other["network"]) and set(one["names"]) & set(other["names"]))


def links(reader: Sequence[Half], server: Sequence[Half]) -> list[Link]:
    """Every half of the cable that two nodes share, by their subnets; twins in one subnet in order."""
    left = list(enumerate(server))
    found = []
    for own in reader:
        match = next((pair for pair in left if pair[1].subnet == own.subnet), None)
        if match:
            left.remove(match)
            found.append(Link(own, match[1], match[0]))
    return found


def halves(fabric: Fabric, over: str) -> list[list[Half]]:
    """Each node's ways for copies: its halves of the fabric; the management link where there are none and
    `over` is "any".
    """
    found = []
    for rank in fabric.ranks:
        mine = [
            Half(str(hca.address.network), str(hca.address.ip), hca.netdev)
            for hca in rank.hcas
            if hca.address is not None
        ]
        if not mine and over == "any":
            mine = [Half("management", str(rank.address), rank.interface)]
        found.append(mine)
    return found


def missing(files: ModelFiles, cache: Mapping[str, Any]) -> str:
    """What a node lacks, by sizes alone (remote/node/hub_cache.py's answer); "" when nothing."""
    there = cache["files"] if cache["commit"] == files.commit else {}
    absent = [file for file in files.files if there.get(file.path) != file.size]
    if not absent:
        return ""
    if len(absent) == 1:
        return f"{absent[0].path} ({absent[0].size / 1e9:.1f} GB)"
    return f"{len(absent)} files ({sum(file.size for file in absent) / 1e9:.1f} GB)"


def with_digests(files: ModelFiles, caches: Sequence[Mapping[str, Any]]) -> ModelFiles:
    """The same files with the digests that the nodes' caches know, where the Hub was not asked.

    A cache names its blobs by them. What stays unknown ("") is compared by its size alone.
    """
    known: dict[str, str] = {}
    for cache in caches:
        if cache["commit"] == files.commit and not cache["problems"]:
            known = {**cache.get("blobs", {}), **known}
    found = tuple(
        replace(file, digest=known[file.path], lfs=len(known[file.path]) == SHA256_DIGITS)
        if not file.digest and file.path in known
        else file
        for file in files.files
    )
    return replace(files, files=found)


def vocabularies(settings: Settings, architecture: str = "") -> list[dict[str, Any]]:
    """OpenAI's vocabularies as files of the head's cache, for the models that need them. `architecture`: of
    the model's config.json, "" where it is not known.
    """
    if not catalog.is_gpt_oss(settings.model, architecture):
        return []
    return [
        {
            "path": f"tiktoken-encodings/{name}",
            "size": pin.size,
            "digest": pin.sha256,
            "url": f"{settings.tiktoken.url}/{name}",
        }
        for name, pin in sorted(settings.tiktoken.pins.items())
    ]
