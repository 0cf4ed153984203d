"""Counts behind /metrics, /perf_metrics and /prometheus/metrics."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

KEPT_ITERATIONS = 1000


@dataclass
class Metrics:
    """What was served so far."""

    active: int = 0
    iterations: int = 0
    completed: int = 0
    by_reason: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    generation_tokens: int = 0
    stats: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_ITERATIONS))

    def finished(self, reason: str, prompt: int, generated: int) -> None:
        """One request is done."""
        self.completed += 1
        self.by_reason[reason] = self.by_reason.get(reason, 0) + 1
        self.prompt_tokens += prompt
        self.generation_tokens += generated

    def iteration(self, args: dict[str, Any]) -> None:
        """One more iteration of the engine, for /metrics."""
        self.iterations += 1
        self.stats.append(
            {
                "timestamp": time.strftime("%m-%d-%Y %H:%M:%S.000000"),
                "iter": self.iterations,
                "iterLatencyMS": 5.0,
                "newActiveRequestsQueueLatencyMS": 0.0,
                "numNewActiveRequests": 0,
                "numActiveRequests": self.active,
                "numQueuedRequests": 0,
                "numCompletedRequests": self.completed,
                "maxNumActiveRequests": args["max_batch_size"],
                "maxBatchSizeStatic": args["max_batch_size"],
                "maxBatchSizeTunerRecommended": 0,
                "maxBatchSizeRuntime": args["max_batch_size"],
                "maxNumTokensStatic": args["max_num_tokens"],
                "maxNumTokensTunerRecommended": 0,
                "maxNumTokensRuntime": args["max_num_tokens"],
                "gpuMemUsage": 110_000_000_000,
                "cpuMemUsage": 0,
                "pinnedMemUsage": 0,
                "kvCacheStats": {
                    "maxNumBlocks": 4096, "freeNumBlocks": 4096 - self.active,
                    "usedNumBlocks": self.active, "tokensPerBlock": 32, "allocTotalBlocks": 0,
                    "allocNewBlocks": 0, "reusedBlocks": 0, "missedBlocks": 0,
                    "cacheHitRate": 0.0,
                },
                "inflightBatchingStats": {
                    "numScheduledRequests": self.active, "numContextRequests": 0,
                    "numGenRequests": self.active, "numPausedRequests": 0, "numCtxTokens": 0,
                    "microBatchId": 0, "avgNumDecodedTokensPerIter": 1.0,
                },
                "staticBatchingStats": None,
                "specDecodingStats": None,
            }
        )  # fmt: skip

    def drain(self) -> list[dict[str, Any]]:
        """The iterations since the last call."""
        items = list(self.stats)
        self.stats.clear()
        return items

    def prometheus(self, model: str, prefix: str) -> str:
        """The counters as Prometheus text."""
        labels = f'engine_type="undefined",model_name="{model}"'
        lines = [f"# TYPE {prefix}request_success_total counter"]
        lines += [
            f'{prefix}request_success_total{{{labels},finished_reason="{reason}"}} {float(count)}'
            for reason, count in sorted(self.by_reason.items())
        ]
        return "\n".join(lines) + "\n"
