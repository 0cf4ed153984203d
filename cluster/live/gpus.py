"""Live checks of each node's GPU: its clock, its temperature, and whether its work gets anywhere."""

from __future__ import annotations

from collections.abc import Iterator

from cluster import gpu_state
from cluster.checks.table import Finding
from cluster.live.seen import Live
from cluster.live.swarm import UP
from cluster.live.table import live_check

COOL = (
    "Give it air on all sides and keep it off other warm machines; `pulumi config set gpuClockLimit 2200`, "
    "then `pulumi up`, costs little where memory sets the pace."
)
UNPLUG = "Shut it down, unplug its power supply for a minute, and use the supply that came with it."


@live_check(
    "gpu.held",
    "Nothing holds the GPU's clock back: heat, its power supply, or the hardware's own brake.",
    "Better cooling, the power supply that came with the machine, or a cap (`gpuClockLimit`).",
    "WARN",
)
def held(live: Live) -> Iterator[Finding]:
    """By NVML's clock event reasons in every one of a few samples."""
    for facts, machine in zip(live.nodes, live.machines, strict=True):
        if slow := gpu_state.stuck(machine.gpu):
            yield Finding("WARN", facts.node, f"its GPU is busy and stays at {slow}.", UNPLUG)
        elif why := gpu_state.held_back(machine.gpu):
            yield Finding("WARN", facts.node, f"its GPU's clock is held back: {why}.", COOL)


@live_check(
    "gpu.hot",
    "The GPU's temperature is below 82 degrees Celsius.",
    "Better cooling, or a cap on the clock (`gpuClockLimit`).",
    "WARN",
)
def hot(live: Live) -> Iterator[Finding]:
    """A Spark's hottest sensor is above what nvidia-smi shows."""
    for facts, machine in zip(live.nodes, live.machines, strict=True):
        if (degrees := gpu_state.hot(machine.gpu)) is not None:
            yield Finding("WARN", facts.node, f"its GPU has {degrees:.0f} degrees Celsius.", COOL)


@live_check(
    "gpu.hung",
    "The GPU draws power when it is busy: at idle power it waits in an exchange with another node.",
    "`trtspark logs`; an engine that completes nothing is started again within three minutes.",
    "WARN",
)
def hung(live: Live) -> Iterator[Finding]:
    """NCCL's kernels spin while they wait, which counts as busy."""
    for facts, machine in zip(live.nodes, live.machines, strict=True):
        if shown := gpu_state.hung(machine.gpu):
            yield Finding(
                "WARN",
                facts.node,
                f"its GPU is {shown}, as when an exchange between the nodes hangs.",
                "`trtspark doctor --full` tests the cables; if no completion comes back, `pulumi up` "
                "restarts the server.",
            )


@live_check(
    "gpu.capped",
    "The cap on the GPU's clock (`gpuClockLimit`) is in force.",
    UP,
)
def capped(live: Live) -> Iterator[Finding]:
    """A cap cannot be read back, but a clock above it can."""
    limit = live.settings.gpu_clock_limit
    for facts, machine in zip(live.nodes, live.machines, strict=True):
        if limit is None:
            continue
        if facts.clock_limit != limit:
            there = f"{facts.clock_limit} MHz" if facts.clock_limit else "none"
            yield Finding(
                "FAIL", facts.node, f"the cap on its GPU's clock is {there}, not {limit} MHz.", f"Run {UP}"
            )
        elif (clock := gpu_state.above(machine.gpu, limit)) is not None:
            yield Finding(
                "FAIL",
                facts.node,
                f"its GPU runs at {clock:.0f} MHz, above the cap of {limit} MHz.",
                f"Run {UP}",
            )
