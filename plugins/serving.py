"""What every plugin process does: listen, print the port, live until the engine ends it."""

import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import grpc

# State of big stacks and inputs with whole files in them go through one message; the engine
# itself allows 400 MiB.
MAX_MESSAGE_BYTES = 400 * 1024 * 1024
# A provider's calls mostly wait for a remote command; the engine bounds what runs at once.
WORKERS = 64


def end_at_once(_signal: int = 0, _frame: FrameType | None = None) -> None:
    """Leave without a word: the engine ends plugins by SIGINT and waits for them."""
    os._exit(0)


def serve(register: Callable[[grpc.Server], None]) -> None:
    """Serve on a free loopback port until told to end; `register` adds the service.

    The port is the first line on standard output: that is how the engine finds a plugin.
    """
    signal.signal(signal.SIGINT, end_at_once)
    signal.signal(signal.SIGTERM, end_at_once)
    server = grpc.server(
        ThreadPoolExecutor(WORKERS),
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ],
    )
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    server.wait_for_termination()
