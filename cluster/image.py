"""The serving image: one and the same on all nodes by digest, and with what the launch needs in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cluster import image_name
from cluster.errors import PlanError
from cluster.facts import Image
from cluster.registry import ENV
from cluster.release import Release, numbers
from cluster.release import parse as parse_release


def agreed(image: str, nodes: Sequence[str], digests: Sequence[str]) -> str:
    """The digest (NAME@sha256:…) that all nodes have for `image`, head first.

    Digests are the registry's: an image's id is another thing in each of Docker's two image stores, and
    differs between two nodes for one image. Raises PlanError naming both where one has another digest.
    """
    for node, digest in zip(nodes, digests, strict=True):
        # One image may have several names on a node, and Docker lists the digests under all of them.
        if digest.rpartition("@")[2] != digests[0].rpartition("@")[2]:
            raise PlanError(
                f"{image} is not one image on all nodes: {nodes[0]} has {_short(digests[0])}, "
                f"{node} has {_short(digest)}. The tag moved between their pulls: `docker pull {image}` on "
                "both, or set image to a digest."
            )
    # One that was loaded, not pulled, has no digest: it is used by its name.
    return digests[0] or image


def digests_of(name: str, image: Image | None) -> frozenset[str]:
    """The digests (sha256:…) under which a node has pulled the image of that name."""
    if image is None:
        return frozenset()
    wanted = image_name.parsed(name)
    listed = [image_name.parsed(one) for one in image.digests]
    return frozenset(
        one.digest
        for one in listed
        if (one.registry, one.repository) == (wanted.registry, wanted.repository) and one.digest
    )


def release_of(name: str, *environments: Mapping[str, str]) -> Release | None:
    """The release of TensorRT-LLM in an image: by the first environment that tells it, else by the tag."""
    told = (parse_release(env.get("TRT_LLM_VERSION", "")) for env in environments)
    return next((one for one in told if one), image_name.parsed(name).release)


@dataclass(frozen=True)
class DriverProblem:
    """What is wrong with a node's driver for an image; `fatal`: nothing would start."""

    fatal: bool
    found: str
    todo: str


_UPGRADE = "Run there `sudo apt update && sudo apt full-upgrade` and reboot, or set an older image."
_REQUIRED_CUDA = re.compile(r"cuda>=(\d+(?:\.\d+)?)")


def driver_problem(env: Mapping[str, str], driver: str, cuda: str) -> DriverProblem | None:
    """Compares what NVIDIA's images tell in their environment with a node's driver and its CUDA version.

    NVIDIA's container runtime refuses a container whose NVIDIA_REQUIRE_CUDA is not met, and a driver runs
    programs of its own CUDA generation, whatever the second number (minor version compatibility). Within
    a branch of drivers the image's start-up text wants the one it was built with, or a later one.
    """
    have, built = numbers(cuda)[:2], numbers(env.get("CUDA_VERSION", ""))[:2]
    required = _REQUIRED_CUDA.fullmatch(env.get("NVIDIA_REQUIRE_CUDA", "").strip())
    least = numbers(required[1]) if required else ()
    if have and ((least and have < least) or (built and have[0] < built[0])):
        needed = ".".join(map(str, max(least, built[:1])))
        return DriverProblem(
            True, f"its driver {driver} is for CUDA {cuda}, and the image needs CUDA {needed}.", _UPGRADE
        )
    mine, theirs = numbers(driver)[:2], numbers(env.get("CUDA_DRIVER_VERSION", ""))[:2]
    if mine and theirs and mine[0] == theirs[0] and mine < theirs:
        wanted = ".".join(map(str, theirs))
        return DriverProblem(
            False,
            f"the image was built for NVIDIA driver {wanted} or later, and this machine has {driver}.",
            f"{_UPGRADE} Kernels may fail until then.",
        )
    return None


def _short(digest: str) -> str:
    return digest.rpartition("@")[2][:19] or "none"


#: The oldest Python that rank 0's program runs with.
PYTHON = (3, 10)
#: Open MPI from 4.1 to before 6, which it knows: each silently ignores the other's options.
OPENMPI = ((4, 1), (6,))
_ENV_LETTERS = 2000
_LINE = re.compile(r"^trtspark (\S+) ?(.*)$", re.M)
_OPENMPI = re.compile(r"\(Open ?MPI\) (\d+(?:\.\d+)*)")


@dataclass(frozen=True)
class ImageFacts:
    """What a serving image has; "" for what it has not."""

    openmpi: str
    """Its version, or the first line of another mpirun."""
    python: str
    serve: str
    launch: str
    ssh: str
    transformers: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    """What NVIDIA's images tell in their environment: TRT_LLM_VERSION, NCCL_VERSION, …"""


def parse(text: str) -> ImageFacts:
    """From what remote/image_check.sh printed; an entrypoint's banner around it does not matter."""
    found = {name: value.strip() for name, value in _LINE.findall(text)}
    version = found.get("mpirun-version", "") if found.get("mpirun") else ""
    open_mpi = _OPENMPI.search(version)
    return ImageFacts(
        openmpi=open_mpi.group(1) if open_mpi else version,
        python=found.get("python3-version", "") if found.get("python3") else "",
        serve=found.get("trtllm-serve", ""),
        launch=found.get("trtllm-llmapi-launch", ""),
        ssh=found.get("ssh", ""),
        transformers=found.get("transformers", ""),
        env={name: found[name][:_ENV_LETTERS] for name in ENV if found.get(name)},
    )


def lacking(facts: ImageFacts, several: bool) -> list[str]:
    """What the launch needs and the image has not; several ranks need more. Its ssh client is not among
    it: the head's own is brought along.
    """
    found = []
    if not facts.serve:
        found.append("trtllm-serve")
    if numbers(facts.python)[:2] < PYTHON:
        found.append(f"Python 3.10 or later (it has {facts.python or 'none'})")
    if several and not facts.launch:
        found.append("trtllm-llmapi-launch")
    if several and not OPENMPI[0] <= numbers(facts.openmpi) < OPENMPI[1]:
        found.append(f"mpirun of Open MPI 4.1 or 5 (it has {facts.openmpi or 'none'})")
    return found


def usable(image: str, nodes: Sequence[str], facts: Sequence[ImageFacts], several: bool) -> ImageFacts:
    """The head's facts. Raises PlanError naming what an image lacks, or nodes that differ in Open MPI."""
    for node, one in zip(nodes, facts, strict=True):
        if missing := lacking(one, several):
            raise PlanError(
                f"{image} on {node} lacks {', '.join(missing)}. Set image to a release of TensorRT-LLM, such "
                "as nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc5. What served before was not touched."
            )
        if several and one.openmpi != facts[0].openmpi:
            raise PlanError(
                f"{image} is not one image on all nodes: {nodes[0]} has Open MPI {facts[0].openmpi} in it, "
                f"{node} {one.openmpi}. `docker pull {image}` on both, or set image to a digest."
            )
    return facts[0]
