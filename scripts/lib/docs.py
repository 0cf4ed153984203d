"""Renders the tables of docs/configuration.md and docs/checks.md from the program; run by scripts/docs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel

from cluster.catalog import CATALOG
from cluster.checks import CHECKS
from cluster.config import NodeConfig, field_names

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "docs" / "configuration.md", ROOT / "docs" / "checks.md")
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


def checks() -> str:
    """Every check, in the order in which they run."""
    rows = [[code(one.id), one.about, ", ".join(one.levels), one.fix] for one in CHECKS.values()]
    return table(["Check", "All is well when", "Level", "What helps"], rows)


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


TABLES = {"keys": keys, "nodes": nodes, "models": models, "checks": checks}


def rendered(text: str) -> str:
    """The page with every generated part as the program has it now."""
    return _PART.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)


def main(words: Sequence[str]) -> int:
    """0, or 1 when `--check` finds a page stale."""
    stale = 0
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        new = rendered(old)
        if old == new:
            continue
        if "--check" in words:
            print(f"{page.relative_to(ROOT)} is not up to the program. Run scripts/docs.", file=sys.stderr)
            stale = 1
        else:
            page.write_text(new, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
