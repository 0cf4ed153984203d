"""What the Hub asks to wait, by the headers of its refusal; and who waits how long."""

from __future__ import annotations

import time

import pytest

from remote.node import hub_wait
from remote.node.weights_cache import Stop
from remote.node.weights_hub import Broken, Patience

NOW = 1_795_910_400.0  # Sun, 29 Nov 2026 00:00:00 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"RateLimit": '"resolvers";r=0;t=211'}, 211),
        ({"RateLimit": '"api";r=12;t=100, "resolvers";r=0;t=211'}, 211),
        ({"RateLimit": '"resolvers"; r=0; t=211'}, 211),
        ({"RateLimit": '"resolvers";t=30;r=0'}, 30),
        ({"Retry-After": "240"}, 240),
        ({"Retry-After": " 240 ", "RateLimit": '"resolvers";r=0;t=211'}, 240),
        ({"Retry-After": "Sun, 29 Nov 2026 00:04:00 GMT"}, 240),
        ({"Retry-After": "Sat, 28 Nov 2026 23:00:00 GMT"}, 0),
        ({"Retry-After": "Sun, 29 Nov 2026 00:04:00"}, 240),
        ({"Retry-After": "Sun, 29 Nov 2026 00:04:00 -0000"}, 240),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "soon", "RateLimit": '"resolvers";r=0;t=211'}, 211),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "Sun, 99 Nov 2026 99:04:00 GMT"}, None),
        ({"Retry-After": "٣"}, None),
        ({"RateLimit": '"resolvers";r=4;t=211'}, None),
        ({"RateLimit": "garbage;;;"}, None),
        ({"RateLimit": '"resolvers";r=0;t=x'}, None),
        ({}, None),
    ],
)
def test_what_it_asks_to_wait(headers, seconds):
    assert hub_wait.seconds(headers, NOW) == seconds


def test_what_the_hub_asks_for_is_waited_and_is_no_silence(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    patience = Patience(stall=300.0, first=60.0)
    for _stream in range(8):  # all of them hear it at once
        assert patience.pause(Broken("the Hub asks to wait 211 s", 211.0)) >= 211
    now[0] += 212
    assert patience.pause(Broken("the Hub asks to wait 240 s", 240.0)) >= 240
    now[0] += 241 + 50
    patience.pause(Broken("the connection broke"))
    now[0] += 20
    with pytest.raises(Stop, match="nothing arrived"):
        patience.pause(Broken("the connection broke"))


def test_many_streams_that_are_refused_at_once_wait_no_longer_than_told():
    patience = Patience()
    assert [patience.pause(Broken("the Hub asks to wait 2 s", 2.0)) for _stream in range(8)] == [2.0] * 8
    assert patience.pause(Broken("the Hub asks to wait 0 s", 0.0)) > 0


def test_there_is_an_end_to_waiting(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with pytest.raises(Stop) as caught:
        Patience().pause(Broken("the Hub asks to wait 86400 s", 86400.0))
    assert caught.value.code == "hub-limit"
    patience = Patience()

    def ask_for_ever() -> None:
        while True:
            now[0] += patience.pause(Broken("the Hub asks to wait 240 s", 240.0))

    with pytest.raises(Stop) as caught:
        ask_for_ever()
    assert caught.value.code == "hub-limit"
    assert now[0] < 1000 + hub_wait.LONGEST_S + 300
