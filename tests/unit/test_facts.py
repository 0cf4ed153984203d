"""Facts from what real machines print: every file in tests/fixtures/cases is one case.

tests/fixtures/README.md has their form and where the outputs come from. A new machine is one more file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import checks
from cluster.errors import NotPrepared
from cluster.facts import Facts
from cluster.parsing import parse
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


def readdressed(document: dict[str, Any], addresses: Mapping[str, list[str]]) -> None:
    """Give interfaces other IPv4 addresses, and their RDMA devices the GIDs that the kernel makes of them."""
    links = json.loads(document["commands"]["ip-addr"]["out"])
    for link in links:
        if link["ifname"] in addresses:
            kept = [entry for entry in link["addr_info"] if entry["family"] != "inet"]
            own = [IPv4Interface(text) for text in addresses[link["ifname"]]]
            link["addr_info"] = [
                {"family": "inet", "local": str(one.ip), "prefixlen": one.network.prefixlen} for one in own
            ] + kept
    document["commands"]["ip-addr"]["out"] = json.dumps(links)
    for device in document["rdma"]:
        netdev = device["netdevs"][0]
        if netdev in addresses:
            gids = device["gids"][:2]
            for text in addresses[netdev]:
                octets = IPv4Interface(text).ip.packed.hex()
                gid = f"0000:0000:0000:0000:0000:ffff:{octets[:4]}:{octets[4:]}"
                for kind in ("IB/RoCE v1", "RoCE v2"):
                    gids.append({"index": len(gids), "gid": gid, "type": kind, "netdev": netdev})
            device["gids"] = gids


def document(case: Mapping[str, Any]) -> dict[str, Any]:
    text = replaced(json.dumps(samples.probe(case["base"])), case.get("replace", {}))
    whole: dict[str, Any] = json.loads(text)
    readdressed(whole, case.get("addresses", {}))
    info = json.loads(whole["docker"]["info"]["out"]) | case.get("info", {})
    whole["docker"]["info"]["out"] = json.dumps(info)
    without = case.get("without", {})
    whole["net"] = {name: one for name, one in whole["net"].items() if name not in without.get("net", ())}
    links = json.loads(whole["commands"]["ip-addr"]["out"])
    kept = [link for link in links if link["ifname"] not in without.get("links", ())]
    whole["commands"]["ip-addr"]["out"] = json.dumps(kept)
    changed: dict[str, Any] = merged(whole, case.get("change", {}))
    return changed


def shown(facts: Facts) -> dict[str, Any]:
    """Facts in the plain words of the case files."""
    fire, tool = facts.firewall, facts.container_toolkit
    plain = ("platform", "kernel", "memory", "operator", "toolkit", "sudo", "daemon_json", "gpus", "cuda")
    more = ("management", "memlock", "locale", "ntp", "ipv6", "ibdev2netdev")
    return {
        "usable": [
            f"{h.name} {h.netdev} {h.address} {h.rate_gbps} Gb/s mtu {h.mtu}" for h in facts.hcas if h.usable
        ],
        "hcas": [f"{h.name} {'active' if h.active else 'down'}" for h in facts.hcas],
        "places": [f"{h.name} half {h.half} cage {h.cage}" for h in facts.hcas],
        "gpu": [facts.gpu_name, facts.gpu_uuid, facts.driver],
        "gpu_processes": [list(dataclasses.astuple(one)) for one in facts.gpu_processes],
        "docker": json.loads(json.dumps(dataclasses.asdict(facts.docker))),
        "swarm": list(dataclasses.astuple(facts.docker.swarm))[:5],
        "containers": [
            f"{one.name} {'ours' if one.ours else 'other'} {'comes back' if one.restarts else 'stays away'}"
            for one in facts.docker.containers
        ],
        "container_toolkit": [tool.version, tool.mode, tool.swarm_resource, tool.config],
        "firewall": [fire.tool, fire.known, list(fire.closed)],
        "ranks": [list(rank) for rank in facts.ranks],
        "address": str(facts.address),
        "groups": list(facts.groups),
        "netplan": list(facts.netplan),
        "routes": [str(route) for route in facts.routes],
        "clock_offset": facts.clock_offset if facts.clock_offset is None else round(facts.clock_offset, 3),
        **{key: getattr(facts, key) for key in (*plain, *more)},
    }


def findings(facts: Facts) -> list[checks.Finding]:
    """What the checks say of it beside a healthy second node."""
    second = samples.facts(2)[1]
    if facts.clock_offset is not None:
        second = dataclasses.replace(second, clock_offset=0.0)
    nodes = [{"host": host, "hostKey": samples.HOST_KEY} for host in ("spark-1", "spark-2")]
    two = samples.settings(2, nodes=nodes)
    found = checks.findings(checks.Context("dgx", two, [facts, second], [samples.cache()] * 2))
    # Fresh Sparks have their Docker restarted, all of them: test_docker_checks.py is about that.
    return [one for one in found if one.check != "docker.restart"]


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_case(path):
    case = json.loads(path.read_text())
    facts = parse("spark-1", document(case), case.get("asked"))
    wanted, found = dict(case["expect"]), shown(facts)
    said = findings(facts)
    if "findings" in wanted:
        assert [one.check for one in said] == wanted.pop("findings"), [str(one) for one in said]
    text = "\n".join(str(one) for one in said)
    assert [part for part in case.get("says", ()) if part not in text] == [], text
    assert not any("\n" in str(one) for one in said)
    docker = wanted.pop("docker", {})
    assert {key: found["docker"][key] for key in docker} == docker
    assert {key: found[key] for key in wanted} == wanted


def test_loads_and_listeners_are_no_drift():
    """What comes and goes by itself must not show in a preview."""
    quiet = samples.probe("pair-port0")
    busy = merged(
        quiet,
        {
            "tcp": [["0.0.0.0", 8355]],
            "time": 1.0,
            "files": {"/proc/meminfo": "MemTotal: 127600748 kB\nMemFree: 1 kB\n"},
            "commands": {"nvidia-smi-apps": {"out": "1, python3\n"}},
        },
    )
    assert parse("a", quiet).stable() == parse("a", busy).stable()


def test_a_pulled_cable_is_drift():
    whole = samples.probe("pair-port0")
    pulled = merged(whole, {"rdma": {"2": {"state": "1: DOWN"}}})
    before, after = (parse("a", d).stable()["hcas"] for d in (whole, pulled))
    assert set(before) - set(after) == {"rocep1s0f0 enp1s0f0np0 192.168.100.11/24 200 Gb/s"}


def test_a_gid_at_another_index_is_no_drift():
    """A restart or a link failure may move it."""
    before = samples.probe("pair-port0")
    moved = merged(before, {"rdma": {"2": {"gids": {"3": {"index": 4}}}}})
    assert parse("a", moved).stable() == parse("a", before).stable()
    assert parse("a", moved).hcas == parse("a", before).hcas


def test_a_probe_run_without_ssh_is_the_local_machine():
    local = {**samples.probe("pair-port0"), "ssh_connection": ""}
    facts = parse("localhost", local)
    assert (str(facts.address), facts.operator) == ("127.0.0.1", "")


@pytest.mark.parametrize("answer", [{}, {"format": 1, "commands": {}}, {"format": 3}])
def test_what_is_not_a_probes_document_is_refused(answer):
    with pytest.raises(NotPrepared, match="spark-1: the probe's answer has format"):
        parse("spark-1", answer)


def test_asked_without_a_cache_or_a_port():
    bare = {**samples.probe("pair-port0"), "asked": {}}
    bare["disks"].pop("cache")
    assert "cache" not in parse("spark-1", bare).disks


#: Valid, but not what is expected there.
WORDS = st.sampled_from(
    [
        "0",
        "null",
        "{}",
        "[1]",
        '[{"ifname": "a"}]',
        "1, 2, GPU-, 3",
        "a:b:c:d",
        "nvidia-container-runtime = 3",
    ]
)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(sorted(samples.probe("pair-port0")["commands"])),
    st.integers(0, 255),
    st.text(max_size=60) | WORDS,
)
def test_no_command_can_print_what_breaks_the_parser(name, code, out):
    parse("a", merged(samples.probe("pair-port0"), {"commands": {name: {"rc": code, "out": out}}}))


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(sorted(samples.probe("pair-port0")["files"])),
    st.none() | st.text(max_size=60) | WORDS,
)
def test_no_file_can_hold_what_breaks_the_parser(name, text):
    parse("a", merged(samples.probe("pair-port0"), {"files": {name: text}}))


@settings(deadline=None, max_examples=200)
@given(
    before=st.floats(0, 5),
    there=st.floats(0, 5),
    back=st.floats(0, 5),
    offset=st.floats(-1e5, 1e5),
)
def test_the_clocks_offset_is_wrong_by_less_than_the_round_trip(before, there, back, offset):
    started = 1_764_000_000.0
    time = {"time": started + before + offset, "time_after": started + before + there + offset}
    asked = (started, started + before + there + back)
    found = parse("a", {**samples.probe("pair-port0"), **time}, asked).clock_offset
    assert found is not None
    assert abs(found - offset) <= before + back + 1e-3
    assert abs(found) <= abs(offset) + 1e-3
