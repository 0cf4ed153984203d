"""A stack's settings with another model: the one rule of what goes with the old model and what stays.

docs/decisions/0065-what-belongs-to-a-model.md says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.config import Settings

#: Keys that name a part of one model, or say that its code is trusted: never another model's.
OF_THE_MODEL = ("revision", "trustRemoteCode")
#: Limits of the service, and options of the engine, which may be one model's (`--reasoning_parser`). They
#: stay, and are named, because the new model's own may be better.
KEPT = ("maxBatchSize", "maxNumTokens", "maxSeqLen", "gpuMemoryFraction", "extraArgs")
_FIELDS = {field.alias or name: name for name, field in Settings.model_fields.items()}


def with_model(settings: Settings, model: str, **more: Any) -> Settings:
    """The settings with `model`, without what was the old model's own; `more`: other fields by name."""
    dropped = {_FIELDS[key]: _default(key) for key in dropped_keys(settings, model)}
    return settings.model_copy(update={**dropped, "model": model, **more})


def dropped_keys(settings: Settings, model: str) -> list[str]:
    """The keys that are set and go when the model becomes `model`."""
    return _set(settings, OF_THE_MODEL) if model != settings.model else []


def kept(settings: Settings, model: str) -> list[str]:
    """What is set and stays when the model becomes `model`, though it may not fit."""
    return _set(settings, KEPT) if model != settings.model else []


def taken_away(written: Mapping[str, Any], model: str) -> dict[str, None]:
    """The same for a configuration by its keys, as it is written: None for each that goes."""
    other = model != written.get("model")
    return {key: None for key in OF_THE_MODEL if other and written.get(key) is not None}


def _set(settings: Settings, keys: tuple[str, ...]) -> list[str]:
    return [key for key in keys if getattr(settings, _FIELDS[key]) != _default(key)]


def _default(key: str) -> Any:
    return Settings.model_fields[_FIELDS[key]].default
