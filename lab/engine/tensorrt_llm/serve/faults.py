"""Completions that fail while /health goes on saying 200, as FP4 and MoE kernels do on a GB10.

The model's lab-engine.json names such a fault, or a test writes its name into SWITCH while the server runs.
"""

from dataclasses import dataclass, field
from pathlib import Path

from ..logger import logger
from .errors import Refused

SWITCH = Path("/run/lab-engine-fault")
"""Holds the name of a fault that begins now; a container that is started again has none."""
KINDS = {
    "illegal_instruction": (400, "BadRequestError", "CUDA error: an illegal instruction was encountered"),
    "completions_500": (
        500,
        "InternalServerError",
        "[FP4 gemm Runner] Failed to run cutlass FP4 gemm on sm120",
    ),
}
"""Status, type and message of each fault's answers (public reports, issue 11313 among them)."""
AFTER = {"illegal_instruction": 1}
"""How many completions a model with that fault answers well first."""
NO_TOKENIZER = "'NoneType' object has no attribute 'get_chat_template'"
"""What a chat is refused with when the server has no tokenizer; the wording is assumed, the 400 is known."""


@dataclass
class Faults:
    """The faults of one server."""

    kind: str | None = None  # from the model's lab-engine.json
    tokenizer: bool = True  # whether the server has one
    switch: Path = SWITCH
    served: int = field(default=0, init=False)

    def check(self) -> None:
        """Count a completion.

        Raises:
            Refused: it fails.
        """
        if not self.tokenizer:
            raise Refused(NO_TOKENIZER)
        kind = self._switched() or (self.kind if self.served >= AFTER.get(self.kind or "", 0) else None)
        if kind in KINDS:
            code, name, message = KINDS[kind]
            logger.error(message)
            raise Refused(message, name, code)
        self.served += 1

    def _switched(self) -> str | None:
        try:
            return self.switch.read_text().strip()
        except OSError:
            return None
