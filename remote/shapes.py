"""Shapes of models, remembered on this machine: a commit's files never change.

A shape is plain data: `config` (config.json), `quantisation` (hf_quant_config.json or None) and `tensors`
(bytes by name, all experts of a layer as one).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from cluster import fit
from cluster.model_config import UnknownShape, shape
from cluster.weights_plan import ModelFiles
from remote import node
from remote.ssh import Shell

NODE_TIMEOUT_S = 60


def remembered(found: ModelFiles) -> dict[str, Any] | None:
    """What an earlier run wrote down; None when there is nothing that can be read."""
    try:
        known = json.loads(_file(found).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) and {"config", "tensors"} <= known.keys() else None


def remember(found: ModelFiles, known: dict[str, Any]) -> None:
    """Write it down for the next run; a cache that cannot be written is no reason to stop."""
    path = _file(found)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(known, sort_keys=True), "utf-8")
        partial.replace(path)
    except OSError:
        return


def on_node(session: Shell, hf_cache: str, found: ModelFiles) -> dict[str, Any] | None:
    """From the files of a node that holds the model; None when it does not, or not whole. One round trip."""
    arguments = {"model_shape": {"hf_cache": hf_cache, "model": found.model, "commit": found.commit}}
    script = node.program(model_shape="look")
    result = session.run(node.command(arguments), stdin=script, timeout=NODE_TIMEOUT_S)
    if result.code:
        return None
    try:
        known: dict[str, Any] | None = node.answer(result.out).get("model_shape")
    except ValueError:
        return None
    return known


def model(known: dict[str, Any]) -> fit.Model | None:
    """The model as the memory estimate wants it; None where its config.json does not say enough."""
    try:
        return fit.Model(shape(known["config"], known.get("quantisation")), known["tensors"])
    except (UnknownShape, ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return None


def _file(found: ModelFiles) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    name = f"{found.model.replace('/', '--')}-{found.commit}.json"
    return Path(base).expanduser() / "trtllm-dgx-spark" / "shapes" / name
