"""What the handlers know about the model they serve."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from ..checkpoint import Behaviour
from ..executor.proxy import Engine
from ..tokenizer import Tokenizer
from .faults import Faults
from .metrics import Metrics


@dataclass
class Model:
    """The served model, its engine and the counts of what was served."""

    name: str  # as /v1/models lists it
    label: str  # its id on the Hub
    harmony: bool  # gpt-oss: chat needs OpenAI's vocabularies
    max_seq_len: int
    args: dict[str, Any]
    tokenizer: Tokenizer
    behaviour: Behaviour
    engine: Engine
    slots: asyncio.Semaphore  # max_batch_size of them: further requests wait
    faults: Faults = field(default_factory=Faults)
    metrics: Metrics = field(default_factory=Metrics)
    harmony_ready: bool = False

    @property
    def opening(self) -> str:
        """The first sentence of every chat answer: what is true of this engine."""
        hosts = self.engine.facts.hosts
        ranks = f"{len(hosts)} rank" + ("s" if len(hosts) > 1 else "")
        over = "" if len(hosts) == 1 else f" over {self.engine.facts.transport}"
        return f"I am {self.label}, simulated, running on {ranks}: {', '.join(hosts)}{over}."
