"""Checks of NVIDIA's container toolkit, which brings GPU and RDMA devices into a task."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cluster.checks.table import Context, Finding, check
from cluster.facts import Facts

CONFIG = "/etc/nvidia-container-runtime/config.toml"
UPDATE = "Update it: `sudo apt-get install nvidia-container-toolkit`."
#: NVIDIA_MOFED, by which a Swarm task gets its RDMA devices.
MOFED_SINCE = (1, 11)
#: From here on MOFED's edit hides the GPU from the hook of mode "legacy".
LEGACY_LOSES_SINCE = (1, 19)


def numbers(version: str) -> tuple[int, ...]:
    """(1, 17, 8) of "1.17.8", of "1.17.8~rc.1" too."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[~+-]", version)[0]))


@check(
    "toolkit.there",
    "NVIDIA's container toolkit is there, 1.11 or later where ranks talk over RDMA.",
    UPDATE,
    alone=True,
)
def there(context: Context) -> Iterator[Finding]:
    """Without it no container has a GPU; before 1.11 it does not know NVIDIA_MOFED."""
    for facts in context.nodes:
        version = facts.container_toolkit.version
        if not version:
            yield Finding(
                "FAIL",
                facts.node,
                "NVIDIA's container toolkit is not there (no nvidia-ctk).",
                "Install it: `sudo apt-get install nvidia-container-toolkit`.",
            )
        elif numbers(version) < MOFED_SINCE and _rdma(context, facts):
            yield Finding(
                "FAIL",
                facts.node,
                f"its NVIDIA container toolkit {version} gives tasks no RDMA devices (1.11 and later do).",
                UPDATE,
            )


@check(
    "toolkit.mode",
    'The NVIDIA runtime is in mode "auto".',
    f'Set mode = "auto" in {CONFIG}.',
    "FAIL",
    "WARN",
    alone=True,
)
def mode(context: Context) -> Iterator[Finding]:
    """ "cdi" and "csv" do not process NVIDIA_MOFED. "legacy" with 1.19 and later hides the GPU of a task
    that asks for RDMA devices, unless swarm-resource names Swarm's variable: preparing sees to that. With any
    version, `systemctl daemon-reload` takes the GPU from containers that "legacy" gave it.
    """
    for facts in context.nodes:
        toolkit = facts.container_toolkit
        todo = f'Set mode = "auto" under [nvidia-container-runtime] in {CONFIG}.'
        if toolkit.mode in ("cdi", "csv") and _rdma(context, facts):
            yield Finding(
                "FAIL",
                facts.node,
                f'the NVIDIA runtime is in mode "{toolkit.mode}", which gives tasks no RDMA devices.',
                todo,
            )
        elif toolkit.mode == "legacy":
            version = toolkit.version
            alone = " only the swarm-resource line keeps the GPU in a task with RDMA devices, and"
            why = alone if version and numbers(version) >= LEGACY_LOSES_SINCE else ""
            yield Finding(
                "WARN",
                facts.node,
                f'the NVIDIA runtime is in mode "legacy":{why} a `systemctl daemon-reload` takes the GPU '
                "from running containers.",
                todo,
            )


@check(
    "toolkit.config",
    f"The NVIDIA runtime has its settings file, {CONFIG}.",
    f"`sudo nvidia-ctk config --in-place --config-file={CONFIG}` writes it.",
    "WARN",
    alone=True,
)
def config(context: Context) -> Iterator[Finding]:
    """Without it a task gets the GPU by NVIDIA_VISIBLE_DEVICES alone: right on a machine with one GPU."""
    for facts in context.nodes:
        if facts.container_toolkit.version and not facts.container_toolkit.config:
            yield Finding(
                "WARN",
                facts.node,
                f"{CONFIG} is not there; it works without, by the toolkit's defaults.",
                f"`sudo nvidia-ctk config --in-place --config-file={CONFIG}` writes it.",
            )


def _rdma(context: Context, facts: Facts) -> bool:
    """Whether a rank on this node is to use RDMA."""
    return len(context.settings.active_nodes) > 1 and any(hca.usable for hca in facts.hcas)
