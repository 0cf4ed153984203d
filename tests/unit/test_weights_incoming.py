"""A file while it arrives: in pieces, in any order, from several streams."""

from __future__ import annotations

import hashlib
import random
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remote.node import weights_incoming
from remote.node.weights_cache import Stop
from remote.node.weights_incoming import Extents, Incoming

CONTENT = random.Random(1).randbytes(1_000_003)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60))))
def test_extents_are_the_set_of_bytes(spans):
    extents, there = Extents(), set()
    for start, end in spans:
        extents.add(start, end)
        there |= set(range(start, end))
    assert extents.count == len(there)
    assert {i for start, end in extents.spans for i in range(start, end)} == there
    for position in range(61):
        reach = position
        while reach in there:
            reach += 1
        assert extents.reach(position) == reach
    assert {i for start, end in extents.gaps(61) for i in range(start, end)} == set(range(61)) - there


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setattr(weights_incoming, "PIECE", 100_000)

    def incoming(content=CONTENT, journal=None, digest=None, name="blob"):
        digest = digest or hashlib.sha256(content).hexdigest()
        file = {"path": "m.safetensors", "size": len(content), "digest": digest, "lfs": True}
        return Incoming(
            SimpleNamespace(blob=lambda _file: str(tmp_path / name)), file, journal, lambda _: None
        )

    return incoming


def pieces(incoming):
    while piece := incoming.take():
        yield piece


def test_pieces_in_any_order_from_several_streams(make, tmp_path):
    one = make()
    one.open()
    todo = list(pieces(one))
    random.Random(2).shuffle(todo)

    def stream(mine):
        for start, end, attempt in mine:
            for at in range(start, end, 7000):
                one.write(memoryview(CONTENT)[at : min(at + 7000, end)], at, attempt)

    threads = [threading.Thread(target=stream, args=(todo[i::3],)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one.whole
    assert (tmp_path / "blob").read_bytes() == CONTENT
    assert not list(tmp_path.glob("*incomplete"))


def test_until_the_last_byte_there_is_no_file_of_that_name(make, tmp_path):
    one = make()
    one.open()
    for start, end, attempt in list(pieces(one))[:-1]:
        one.write(memoryview(CONTENT)[start:end], start, attempt)
    assert not (tmp_path / "blob").exists()
    assert not one.whole


def test_the_wrong_content_is_fetched_again_and_given_up_in_the_end(make, tmp_path):
    one = make(digest="0" * 64)
    one.open()
    for _ in range(weights_incoming.ATTEMPTS):
        for start, end, attempt in list(pieces(one)):
            one.write(memoryview(CONTENT)[start:end], start, attempt)
    assert "does not have the Hub's checksum" in one.error
    assert not (tmp_path / "blob").exists()


def test_what_an_earlier_attempt_still_sends_is_dropped(make):
    bad, one = bytes(len(CONTENT)), make()
    one.open()
    todo = list(pieces(one))
    for start, end, attempt in todo:
        one.write(memoryview(bad)[start:end], start, attempt)
    assert one.attempts == 1
    start, end, attempt = todo[0]
    one.write(memoryview(bad)[start:end], start, attempt)
    one.give_back(start, end, attempt)
    assert one.extents.count == 0
    assert len(one.todo) == len(todo)


def test_a_later_run_goes_on_where_the_journal_says(make, tmp_path):
    first = make()
    first.open()
    start, end, attempt = first.take()
    first.write(memoryview(CONTENT)[start:end], start, attempt)
    saved = first.saved()
    assert saved == [[0, 100_000]]
    first.close()
    second = make(journal=saved)
    second.open()
    assert second.take()[:2] == (100_000, 200_000)
    second.give_back(100_000, 200_000, 0)
    for start, end, attempt in pieces(second):
        second.write(memoryview(CONTENT)[start:end], start, attempt)
    assert second.whole


def test_a_journal_without_its_file_counts_for_nothing(make):
    one = make(journal=[[0, 500_000]])
    one.open()
    assert one.take()[0] == 0


def test_an_empty_file(make, tmp_path):
    one = make(content=b"")
    one.open()
    assert (tmp_path / "blob").read_bytes() == b""


def test_two_programs_do_not_write_one_file(make):
    one, other = make(), make()
    one.open()
    with pytest.raises(Stop, match="by another deployment"):
        other.open()
    one.close()
