"""The list of models: the verdict beside each, what is where, and what a person's answer means."""

from __future__ import annotations

import pytest
from rich.console import Console

from cluster.catalog import CATALOG
from cluster.errors import ConfigError
from tests import samples
from trtspark import shelf
from trtspark.setting_up import show_models

WHOLE = {"bytes": 13_800_000_000, "shared": 0, "commit": "a" * 40, "problems": []}
HALF = {"bytes": 6_900_000_000, "shared": 0, "commit": None, "problems": ["no revision is complete"]}


def rows(count=2, caches=None):
    settings = samples.settings(count)
    return shelf.rows(settings, "dgx", samples.facts(count), caches or {})


def by_id(found):
    return {row.model.id: row for row in found}


def test_the_catalog_comes_first_in_its_order_and_then_the_caches():
    found = rows(caches={"10.24.11.11": {"lab/zeta": WHOLE, "openai/gpt-oss-20b": WHOLE}})
    assert [row.model.id for row in found] == [*(model.id for model in CATALOG), "lab/zeta"]
    assert [row.number for row in found] == list(range(1, len(CATALOG) + 2))
    assert [row.model.id for row in found if row.current] == ["openai/gpt-oss-120b"]


def test_verdicts_are_for_these_nodes():
    pair, alone = by_id(rows(2)), by_id(rows(1))
    large = "nvidia/Qwen3-235B-A22B-FP4"
    assert alone[large].word == "does not fit"
    assert pair[large].word != "does not fit"
    assert pair[large].nodes == alone[large].nodes == 2
    assert alone["openai/gpt-oss-20b"].word == "fits"
    assert pair["nvidia/Llama-4-Scout-17B-16E-Instruct-FP4"].word == ""


def test_without_nodes_it_is_for_sparks():
    found = by_id(shelf.rows(samples.settings(2), "dgx", (), {}))
    assert found["openai/gpt-oss-120b"].word


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (WHOLE, WHOLE, "2/2"),
        (WHOLE, None, "1/2"),
        (WHOLE, HALF, "1/2 +50%"),
        (None, HALF, "0/2 +50%"),
        (None, None, ""),
    ],
)
def test_where_it_is_and_how_completely(first, second, said):
    caches = {"a": {"openai/gpt-oss-20b": first}, "b": {"openai/gpt-oss-20b": second}}
    caches = {node: {k: v for k, v in held.items() if v} for node, held in caches.items()}
    assert by_id(rows(caches=caches))["openai/gpt-oss-20b"].cached == said


def test_what_is_not_whole_is_never_told_as_whole():
    broken = {**WHOLE, "problems": ["model-2 is missing"], "bytes": 99_000_000_000}
    [part] = by_id(rows(caches={"a": {"openai/gpt-oss-20b": broken}}))["openai/gpt-oss-20b"].held.values()
    assert part < 1


def test_a_number_or_an_id():
    found = rows()
    assert shelf.chosen(found, "3") == CATALOG[2].id
    assert shelf.chosen(found, "any/other") == "any/other"
    with pytest.raises(ConfigError, match=f"1 to {len(found)}"):
        shelf.chosen(found, "99")
    with pytest.raises(ConfigError, match="Did you mean openai/gpt-oss-20b"):
        shelf.chosen(found, "openai-gpt-oss-20b")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_small_terminal_keeps_verdict_and_numbers(width):
    console = Console(width=width, record=True, force_terminal=False, color_system=None)
    with console.capture() as shown:
        console.print(show_models(rows()))
    lines = shown.get().splitlines()
    assert len(lines) == len(CATALOG) + 1
    assert max(map(len, lines)) <= width
    if width >= 80:
        assert any(line.lstrip().startswith("22 ") for line in lines)
        assert sum("fits" in line or "tight" in line for line in lines) > 15
