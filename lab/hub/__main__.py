"""The lab's Hugging Face Hub, alone: prints where it listens as one line of JSON, then serves."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from lab.hub.access import new_tokens, stored_tokens
from lab.hub.server import Hub


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.hub", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1", help="where to listen (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=5080, help="of the Hub; 0 takes any (default: %(default)s)"
    )
    parser.add_argument("--cdn-port", type=int, default=0, help="of its CDN (default: any)")
    parser.add_argument("--tokens", type=Path, metavar="FOLDER", help="keep the two tokens there")
    parser.add_argument(
        "--link-seconds", type=float, default=3600.0, help="how long a link to the CDN is good"
    )
    given = parser.parse_args()
    tokens = stored_tokens(given.tokens) if given.tokens else new_tokens()
    try:
        hub = Hub(tokens, given.address, (given.port, given.cdn_port), given.link_seconds)
    except OSError as error:
        print(f"{given.address}:{given.port} cannot be had: {error.strerror}.", file=sys.stderr)
        return 1
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with hub:
        where = {"hub": hub.url, "encodings": hub.encodings}
        if not given.tokens:
            where |= {"token": tokens.granted, "token_newcomer": tokens.newcomer}
        print(json.dumps(where), flush=True)
        stopped.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
