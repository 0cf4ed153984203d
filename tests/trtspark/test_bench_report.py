"""The report: its numbers are the files', it needs no network, and it can be read without seeing it."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from tests.trtspark.bench_samples import machine_samples, result, run, system_info
from trtspark.bench import results
from trtspark.bench.report import MARK, render, svg
from trtspark.cli import app


def several():
    made = []
    for number, concurrency in enumerate((1, 4, 16)):
        one = result(concurrency, 40, seed=number, system=system_info())
        beside = machine_samples(run(concurrency, 40, number))
        when = one.started + timedelta(minutes=number)
        made.append((f"run-{number}.json", one.model_copy(update={"started": when, "samples": beside})))
    return made


def shown(page: str) -> list[tuple[int, str, float]]:
    cells = re.findall(r'data-run="(\d+)" data-figure="([\w.]+)" data-value="([^"]+)"', page)
    return [(int(index), path, float(value)) for index, path, value in cells]


def test_every_number_in_the_page_is_the_files():
    made = several()
    found = shown(render(made))
    assert len(found) >= 3 * 9
    for index, path, value in found:
        expected = made[index][1]
        for name in path.split("."):
            expected = getattr(expected, name)
        assert value == expected


def test_nothing_is_fetched_from_anywhere():
    page = render(several())
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    assert "url(" not in page
    assert "@import" not in page


def test_every_drawing_has_a_name_a_text_and_numbers():
    page = render(several())
    drawings = re.findall(
        r"(?s)<svg viewBox[^>]*role=\"group\" aria-labelledby=\"(\S+) (\S+)\">(.*?)</svg>", page
    )
    assert len(drawings) > 8
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for name, about, inner in drawings:
        assert f'<title id="{name}">' in inner
        assert re.search(rf'<desc id="{about}">[^<]{{10,}}</desc>', inner)


def test_names_from_a_file_are_text_and_never_markup():
    evil = "<img src=x onerror=alert(1)>/model"
    one = result(notes=["<b>note</b>"])
    one.server.model = evil
    page = render([("<i>.json", one)])
    assert "<img" not in page
    assert "<b>note" not in page
    assert html.escape("<i>.json") in page


def test_a_run_with_nothing_in_it_is_a_page_too():
    empty = result(requests=1)
    empty.figures.ttft_s = empty.figures.itl_s = empty.figures.tpot_s = None
    empty.figures.e2e_s = empty.figures.user_tokens_per_s = None
    for column in (empty.rows.ttft_s, empty.rows.e2e_s, empty.rows.tpot_s):
        column[:] = [None]
    assert "<h1>" in render([("a.json", empty)])


def test_the_second_of_the_same_work_is_compared_with_the_first():
    first, second = result(requests=100), result(requests=100, slower=0.7, seed=2)
    second = second.model_copy(update={"started": first.started + timedelta(hours=1)})
    page = render([("b.json", second), ("a.json", first)])
    assert re.search(r'<td class="faster">faster \(\+\d+%\)', page)


@pytest.mark.parametrize(("top", "expected"), [(0.7, 0.8), (3.2, 4), (97, 100), (1e-4, 1e-4), (0, 1)])
def test_axes_end_at_round_numbers_above_all_values(top, expected):
    assert svg.from_zero("", [top], str).high == pytest.approx(expected)


def test_the_command_writes_a_page_and_never_over_somebody_elses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results.write(result(), tmp_path / ".bench")
    for _ in range(2):
        done = CliRunner().invoke(app, ["bench", "report"])
        assert done.exit_code == 0, done.exception
    assert MARK in (tmp_path / "report.html").read_text()
    (tmp_path / "mine.html").write_text("mine")
    done = CliRunner().invoke(app, ["bench", "report", "-o", "mine.html"])
    assert "no report of ours" in str(done.exception)
    assert (tmp_path / "mine.html").read_text() == "mine"


def test_without_results_it_says_how_to_get_some(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["bench", "report"])
    assert "`trtspark bench` makes one" in str(done.exception)
