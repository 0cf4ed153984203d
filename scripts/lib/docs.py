"""Renders the tables of docs/configuration.md from the program; run by scripts/docs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel

from cluster.catalog import CATALOG
from cluster.config import NodeConfig, field_names

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"
_PART = re.compile(r"(?s)(<!-- generated: (\w+) -->\n).*?(<!-- /generated -->)")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, with its cells' own bars escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in lines)


def keys() -> str:
    """Every key of a stack, with Pulumi.yaml's default: what a preview shows when nobody set it."""
    schema = yaml.safe_load((ROOT / "Pulumi.yaml").read_text(encoding="utf-8"))["config"]
    rows = [[code(name), text, _default(schema[name])] for name, text in field_names().items()]
    return table(["Key", "What it may be", "Default"], rows)


def nodes() -> str:
    """The keys of one entry of `nodes`."""
    rows = [
        [code(field.alias or name), field.description or "", _node_default(NodeConfig, name)]
        for name, field in NodeConfig.model_fields.items()
    ]
    return table(["Key", "What it may be", "Default"], rows)


def models() -> str:
    """The catalog: what each model is told unless the configuration says otherwise."""
    head = ["Model", "GB", "Weights", "maxBatchSize", "maxNumTokens", "gpuMemoryFraction", "Notes"]
    rows = []
    for model in CATALOG:
        notes = [
            "gated" if model.gated else "",
            "trustRemoteCode" if model.trust_remote_code else "",
            "needs OpenAI's vocabularies" if model.harmony else "",
            model.note,
        ]
        numbers = [model.max_batch_size, model.max_num_tokens]
        fraction = f"{model.gpu_memory_fraction:.2f}"
        noted = "; ".join(filter(None, notes))
        rows.append(
            [code(model.id), f"{model.size_gb:g}", model.quantisation, *map(str, numbers), fraction, noted]
        )
    return table(head, rows)


def code(text: str) -> str:
    return f"`{text}`"


def _default(entry: dict[str, object]) -> str:
    if "default" not in entry:
        return "required"
    found = entry["default"]
    if found == "" or found == {}:
        return "none"
    return code(str(found).lower() if isinstance(found, bool) else str(found))


def _node_default(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    if field.is_required():
        return "required"
    return code(str(field.default)) if field.default else "none"


TABLES = {"keys": keys, "nodes": nodes, "models": models}


def rendered(text: str) -> str:
    """The page with every generated part as the program has it now."""
    return _PART.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)


def main(words: Sequence[str]) -> int:
    """0, or 1 when `--check` finds the page stale."""
    old = PAGE.read_text(encoding="utf-8")
    new = rendered(old)
    if "--check" in words:
        if old != new:
            print(f"{PAGE.relative_to(ROOT)} is not up to the program. Run scripts/docs.", file=sys.stderr)
        return int(old != new)
    if old != new:
        PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
