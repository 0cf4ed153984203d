"""A run as a file: everything that makes it repeatable, its figures, and a row per request.

The models here are the format; docs/bench-result.schema.json is written from them (scripts/docs). Units are
in the names: `_s` seconds, `_per_s` per second, `_w` watts, `_j` joules, `_bytes`. Lists of one group have
one length and belong together by index.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cluster.errors import ConfigError

DEFAULT_FOLDER = ".bench"
#: A result larger than this is none of ours.
MAX_BYTES = 512 << 20


class Part(BaseModel):
    """A part of the format: unknown names are refused, so that a file is what its schema says."""

    # A figure that is infinite or no number is a string: JSON has neither, and null would be no figure.
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class Distribution(Part):
    """A distribution in figures."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    min: float
    max: float
    count: int


class ClientFigures(Part):
    """The client's own part in what was measured."""

    lag_s: Distribution | None = Field(description="how late its event loop was, asked every 5 ms")
    late_starts_s: Distribution | None = Field(description="open loop: how long after its time each started")
    cpu_cores: float = Field(description="cores it used, on average")
    peak_memory_bytes: int
    bottleneck: bool = Field(description="it has put itself into the figures")


class Figures(Part):
    """What was measured; docs/benchmark.md has each formula. Failed requests are in no average."""

    duration_s: float
    completed: int
    failed: int
    errors: dict[str, int] = Field(description="failed requests by kind")
    prompt_tokens: int
    output_tokens: int
    requests_per_s: float
    output_tokens_per_s: float
    total_tokens_per_s: float
    ttft_s: Distribution | None
    itl_s: Distribution | None
    tpot_s: Distribution | None
    e2e_s: Distribution | None
    user_tokens_per_s: Distribution | None
    client: ClientFigures
    slo: dict[str, float] | None = None
    goodput_per_s: float | None = None
    slo_met: float | None = Field(default=None, description="share of all requests within every bound")


class Dataset(Part):
    """Where prompts came from, when not made."""

    name: str
    sha256: str


class Workload(Part):
    """What was asked."""

    profile: str = Field(description="its name, or custom")
    requests: int = Field(ge=1)
    input_tokens: int | None = Field(default=None, ge=1, description="of each made prompt")
    output_tokens: int | None = Field(
        default=None, ge=1, description="asked for; None: as the data set has it"
    )
    concurrency: int = Field(ge=1, description="at most so many at once")
    rate_per_s: float | None = Field(default=None, gt=0, description="open loop: Poisson arrivals")
    duration_s: float | None = Field(default=None, gt=0, description="nothing starts after so long")
    dataset: Dataset | None = None
    seed: int = 0
    warmup: int = Field(default=0, ge=0, description="requests before, thrown away")
    timeout_s: float = Field(default=600.0, gt=0)
    left_out: list[str] = Field(default_factory=list, description="fields the server refused, so not sent")


class TokenizerInfo(Part):
    """What counted the prompts' tokens."""

    exact: bool
    source: str
    sha256: str | None = None


class ServerInfo(Part):
    """Who answered."""

    url: str
    model: str
    version: str | None = None


class ClientInfo(Part):
    """Where the client ran."""

    platform: str
    cores: int
    versions: dict[str, str]


class SystemInfo(Part):
    """The stack that served, as Pulumi and the nodes told it. No secret is in it."""

    stack: str
    config: dict[str, Any] = Field(description="the stack's keys, defaults filled in; secrets left out")
    engine: dict[str, Any] = Field(description="what the engine was told")
    image: str | None = None
    revision: str | None = Field(default=None, description="the model's commit")
    transport: list[str] = Field(default_factory=list)
    fabric: list[str] = Field(default_factory=list, description="the last test of each half of the cables")
    nodes: list[dict[str, Any]] = Field(default_factory=list, description="each node's facts, head first")


class Rows(Part):
    """A column per figure, an item per request in the order of their starts; null where there is none."""

    start_s: list[float]
    ttft_s: list[float | None]
    e2e_s: list[float | None]
    tpot_s: list[float | None]
    prompt_tokens: list[int]
    output_tokens: list[int]
    error: list[str] = Field(description='"" for a good one, else its kind')


class Timeline(Part):
    """Steps from the run's start: tokens that came in each, and requests that ran at its end."""

    step_s: float
    output_tokens: list[int]
    running: list[int]


