"""Whether clients get anything of the engine's: the kernel's own figures, and the judgement on them."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from remote.rank0 import connections
from remote.rank0.connections import Queue

ALONE_S, BEHIND_S = 60, 900
Traffic = dict[str, tuple[int, int]]


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_kernel_tells_what_went_over_a_connection(family, host):
    with socket.create_server((host, 0), family=family, backlog=256) as server:
        port = server.getsockname()[1]
        assert connections.traffic(port) == {}
        with socket.create_connection((host, port)) as client:
            ours = server.accept()[0]
            client.sendall(b"x" * 10)
            ours.recv(100)
            ours.sendall(b"y" * 33)
            client.recv(100)
            assert connections.traffic(port) == {client.getsockname()[:2]: (33, 10)}
            many = [socket.create_connection((host, port)) for _ in range(200)]
            assert len(connections.traffic(port)) == 201
            for one in many:
                one.close()
            ours.close()
        assert connections.traffic(port) == {}


def noticed(at: Callable[[int], Traffic], limit: int = 2000) -> int | None:
    """After how many seconds of a question without an answer the engine is given up; None: never."""
    queue = Queue(0.0, {one: went for one, went in at(0).items() if one != "us"})
    for now in range(1, limit):
        queue.look(float(now), at(now))
        if queue.silent(float(now), ALONE_S, BEHIND_S):
            return now
    return None


def test_alone():
    assert noticed(lambda now: {"us": (0, 500)}) == 61


def test_a_client_that_gives_up_after_8_seconds_and_tries_again_is_no_sign_of_life():
    assert noticed(lambda now: {"us": (0, 500), f"client {now // 8}": (0, 300)}) == 69


def test_many_such_clients_are_none_either():
    def at(now: int) -> Traffic:
        return {"us": (0, 500), **{f"{n} {(now + n) // 8}": (0, 300) for n in range(50)}}

    assert noticed(at) == 69


def test_what_the_server_answers_by_itself_is_no_sign_of_life():
    """/health asked over one connection again and again, and completions that are refused at once."""

    def at(now: int) -> Traffic:
        polls = now // 5
        return {"us": (0, 500), "balancer": (130 * polls, 80 * polls), f"client {polls}": (300, 300)}

    assert noticed(at) == 66


def test_clients_that_get_tokens_are():
    """A long queue: 40 streams at any time, each of 200 s, and somebody is always before us."""

    def at(now: int) -> Traffic:
        def stream(place: int) -> tuple[str, tuple[int, int]]:
            begun = (now + 5 * place) // 200
            return f"{place} {begun}", (250 * ((now + 5 * place) % 200), 900)

        return {"us": (0, 500), "waits": (0, 900), **dict(map(stream, range(40)))}

    assert noticed(at) is None


def test_a_long_answer_that_is_not_streamed_is_waited_for_by_its_client_and_by_us():
    """One request at a time, each answered after 600 s; then it is our turn."""

    def at(now: int) -> Traffic:
        turn = now // 600
        waiting = {f"client {n}": (0, 4000) for n in range(turn, 3)}
        done = {f"client {turn - 1}": (9000, 4000)} if turn and now % 600 < 3 else {}
        return {"us": (0, 500), **waiting, **done}

    assert noticed(at, 1800) is None
    assert noticed(at) == 1864


def test_clients_that_wait_as_long_as_we_do_are_believed_for_a_quarter_of_an_hour():
    """The engine's own detector is done long before, and is believed at once."""
    assert noticed(lambda now: {"us": (0, 500), "patient": (0, 4000)}) == 901


def test_who_asks_for_something_else_has_had_an_answer_and_stands_behind_us():
    assert (
        noticed(lambda now: {"us": (0, 500), "patient": (300 * (now >= 20), 400 + 400 * (now >= 20))}) == 81
    )
