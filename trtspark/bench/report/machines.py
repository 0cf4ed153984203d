"""What ran, on what, with which settings: once for each stack or server, however many runs it had."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from trtspark.bench.report.runs import Runs
from trtspark.bench.results import Result

_GIB = 1 << 30


def machines(runs: Runs) -> str:
    """A card for each, and the client's."""
    seen: dict[str, tuple[Result, list[str]]] = {}
    for run in runs.all:
        key = _identity(run.result)
        seen.setdefault(key, (run.result, []))[1].append(run.name)
    cards = [_card(result, names, len(runs.all)) for result, names in seen.values()]
    return f'<div class="cards">{"".join(cards)}</div>'


def _identity(result: Result) -> str:
    system = result.system.model_dump_json() if result.system else result.server.url
    return f"{result.server.model}\n{system}\n{result.client.model_dump_json()}\n{result.workload.seed}"


def _card(result: Result, names: list[str], of: int) -> str:
    title = f"Stack {result.system.stack}" if result.system else result.server.url
    about = "" if len(names) == of else f"<small>{escape('; '.join(names))}</small>"
    rows = list(_server(result))
    if result.system is not None:
        rows += _nodes(result.system.nodes)
        rows += _settings(result.system.engine)
    rows += [
        ("Prompts counted by", result.tokenizer.source),
        ("Seed", str(result.workload.seed)),
        (
            "Client",
            f"{result.client.platform}, {result.client.cores} cores; {_versions(result.client.versions)}",
        ),
    ]
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return f'<div class="card wide"><h3>{escape(title)}{about}</h3><dl>{items}</dl></div>'


def _server(result: Result) -> Iterable[tuple[str, str]]:
    yield "Model", result.server.model
    system = result.system
    if system is None:
        if result.server.version:
            yield "Server's version", result.server.version
        return
    if system.revision:
        yield "Commit", system.revision
    if system.image:
        yield "Image", system.image
    if result.server.version:
        yield "Engine", result.server.version
    for number, line in enumerate(system.transport):
        yield ("Transport" if number == 0 else ""), line
    for number, line in enumerate(system.fabric):
        yield ("Cables, as tested" if number == 0 else ""), line


def _nodes(nodes: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    for node in nodes:
        rates = [hca["rate_gbps"] for hca in node.get("hcas", ()) if hca.get("active")]
        parts = [
            str(node.get("gpu_name") or "no GPU"),
            f"{node.get('memory', 0) / _GIB:.0f} GiB",
            f"driver {node.get('driver')}",
            f"CUDA {node['cuda']}" if node.get("cuda") else "",
            f"kernel {node.get('kernel')}",
            f"Docker {node.get('docker', {}).get('version')}",
            f"fabric {' + '.join(f'{rate}' for rate in rates)} Gb/s" if rates else "no fabric",
        ]
        yield f"Node {node.get('hostname') or node.get('node')}", ", ".join(part for part in parts if part)


def _settings(engine: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    shown = {
        name: value
        for name, value in engine.items()
        if name not in ("model", "port") and value not in ([], None)
    }
    if shown:
        yield (
            "Engine's settings",
            ", ".join(
                f"{name} {value if isinstance(value, str) else json.dumps(value)}"
                for name, value in shown.items()
            ),
        )


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {text}" for name, text in versions.items())
