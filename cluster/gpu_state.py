"""What a GPU's samples say: held back, hot, or busy without doing anything. Pure.

The bits are NVML's nvmlClocksEventReasons (nvml.h). Figures of a GB10 come from field reports: under load it
draws 40 to 100 W and its clock is about 2400 MHz, and a hung exchange between nodes shows as 96 % at 22 W.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.vitals import number

#: Bit -> what it says. Idle, application clocks, sync boost and the display's clock hold nothing back.
REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "thermal slowdown by software",
    0x40: "thermal slowdown by hardware",
    0x80: "power brake by hardware",
}
SW_POWER_CAP = 0x4
#: nvidia-smi shows 7 to 17 degrees less than a Spark's hottest sensor, and the machine shuts down near 95.
HOT_C = 82
BUSY_PERCENT = 90
#: The engine computes above this; a hung exchange was seen at 22 W, an idle GPU at 4 to 12 W.
IDLE_WATTS = 30
#: A GB10 that is stuck at low power does not get above this however busy it is (seen: 611 MHz at 13 W).
STUCK_MHZ = 1000


@dataclass(frozen=True)
class GpuSample:
    """Per cent, degrees Celsius, watts, MHz; None where the GPU does not tell. `reasons`: NVML's bits."""

    use: float | None = None
    temperature: float | None = None
    power: float | None = None
    clock: float | None = None
    most: float | None = None
    reasons: int = 0

    @property
    def busy(self) -> bool:
        """Whether it says that it works."""
        return self.use is not None and self.use >= BUSY_PERCENT


def read(document: Mapping[str, str]) -> GpuSample:
    """One sample of remote/node/gpu_state.py."""
    try:
        reasons = int(document["clocks_event_reasons.active"], 16)
    except ValueError:
        reasons = 0
    return GpuSample(
        number(document["utilization.gpu"]),
        number(document["temperature.gpu"]),
        number(document["power.draw"]),
        number(document["clocks.sm"]),
        number(document["clocks.max.sm"]),
        reasons,
    )


def held_back(samples: Sequence[GpuSample]) -> str:
    """Why the clock is below what it could be, and how far; "" where nothing holds it back.

    A power cap is a busy GB10's everyday state: it counts only where the clock is below half of its range.
    """
    common = ~0
    for one in samples:
        common &= one.reasons
    last = samples[-1] if samples else GpuSample()
    slow = last.clock is not None and last.most is not None and last.clock < last.most / 2
    if not slow:
        common &= ~SW_POWER_CAP
    words = [text for bit, text in REASONS.items() if samples and common & bit]
    if not words:
        return ""
    shown = f" at {last.clock:.0f} of {last.most:.0f} MHz" if last.clock and last.most else ""
    return f"{' and '.join(words)}{shown}"


def stuck(samples: Sequence[GpuSample]) -> str:
    """ "611 MHz at 13 W" of a GPU that is busy in every sample and stays slow; "" of any other."""
    if not samples or not all(
        one.busy and one.clock is not None and one.clock < STUCK_MHZ for one in samples
    ):
        return ""
    last = samples[-1]
    return f"{last.clock:.0f} MHz" + (f" at {last.power:.0f} W" if last.power is not None else "")


def hung(samples: Sequence[GpuSample]) -> str:
    """ "96 % busy at 22 W" of a GPU that waits in an exchange in every sample; "" of any other."""
    if len(samples) < 2 or stuck(samples):
        return ""
    if not all(one.busy and one.power is not None and one.power < IDLE_WATTS for one in samples):
        return ""
    last = samples[-1]
    return f"{last.use:.0f} % busy at {last.power:.0f} W"


def hot(samples: Sequence[GpuSample]) -> float | None:
    """The lowest of the samples' temperatures where even that is high; None otherwise."""
    seen = [one.temperature for one in samples if one.temperature is not None]
    return min(seen) if seen and min(seen) >= HOT_C else None


def above(samples: Sequence[GpuSample], limit: int) -> float | None:
    """The clock that shows that a cap of `limit` MHz is not in force; None where nothing shows that."""
    seen = [one.clock for one in samples if one.clock is not None]
    return max(seen) if seen and max(seen) > limit + STEP_MHZ else None


#: A clock is a multiple of a step, so a cap may be missed by less than this.
STEP_MHZ = 15
