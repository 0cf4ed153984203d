"""Facts from what real machines print: every file in tests/fixtures/cases is one case.

{"base": a recorded document, "replace": {text: text}, "change": deep merge (a list's entries by their
index), "expect": {key: value} or "error": [parts of the sentence]}. A new machine is one more file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster import facts as parsing
from cluster.errors import NotPrepared
from cluster.facts import Facts
from tests import samples

CASES = sorted((Path(__file__).parents[1] / "fixtures" / "cases").glob("*.json"))


def merged(base: Any, change: Any) -> Any:
    if isinstance(base, list) and isinstance(change, Mapping):
        return [merged(entry, change[str(i)]) if str(i) in change else entry for i, entry in enumerate(base)]
    if isinstance(base, Mapping) and isinstance(change, Mapping):
        return {**base, **{key: merged(base.get(key), value) for key, value in change.items()}}
    return change


def replaced(text: str, words: Mapping[str, str]) -> str:
    """All at once, so that two names can change places."""
    for index, old in enumerate(words):
        text = text.replace(old, f"<{index}>")
    for index, new in enumerate(words.values()):
        text = text.replace(f"<{index}>", new)
    return text


def document(case: Mapping[str, Any]) -> dict[str, Any]:
    text = replaced(json.dumps(samples.probe(case["base"])), case.get("replace", {}))
    whole: dict[str, Any] = merged(json.loads(text), case.get("change", {}))
    return whole


def shown(facts: Facts) -> dict[str, Any]:
    """Facts in the plain words of the case files."""
    first = ("version", "runtimes", "default_runtime", "swarm_state", "live_restore")
    docker = {key: getattr(facts.docker, key) for key in first} | {"runtimes": list(facts.docker.runtimes)}
    return {
        "usable": [
            f"{h.name} {h.netdev} {h.address} gid {h.gid_index} {h.rate_gbps} Gb/s mtu {h.mtu}"
            for h in facts.hcas
            if h.usable
        ],
        "hcas": [f"{h.name} {'active' if h.active else 'down'}" for h in facts.hcas],
        "gpu": [facts.gpu_name, facts.gpu_uuid, facts.driver],
        "docker": docker,
        "ranks": [list(rank) for rank in facts.ranks],
        "address": str(facts.address),
        **{key: getattr(facts, key) for key in ("platform", "kernel", "memory", "operator")},
        **{key: getattr(facts, key) for key in ("toolkit", "sudo", "daemon_json")},
    }


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_case(path):
    case = json.loads(path.read_text())
    if "error" in case:
        with pytest.raises(NotPrepared) as caught:
            parsing.parse("spark-1", document(case))
        said = str(caught.value)
        assert [part for part in case["error"] if part not in said] == [], said
        assert "\n" not in said
    else:
        found = shown(parsing.parse("spark-1", document(case)))
        assert {key: found[key] for key in case["expect"]} == case["expect"]


def test_loads_and_listeners_are_no_drift():
    """What comes and goes by itself must not show in a preview."""
    quiet = samples.probe("pair-port0")
    busy = merged(
        quiet,
        {
            "listening": [["0.0.0.0", 8355]],
            "time": 1.0,
            "files": {"/proc/meminfo": "MemTotal: 127600748 kB\nMemFree: 1 kB\n"},
            "commands": {"docker-ranks": {"out": "dgx 0 8355\n"}},
        },
    )
    assert parsing.parse("a", quiet).stable() == parsing.parse("a", busy).stable()


def test_a_pulled_cable_is_drift():
    whole = samples.probe("pair-port0")
    pulled = merged(whole, {"rdma": {"2": {"state": "1: DOWN"}}})
    before, after = (parsing.parse("a", d).stable()["hcas"] for d in (whole, pulled))
    assert set(before) - set(after) == {"rocep1s0f0 enp1s0f0np0 192.168.100.11/24 gid 3 200 Gb/s"}


def test_a_probe_run_without_ssh_is_the_local_machine():
    local = {**samples.probe("pair-port0"), "ssh_connection": ""}
    facts = parsing.parse("localhost", local)
    assert (str(facts.address), facts.operator) == ("127.0.0.1", "")
