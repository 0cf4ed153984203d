"""The models to choose from: the catalog and what the nodes hold, each with its fit. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cluster import catalog, fit, image_table, published
from cluster import image as images
from cluster.checks import fit as fitting
from cluster.config import Settings
from cluster.errors import ConfigError
from cluster.facts import Facts
from cluster.fit.constants import GIB
from cluster.other_model import with_model

#: A Spark's memory as its kernel reports it (GB10 log: 119.7 GiB); used where no node was reached.
SPARK = fit.Memory("a Spark", int(119.7 * GIB))
#: The number of nodes is looked for up to here.
MOST_NODES = 8


@dataclass(frozen=True)
class Row:
    """One model. `word` is the verdict on the stack's nodes, "" where the shape is not known; `nodes` the
    fewest Sparks that do. `held`: node -> how much of it is there, 0 to 1.
    """

    number: int
    model: catalog.Model
    bytes: int
    word: str
    nodes: int | None
    held: Mapping[str, float]
    current: bool
    estimate: fit.Estimate | None = None
    image: image_table.Verdict | None = None
    """What is known of the configured image with this model on so many nodes; None for nothing."""
    image_notes: Sequence[str] = ()
    """The reasons, a sentence each."""

    @property
    def cached(self) -> str:
        """On how many of the nodes it is whole, "2/2"; a part somewhere is "+40 %"; "" for nowhere."""
        parts = list(self.held.values())
        whole, partly = sum(part >= 1 for part in parts), max((p for p in parts if p < 1), default=0.0)
        if not whole and not partly:
            return ""
        return f"{whole}/{len(parts)}" + (f" +{max(1, round(100 * partly))}%" if partly else "")


def rows(
    settings: Settings,
    stack: str,
    facts: Sequence[Facts],
    caches: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, fit.Model] | None = None,
) -> list[Row]:
    """The catalog's models in its order, then those of the caches and the configured one.

    `caches`: node -> remote/node/models_cache.py's `models`; `known`: shapes that are better known than
    the shipped ones. Numbers are counted from 1.
    """
    ids = [model.id for model in catalog.CATALOG]
    more = {model for cache in caches.values() for model in cache} | {settings.model}
    ids += sorted(more - set(ids))
    return [
        row(settings, stack, facts, caches, number, one, (known or {}).get(one))
        for number, one in enumerate(ids, 1)
    ]


def row(
    settings: Settings,
    stack: str,
    facts: Sequence[Facts],
    caches: Mapping[str, Mapping[str, Any]],
    number: int,
    model_id: str,
    shape: fit.Model | None,
) -> Row:
    """One model's row; see `rows`."""
    shape = shape or published.model(model_id)
    entry = catalog.known(model_id, shape.shape.architecture if shape else "")
    size = shape.bytes if shape else int(entry.size_gb * 1e9)
    size = size or max((_bytes(cache.get(model_id)) for cache in caches.values()), default=0)
    held = {node: _part(cache.get(model_id), size) for node, cache in caches.items()}
    found = verdict(settings, stack, facts, model_id, shape) if shape else None
    known = on_image(settings, facts, model_id, shape)
    return Row(
        number=number,
        model=entry,
        bytes=size,
        word=found.word if found else "",
        nodes=_fewest(shape, found) if shape and found else None,
        held=held,
        current=model_id == settings.model,
        estimate=found,
        image=image_table.verdict(known),
        image_notes=[entry.reason for entry in known],
    )


def on_image(
    settings: Settings, facts: Sequence[Facts], model_id: str, shape: fit.Model | None
) -> list[image_table.Entry]:
    """What is known of the configured image with this model, what is bad first."""
    environments = [one.docker.image.env for one in facts if one.docker.image]
    release = images.release_of(settings.image, *environments)
    if release is None:
        return []
    model = image_table.served(model_id, shape.shape if shape else None, settings.backend)
    return image_table.judged(release, len(settings.active_nodes), model)


def verdict(
    settings: Settings, stack: str, facts: Sequence[Facts], model_id: str, shape: fit.Model
) -> fit.Estimate:
    """The estimate on these nodes, or on as many Sparks as are configured where none was reached."""
    load = fitting.load_of(with_model(settings, model_id), shape)
    memories = [fitting.memory_of(one, stack) for one in facts] or [SPARK]
    return fit.worst(shape, load, memories)


def chosen(found: Sequence[Row], text: str) -> str:
    """The id that a person means by a number of the list or an id. Raises ConfigError."""
    if text.isdecimal():
        by_number = {row.number: row.model.id for row in found}
        if int(text) not in by_number:
            raise ConfigError(f"there is no model number {text}: the list has 1 to {len(found)}.")
        return by_number[int(text)]
    if text.count("/") != 1 or text.strip("/") != text or " " in text:
        close = catalog.suggestions(text, [row.model.id for row in found])
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ConfigError(f"{text!r} is no Hugging Face id like openai/gpt-oss-120b, and no number.{hint}")
    return text


def _fewest(shape: fit.Model, found: fit.Estimate) -> int | None:
    return fit.fewest_nodes(shape, replace(found.load, tensor=1, pipeline=1), found.memory, MOST_NODES)


def _bytes(entry: Mapping[str, Any] | None) -> int:
    return int(entry["bytes"]) + int(entry["shared"]) if entry else 0


def _part(entry: Mapping[str, Any] | None, size: int) -> float:
    """How much is there; what is not whole is never told as whole."""
    if entry is None:
        return 0.0
    if entry["commit"] and not entry["problems"]:
        return 1.0
    return min(0.99, _bytes(entry) / size) if size else 0.0
