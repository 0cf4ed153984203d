"""Commands whose output is read to a limit: what comes from a machine may have no end."""

from __future__ import annotations

import os
import select
import selectors
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import IO

#: Of a command's output and of its error output, each. The longest answer is a packed tokenizer's.
MOST_BYTES = 64 << 20
#: Of a line among many.
MOST_LINE = 4 << 20


class TooMuch(Exception):
    """A command printed more than `MOST_BYTES`; it was ended."""


def run(
    command: Sequence[str], stdin: str, timeout: float, most: int = MOST_BYTES
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run with text. Raises TooMuch, and TimeoutExpired after `timeout` seconds."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        until = time.monotonic() + timeout
        try:
            out, err = _output(process, stdin.encode(errors="replace"), until, timeout, most)
            process.wait(max(0.0, until - time.monotonic()))
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, _text(out), _text(err))


def lines(stream: IO[str], most: int = MOST_LINE) -> Iterator[str]:
    """The stream's lines, until its end or a line that has none."""
    while line := stream.readline(most):
        if len(line) >= most and not line.endswith("\n"):
            return
        yield line


def _output(
    process: subprocess.Popen[bytes], data: bytes, until: float, timeout: float, most: int
) -> tuple[bytes, bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    rest = memoryview(data)
    got: dict[int, bytearray] = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    with selectors.DefaultSelector() as waiting:
        for number in got:
            waiting.register(number, selectors.EVENT_READ)
        waiting.register(process.stdin, selectors.EVENT_WRITE)
        while waiting.get_map():
            ready = waiting.select(max(0.0, until - time.monotonic()))
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(process.args, timeout)
            for key, _ in ready:
                if key.fd in got:
                    piece = os.read(key.fd, 1 << 16)
                    got[key.fd] += piece
                    if len(got[key.fd]) > most:
                        raise TooMuch
                    over = not piece
                else:
                    rest = _written(key.fd, rest)
                    over = not rest
                if over:
                    waiting.unregister(key.fileobj)
                    if key.fd not in got:
                        process.stdin.close()
    out, err = got.values()
    return bytes(out), bytes(err)


def _written(number: int, rest: memoryview) -> memoryview:
    """What is still to go; nothing where nobody reads."""
    try:
        return rest[os.write(number, rest[: select.PIPE_BUF]) :]
    except BrokenPipeError:
        return rest[:0]


def _text(data: bytes) -> str:
    return data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
