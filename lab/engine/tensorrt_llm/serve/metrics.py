"""Counts behind /metrics, /perf_metrics and /prometheus/metrics."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

KEPT_ITERATIONS = 1000


class Metrics:
    """What was served so far."""

    def __init__(self) -> None:
        self.active = 0
        self.completed = 0
        self.by_reason: dict[str, int] = {}
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.iterations = 0
        self.stats: deque[dict[str, Any]] = deque(maxlen=KEPT_ITERATIONS)
        self.timings: deque[dict[str, Any]] = deque()

    def begin(self, number: int) -> "Record":
        """A request starts."""
        self.active += 1
        return Record(self, number)

    def drain(self) -> list[dict[str, Any]]:
        """The iterations since the last call."""
        items = list(self.stats)
        self.stats.clear()
        return items

    def drain_timings(self, most: int) -> list[dict[str, Any]]:
        """The last requests' timings since the last call, `most` at most."""
        items = list(self.timings)[-most:] if most else []
        self.timings.clear()
        return items

    def prometheus(self, model: str, prefix: str) -> str:
        """The counters as Prometheus text."""
        labels = f'engine_type="undefined",model_name="{model}"'
        lines = [f"# TYPE {prefix}request_success_total counter"]
        lines += [
            f'{prefix}request_success_total{{finished_reason="{reason}",{labels}}} {float(count)}'
            for reason, count in sorted(self.by_reason.items())
        ]
        if prefix:
            for name in ("prompt_tokens", "generation_tokens"):
                lines.append(f"# TYPE {prefix}{name}_total counter")
                lines.append(f"{prefix}{name}_total{{{labels}}} {float(getattr(self, name))}")
        return "\n".join(lines) + "\n"


@dataclass
class Record:
    """One request being served."""

    metrics: Metrics
    number: int
    arrival: float = field(default_factory=time.monotonic)
    first: float = 0.0
    tokens: int = 0

    def token(self, args: dict[str, Any]) -> None:
        """One more token came."""
        self.tokens += 1
        self.first = self.first or time.monotonic()
        if args["enable_iter_perf_stats"]:
            self.metrics.iterations += 1
            self.metrics.stats.append(_iteration(self.metrics, args))

    def finished(self, reason: str, prompt_tokens: int) -> None:
        """The last token came."""
        totals = self.metrics
        totals.active -= 1
        totals.completed += 1
        totals.by_reason[reason] = totals.by_reason.get(reason, 0) + 1
        totals.prompt_tokens += prompt_tokens
        totals.generation_tokens += self.tokens
        times = {
            "arrival_time": self.arrival, "first_scheduled_time": self.arrival,
            "first_token_time": self.first, "last_token_time": time.monotonic(),
            "server_arrival_time": self.arrival, "server_first_token_time": self.first,
        }  # fmt: skip
        blocks = ("total_allocated", "new_allocated", "reused", "missed")
        totals.timings.append(
            {
                "request_id": self.number,
                "perf_metrics": {
                    "first_iter": 1,
                    "last_iter": self.tokens,
                    "timing_metrics": times,
                    "kv_cache_metrics": {f"num_{name}_blocks": 0 for name in blocks},
                },
            }
        )

    def cancelled(self) -> None:
        """The client went away, or the engine gave up."""
        self.metrics.active -= 1


def _iteration(metrics: Metrics, args: dict[str, Any]) -> dict[str, Any]:
    """The statistics of one iteration, with the real names; memory figures are made up."""
    batch, tokens = args["max_batch_size"], args["max_num_tokens"]
    return {
        "timestamp": time.strftime("%m-%d-%Y %H:%M:%S.000000"),
        "iter": metrics.iterations,
        "iterLatencyMS": 5.0,
        "newActiveRequestsQueueLatencyMS": 0.0,
        "numNewActiveRequests": 0,
        "numActiveRequests": metrics.active,
        "numQueuedRequests": 0,
        "numCompletedRequests": metrics.completed,
        "maxNumActiveRequests": batch,
        "maxBatchSizeStatic": batch,
        "maxBatchSizeTunerRecommended": 0,
        "maxBatchSizeRuntime": batch,
        "maxNumTokensStatic": tokens,
        "maxNumTokensTunerRecommended": 0,
        "maxNumTokensRuntime": tokens,
        "gpuMemUsage": 110_000_000_000,
        "cpuMemUsage": 0,
        "pinnedMemUsage": 0,
        "kvCacheStats": {
            "maxNumBlocks": 4096, "freeNumBlocks": 4096 - metrics.active,
            "usedNumBlocks": metrics.active, "tokensPerBlock": 32, "allocTotalBlocks": 0,
            "allocNewBlocks": 0, "reusedBlocks": 0, "missedBlocks": 0, "cacheHitRate": 0.0,
        },
        "inflightBatchingStats": {
            "numScheduledRequests": metrics.active, "numContextRequests": 0,
            "numGenRequests": metrics.active, "numPausedRequests": 0, "numCtxTokens": 0,
            "microBatchId": 0, "avgNumDecodedTokensPerIter": 1.0,
        },
        "staticBatchingStats": None,
        "specDecodingStats": None,
    }  # fmt: skip
