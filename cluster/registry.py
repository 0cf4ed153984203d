"""What an image registry answers about an image, to a node and to the operator. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from cluster.redaction import Redaction

#: `there`: the registry has it. `missing`: it has no such image. `denied`: it wants a login. `busy`: it
#: refuses for the moment. `untrusted`: its certificate is not trusted. `unreachable`: no connection.
#: `silent`: no answer in time. `unknown`: something else, in `said`.
Word = Literal["there", "missing", "denied", "busy", "untrusted", "unreachable", "silent", "unknown"]

#: What Docker Engine and containerd say, in the order in which the forms are tried. Docker Hub's and
#: NGC's registries answer `denied` for a repository that does not exist, too.
_FORMS: Sequence[tuple[Word, re.Pattern[str]]] = (
    ("untrusted", re.compile(r"x509:|certificate|HTTP response to HTTPS client|tls: ", re.I)),
    (
        "unreachable",
        re.compile(
            r"dial tcp|no such host|connection refused|connection reset|i/o timeout|no route to host"
            r"|network is unreachable|name resolution|server misbehaving|proxyconnect|Client\.Timeout"
            r"|deadline exceeded|handshake timeout|\bEOF\b",
            re.I,
        ),
    ),
    (
        "busy",
        re.compile(
            r"too ?many ?requests|\b429\b|rate limit|status:? (?:code )?50\d"
            r"|\b50[0234] (?:Internal|Bad|Service|Gateway)",
            re.I,
        ),
    ),
    ("missing", re.compile(r"manifest unknown|name unknown|name_unknown|manifest_unknown|not found", re.I)),
    ("denied", re.compile(r"unauthorized|denied|authentication required|no basic auth|\b40[13]\b", re.I)),
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PLATFORM = re.compile(r"[a-z0-9]{1,20}/[a-z0-9_]{1,20}")
#: As in remote/node/probe.py.
ENV = (
    "CUDA_DRIVER_VERSION",
    "CUDA_VERSION",
    "NCCL_VERSION",
    "NVIDIA_REQUIRE_CUDA",
    "OPENMPI_VERSION",
    "TRT_LLM_VERSION",
)
SAID_LETTERS = 200
_ENV_LETTERS = 2000
_MOST_PLATFORMS = 50


@dataclass(frozen=True)
class Answer:
    """One answer. `digest`, `platforms` (linux/arm64) and `env` (of the platform's image) are empty where
    they are not known; `said` is the registry's or Docker's own text, one line.
    """

    word: Word
    said: str = ""
    digest: str = ""
    platforms: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """`node`: who was asked on the nodes' side, by its own Docker; `lacking`: the nodes without the image."""

    lacking: tuple[str, ...]
    node: str
    of_node: Answer
    of_operator: Answer


def of_docker(raw: Mapping[str, Any]) -> Answer:
    """From remote/node/registry.py's answer: Docker's own JSON, or its error's text."""
    if raw.get("silent"):
        return Answer("silent", "no answer in time")
    if raw.get("error"):
        return refused(str(raw["error"]))
    descriptor = raw.get("descriptor")
    digest = descriptor.get("digest", "") if isinstance(descriptor, Mapping) else ""
    return Answer("there", digest=checked_digest(digest), platforms=platforms(raw.get("platforms")))


def refused(text: str) -> Answer:
    """The answer that an error's text means."""
    with suppress(ValueError, KeyError, TypeError):
        text = json.loads(text)["message"]
    said = one_line(str(text))
    return Answer(next((word for word, form in _FORMS if form.search(said)), "unknown"), said)


def one_line(text: str) -> str:
    """Printable, without credentials, and not too long."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * SAID_LETTERS])
    return Redaction().text(" ".join(plain.split()))[:SAID_LETTERS]


def checked_digest(text: Any) -> str:
    """`text` where it is a digest, else ""."""
    return text if isinstance(text, str) and _DIGEST.fullmatch(text) else ""


def platforms(raw: Any) -> tuple[str, ...]:
    """OS/ARCHITECTURE of {"os", "architecture"}; an index lists attestations as unknown/unknown."""
    found = []
    for one in raw[:_MOST_PLATFORMS] if isinstance(raw, list) else ():
        name = f"{one.get('os')}/{one.get('architecture')}" if isinstance(one, Mapping) else ""
        if _PLATFORM.fullmatch(name) and name != "unknown/unknown":
            found.append(name)
    return tuple(dict.fromkeys(found))


def env_of(words: Any) -> dict[str, str]:
    """What NVIDIA's images tell in their environment, of ["NAME=VALUE", …]."""
    listed = (
        [word.partition("=") for word in words if isinstance(word, str)] if isinstance(words, list) else []
    )
    return {name: value[:_ENV_LETTERS] for name, _, value in listed if name in ENV}
