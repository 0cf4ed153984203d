"""Sparks that differ from a good one, for tests of bad input: `up --variant spark-2:no-gpu`."""

from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

VARIANTS = {
    "no-docker-group": "the user is not in group docker, as after the first-boot wizard",
    "sudo-password": "sudo asks for the password (it is the user's name)",
    "no-gpu": "the driver finds no GPU, as after an update of half the packages",
    "no-docker": "dockerd is not started",
    "daemon-json=FILE": "a copy of FILE is /etc/docker/daemon.json",
}


@dataclass(frozen=True)
class Variant:
    """What makes one node differ; the default is a good Spark."""

    docker_group: bool = True
    sudo_password: bool = False
    gpu: bool = True
    docker: bool = True
    daemon_json: Path | None = None


def parse(words: list[str], nodes: list[str]) -> dict[str, list[str]]:
    """Sort `[NODE:]VARIANT` words by node; one without a node is for all of `nodes`.

    Raises:
        LabError: no such node or variant, or no such file.
    """
    found: dict[str, list[str]] = {}
    for word in words:
        node, colon, variant = word.partition(":")
        if not colon or "=" in node:
            node, variant = "", word
        if node and node not in nodes:
            raise LabError(f"--variant {word}: there is no node {node!r}, only {', '.join(nodes)}.")
        name, equals, value = variant.partition("=")
        if (f"{name}=FILE" if equals else name) not in VARIANTS:
            raise LabError(f"--variant {word}: no such variant; there are {', '.join(VARIANTS)}.")
        if equals:
            if not Path(value).is_file():
                raise LabError(f"--variant {word}: there is no file {value}.")
            variant = f"{name}={Path(value).resolve()}"
        for each in [node] if node else nodes:
            found.setdefault(each, []).append(variant)
    return {node: sorted(set(variants)) for node, variants in found.items()}


def variant_of(words: list[str]) -> Variant:
    """Return what the checked words for one node mean together."""
    files = [Path(word.partition("=")[2]) for word in words if word.startswith("daemon-json=")]
    return Variant(
        docker_group="no-docker-group" not in words,
        sudo_password="sudo-password" in words,
        gpu="no-gpu" not in words,
        docker="no-docker" not in words,
        daemon_json=files[-1] if files else None,
    )
