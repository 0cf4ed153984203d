"""Renders the generated tables and the schemas of docs/ from the program; run by scripts/docs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import yaml
from manual import commands
from pydantic import BaseModel

from cluster import engine_causes, exits, image_table, symptoms, transport_causes
from cluster.catalog import CATALOG
from cluster.checks import CHECKS
from cluster.config import NodeConfig, field_names
from cluster.live import LIVE_CHECKS
from cluster.symptoms import Symptom
from tests.unit import bad_inputs
from trtspark.bench import matrix, results

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    ROOT / "docs" / f"{name}.md"
    for name in ("configuration", "checks", "images", "troubleshooting", "trtspark", "bad-inputs")
)
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


def images() -> str:
    """What is known of each release, what is bad first."""
    rows = [
        [
            entry.span,
            entry.ranks,
            entry.models,
            entry.verdict,
            f"{entry.reason} {entry.todo}".strip(),
            ", ".join(f"<{link}>" for link in entry.links),
        ]
        for entry in sorted(image_table.ENTRIES, key=lambda one: image_table.ORDER.index(one.verdict))
    ]
    return table(["Releases", "Nodes", "Models", "Verdict", "Why, and what to do", "Source"], rows)


def checks() -> str:
    """Every check, in the order in which they run."""
    rows = [[code(one.id), one.about, ", ".join(one.levels), one.fix] for one in CHECKS.values()]
    return table(["Check", "All is well when", "Level", "What helps"], rows)


def live_checks() -> str:
    """The doctor's own checks, of what runs."""
    needs = {"deployed": "", "serving": "serving", "log": "not --quick", "answer": "serving"}
    rows = [
        [code(one.id), one.about, ", ".join(one.levels), needs.get(one.needs, "--full"), one.fix]
        for one in LIVE_CHECKS.values()
    ]
    return table(["Check", "All is well when", "Level", "Only", "What helps"], rows)


def symptom_table(rows: Iterable[Symptom]) -> str:
    """What it says, why, what to do, and what shows it."""
    listed = [[one.says, one.because, one.do, one.shows or code("trtspark doctor")] for one in rows]
    return table(["It says", "Because", "Do", "Shown by"], listed)


def engine_log() -> str:
    """What the engine's log says; what is harmless comes last."""
    rows = [
        [one.means, one.because, one.todo or "nothing", one.shows]
        for harmless in (False, True)
        for one in engine_causes.CAUSES
        if one.harmless == harmless
    ]
    return table(["Cause", "What it means", "Do", "Shown by"], rows)


def transport_log() -> str:
    """What NCCL's lines say."""
    rows = [[one.means, one.todo] for one in transport_causes.CAUSES]
    return table(["Likely cause", "Do"], rows)


def exit_codes() -> str:
    """What rank 0's exit codes mean."""
    rows = [[str(number), one.means, one.todo or "nothing"] for number, one in sorted(exits.EXITS.items())]
    return table(["Code", "Because", "Do"], rows)


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


#: Files that are written as a whole.
SCHEMAS = {"bench-result.schema.json": results.schema, "bench-matrix.schema.json": matrix.schema}
TABLES: dict[str, Callable[[], str]] = {
    "keys": keys,
    "nodes": nodes,
    "models": models,
    "checks": checks,
    "images": images,
    "live_checks": live_checks,
    "before": lambda: symptom_table(symptoms.BEFORE),
    "deploying": lambda: symptom_table(symptoms.DEPLOYING),
    "waiting": lambda: symptom_table(symptoms.WAITING),
    "serving": lambda: symptom_table(symptoms.SERVING),
    "engine_log": engine_log,
    "transport_log": transport_log,
    "exit_codes": exit_codes,
    "commands": commands,
    "bad_inputs": bad_inputs.table,
}


def rendered(text: str) -> str:
    """The page with every generated part as the program has it now."""
    return _PART.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)


def main(words: Sequence[str]) -> int:
    """0, or 1 when `--check` finds a page stale."""
    stale = 0
    pages = [(page, rendered(page.read_text(encoding="utf-8"))) for page in PAGES]
    pages += [(ROOT / "docs" / name, text()) for name, text in SCHEMAS.items()]
    for page, new in pages:
        if page.is_file() and page.read_text(encoding="utf-8") == new:
            continue
        if "--check" in words:
            print(f"{page.relative_to(ROOT)} is not up to the program. Run scripts/docs.", file=sys.stderr)
            stale = 1
        else:
            page.write_text(new, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