class NodeSamples(Part):
    """A node beside the run. GPU power is what nvidia-smi reports: the GPU's, not the wall's."""

    node: str
    t_s: list[float]
    power_w: list[float | None]
    temperature_c: list[float | None]
    gpu_busy: list[float | None] = Field(description="share, 0 to 1")
    sm_clock_mhz: list[float | None]
    slowdown: list[str] = Field(description="why clocks are held back: sw_thermal, hw_thermal, power, …")
    cpu_busy: list[float | None]
    memory_available_bytes: list[int | None]
    fabric_sent_bytes_per_s: list[float | None]
    fabric_received_bytes_per_s: list[float | None]


class EngineSamples(Part):
    """The engine's iterations, by the second: means over those that it reported since the last question."""

    t_s: list[float]
    iterations: list[int]
    iteration_ms: list[float | None]
    batch: list[float | None] = Field(description="requests in an iteration")
    most_batch: int | None = Field(default=None, description="max_batch_size")
    queued: list[float | None]
    paused: list[float | None]
    kv_use: list[float | None] = Field(description="share of the KV cache's blocks in use")


class Samples(Part):
    """What was seen beside the run, and what follows from it."""

    nodes: list[NodeSamples] = Field(default_factory=list)
    engine: EngineSamples | None = None
    energy_j: float | None = Field(default=None, description="all GPUs over the run")
    tokens_per_j: float | None = None
    limits: list[str] = Field(default_factory=list, description="what seems to have limited the run")


class Result(Part):
    """One run."""

    format: Literal[1] = 1
    kind: Literal["trtspark-bench"] = "trtspark-bench"
    started: datetime
    sweep: str | None = Field(default=None, description="runs of one command share it")
    complete: bool = Field(description="false: interrupted, or it ended early")
    workload: Workload
    tokenizer: TokenizerInfo
    server: ServerInfo
    client: ClientInfo
    system: SystemInfo | None = Field(default=None, description="none where only a URL was given")
    figures: Figures
    notes: list[str]
    rows: Rows
    timeline: Timeline
    samples: Samples | None = None

    @property
    def title(self) -> str:
        """A short name: the model, the profile, how many at once."""
        load = self.workload
        how = f"{load.rate_per_s:g}/s" if load.rate_per_s else f"c{load.concurrency}"
        return f"{self.server.model} {load.profile} {how}"


def file_name(result: Result) -> str:
    """20261124T010203.456Z-quick-c4-openai_gpt-oss-120b.json."""
    load, when = result.workload, result.started.strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
    how = f"r{load.rate_per_s:g}" if load.rate_per_s else f"c{load.concurrency}"
    model = re.sub(r"[^\w.-]+", "_", result.server.model)
    return f"{when}-{load.profile}-{how}-{model}.json"


def write(result: Result, folder: Path, name: str | None = None) -> Path:
    """Write it whole or not at all; a file that is there is kept, and the new one gets a number."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        wanted = folder / (name or file_name(result))
        draft = wanted.with_name(f".{wanted.name}.{os.getpid()}")
        draft.write_text(result.model_dump_json() + "\n", encoding="utf-8")
        try:
            return _named(draft, wanted)
        finally:
            draft.unlink()
    except OSError as error:
        raise ConfigError(
            f"the result cannot be written to {folder}: {error.strerror}. Give another place with --output."
        ) from None


def _named(draft: Path, wanted: Path) -> Path:
    """The draft under the name wanted, or that with the first number that is free."""
    for number in itertools.count(1):
        path = wanted if number == 1 else wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
        try:
            os.link(draft, path)
        except FileExistsError:
            continue
        return path
    raise AssertionError


def read(path: Path) -> Result:
    """Raises ConfigError, a line, for what is no result of ours."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_BYTES >> 20} MiB: no result of `trtspark bench`")
        return Result.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise ConfigError(
            f"{path} is no result of this version of `trtspark bench`: {where}: {first['msg']}"
        ) from None


def found(folder: Path) -> list[Path]:
    """The results in a folder, oldest first."""
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith((".", "matrix")))


def schema() -> str:
    """The format as JSON Schema."""
    document = Result.model_json_schema(mode="serialization")
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}
    document["title"] = "A run of trtspark bench"
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
