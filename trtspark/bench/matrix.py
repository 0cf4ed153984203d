"""The matrix of a run over many models: a row each, kept after every one, so that it can be gone on with."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from cluster.errors import ConfigError
from trtspark.bench.results import Distribution, Part, Result

Status = Literal["SUCCESS", "SKIPPED", "SWITCH_FAILED", "API_TIMEOUT", "BENCH_FAILED", "INTERRUPTED"]
#: What is not done again when a matrix is gone on with.
DONE: tuple[Status, ...] = ("SUCCESS", "SKIPPED")
#: Where there is no figure.
NOTHING = "N/A"
#: What a formula begins with, in full width too.
_COMPUTED = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


class Row(Part):
    """One model. Figures are null unless it was measured."""

    model: str
    tp: int | None = Field(default=None, description="tensorParallel")
    nodes: int | None = None
    output_tps: float | None = Field(default=None, description="output tokens/s")
    total_tps: float | None = Field(default=None, description="prompt and output tokens/s")
    requests_per_s: float | None = None
    user_tps_p50: float | None = Field(default=None, description="tokens/s of one user")
    mean_latency_ms: float | None = Field(default=None, description="end to end")
    p99_latency_ms: float | None = Field(default=None, description="end to end")
    ttft_p50_ms: float | None = None
    ttft_p99_ms: float | None = None
    tpot_p50_ms: float | None = None
    itl_p99_ms: float | None = None
    failed: int | None = Field(default=None, description="requests that failed")
    tokens_per_j: float | None = None
    ready_s: float | None = Field(default=None, description="from the start of the server to its answer")
    revision: str | None = None
    transport: str | None = Field(default=None, description="of the first rank")
    status: Status
    reason: str = Field(default="", description="why it was skipped or failed")
    result: str | None = Field(default=None, description="the run's file, beside the matrix")


class Matrix(Part):
    """All of them."""

    format: Literal[1] = 1
    kind: Literal["trtspark-bench-matrix"] = "trtspark-bench-matrix"
    started: datetime
    stack: str
    profile: str
    single_node: bool
    original: str = Field(description="the stack's own model, which serves again at the end")
    models: list[str]
    restored: bool = Field(default=True, description="whether the stack's own model serves")
    results: list[Row] = Field(default_factory=list)

    @property
    def left(self) -> list[str]:
        """Models to be done yet, or again."""
        done = {row.model for row in self.results if row.status in DONE}
        return [model for model in self.models if model not in done]

    def with_row(self, row: Row) -> Matrix:
        """The same with this row in its model's place."""
        rows = {one.model: one for one in self.results} | {row.model: row}
        ordered = [rows[model] for model in self.models if model in rows]
        return self.model_copy(update={"results": ordered})


#: The first seven are those of the shell scripts this project succeeds; readers of theirs go on working.
COLUMNS = {
    "Model": "model",
    "TP": "tp",
    "Output_TPS": "output_tps",
    "Total_TPS": "total_tps",
    "Mean_Latency_ms": "mean_latency_ms",
    "P99_Latency_ms": "p99_latency_ms",
    "Status": "status",
    "Nodes": "nodes",
    "Requests_per_s": "requests_per_s",
    "User_TPS_P50": "user_tps_p50",
    "TTFT_P50_ms": "ttft_p50_ms",
    "TTFT_P99_ms": "ttft_p99_ms",
    "TPOT_P50_ms": "tpot_p50_ms",
    "ITL_P99_ms": "itl_p99_ms",
    "Failed": "failed",
    "Tokens_per_J": "tokens_per_j",
    "Ready_s": "ready_s",
    "Transport": "transport",
    "Revision": "revision",
    "Reason": "reason",
}


def measured(result: Result, tp: int, nodes: int, ready_s: float | None, file: str) -> Row:
    """A row from a run."""
    found = result.figures
    first, each, whole, user = found.ttft_s, found.tpot_s, found.e2e_s, found.user_tokens_per_s
    system = result.system
    complete = result.complete and found.completed > 0
    reason = "" if complete else "interrupted" if not result.complete else "no request was answered"
    return Row(
        model=result.server.model,
        tp=tp,
        nodes=nodes,
        output_tps=_round(found.output_tokens_per_s),
        total_tps=_round(found.total_tokens_per_s),
        requests_per_s=_round(found.requests_per_s),
        user_tps_p50=_round(user.p50) if user else None,
        mean_latency_ms=_ms(whole, "mean"),
        p99_latency_ms=_ms(whole, "p99"),
        ttft_p50_ms=_ms(first, "p50"),
        ttft_p99_ms=_ms(first, "p99"),
        tpot_p50_ms=_ms(each, "p50"),
        itl_p99_ms=_ms(found.itl_s, "p99"),
        failed=found.failed,
        tokens_per_j=_round(result.samples.tokens_per_j) if result.samples else None,
        ready_s=_round(ready_s),
        revision=system.revision if system else None,
        transport=system.transport[0] if system and system.transport else None,
        status="SUCCESS" if complete else "BENCH_FAILED" if result.complete else "INTERRUPTED",
        reason=reason,
        result=file,
    )


def _ms(found: Distribution | None, name: str) -> float | None:
    return _round(1e3 * getattr(found, name)) if found else None


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def as_csv(rows: Sequence[Row]) -> str:
    """The table as CSV; N/A where there is no figure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        values = (getattr(row, name) for name in COLUMNS.values())
        writer.writerow([_cell(value) for value in values])
    return text.getvalue()


def _cell(value: object) -> object:
    """A cell; a text is one line, with an apostrophe before what a spreadsheet would compute: it hides it."""
    if isinstance(value, str):
        line = " ".join(value.split())
        value = f"'{line}" if line.startswith(_COMPUTED) else line
    return NOTHING if value is None or value == "" else value


def path(folder: Path, matrix: Matrix) -> Path:
    """matrix-STACK-20261124T010203Z.json."""
    return folder / f"matrix-{matrix.stack.replace('/', '_')}-{matrix.started:%Y%m%dT%H%M%SZ}.json"


def save(folder: Path, matrix: Matrix) -> Path:
    """Both files, each whole or as it was. Raises ConfigError."""
    wanted = path(folder, matrix)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        texts = {
            wanted: matrix.model_dump_json(indent=1) + "\n",
            wanted.with_suffix(".csv"): as_csv(matrix.results),
        }
        for place, text in texts.items():
            draft = place.with_name(f".{place.name}.{os.getpid()}")
            draft.write_text(text, encoding="utf-8")
            draft.replace(place)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}") from None
    return wanted


def last(folder: Path, stack: str) -> Matrix | None:
    """The stack's last matrix in a folder; None when there is none. Raises ConfigError for a broken one."""
    found = sorted(folder.glob(f"matrix-{stack.replace('/', '_')}-*.json"))
    if not found:
        return None
    try:
        return Matrix.model_validate_json(found[-1].read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{found[-1]} is no matrix of this version: {str(error).splitlines()[0]}") from None


def schema() -> str:
    """The format as JSON Schema."""
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Matrix.model_json_schema(mode="serialization"),
        "title": "Runs of trtspark bench --all",
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
