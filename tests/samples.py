"""Samples: probe documents of a Spark as recorded in public listings, and the facts they give."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.config import Settings
from cluster.facts import Facts
from cluster.parsing import parse
from remote.preflight import Look
from remote.ssh import Connection

PROBES = Path(__file__).parent / "fixtures" / "probes"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxh"
COMMIT = "b5c939de8f754692c1647ca79fbf85e8c1e70f8a"


def probe(name: str) -> dict[str, Any]:
    """The recorded document tests/fixtures/probes/NAME.json."""
    document: dict[str, Any] = json.loads((PROBES / f"{name}.json").read_text())
    return document


def numbered(document: Mapping[str, Any], index: int) -> dict[str, Any]:
    """The same machine as another one: node `index` (from 0) with its own addresses, UUID and name."""
    text = json.dumps(document)
    for old, new in (
        ("10.24.11.11", f"10.24.11.{11 + index}"),
        ("192.168.100.11", f"192.168.100.{11 + index}"),
        ("192.168.101.11", f"192.168.101.{11 + index}"),
        ("c0a8:640b", f"c0a8:64{11 + index:02x}"),
        ("c0a8:650b", f"c0a8:65{11 + index:02x}"),
        ("000000000001", f"{1 + index:012d}"),
        ("spark-1", f"spark-{1 + index}"),
    ):
        text = text.replace(old, new)
    renewed: dict[str, Any] = json.loads(text)
    return renewed


def documents(count: int) -> list[dict[str, Any]]:
    """`count` cabled Sparks, head first."""
    return [numbered(probe("pair-port0"), index) for index in range(count)]


def facts(count: int) -> list[Facts]:
    """Their facts."""
    return [parse(f"10.24.11.{11 + i}", document) for i, document in enumerate(documents(count))]


def cache(**changes: Any) -> dict[str, Any]:
    """hub_cache's answer where the model is there and whole."""
    answer = {
        "folder": "/home/nvidia/.cache/huggingface",
        "models": ["openai/gpt-oss-120b", "openai/gpt-oss-20b"],
        "commit": COMMIT,
        "files": {"config.json": 100, "model.safetensors": 1000},
        "blobs": {"config.json": "c" * 40, "model.safetensors": "d" * 64},
        "problems": [],
        "tiktoken": True,
        "config": "",
    }
    return {**copy.deepcopy(answer), **changes}


def look(count: int) -> Look:
    """A look at `count` machines that are all right."""
    return Look(tuple(facts(count)), tuple(cache() for _ in range(count)))


def settings(count: int, **changes: Any) -> Settings:
    """Settings of `count` nodes; `changes` by their names in the stack's configuration."""
    nodes = [{"host": f"10.24.11.{11 + i}", "hostKey": HOST_KEY} for i in range(count)]
    return Settings.model_validate({"nodes": nodes, "model": "openai/gpt-oss-120b", **changes})


def connections(count: int) -> list[Connection]:
    """Their logins."""
    return [Connection(f"10.24.11.{11 + i}", "nvidia", 22, HOST_KEY, None) for i in range(count)]
