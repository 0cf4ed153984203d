"""The Hub of a lab: a process on the operator's address, plain HTTP as nodes have no CA for it."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

from lab import process
from lab.errors import LabError
from lab.hub import access
from lab.hub.routes import ENCODINGS
from lab.state import CHECKOUT, Lab
from lab.waiting import until

PORT = 5080
CDN_PORT = 5081
DEADLINE = 15.0


def _folder(lab: Lab) -> Path:
    return lab.folder / "hub"


def _record(lab: Lab) -> Path:
    return _folder(lab) / "process.json"


def described(lab: Lab, address: str) -> dict[str, str]:
    """The Hub's part of lab.json."""
    return {
        "hub": f"http://{address}:{PORT}",
        "hub_token": str(_folder(lab) / "token"),
        "hub_token_newcomer": str(_folder(lab) / "token-newcomer"),
        "encodings": f"http://{address}:{PORT}/{ENCODINGS}",
    }


def start(lab: Lab, address: str) -> None:
    """Start the Hub and wait until it answers; nothing happens when it runs.

    Raises:
        LabError: it ended, or does not answer in time.
    """
    if process.recorded(_record(lab)) is not None:
        return
    access.stored_tokens(_folder(lab))
    log = _folder(lab) / "hub.log"
    process.start(
        [sys.executable, "-m", "lab.hub", "--address", address, "--port", str(PORT),
         "--cdn-port", str(CDN_PORT), "--tokens", _folder(lab)],
        _record(lab),
        log,
        {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT), "HOME": str(Path.home())},
    )  # fmt: skip

    def missing() -> str | None:
        if process.recorded(_record(lab)) is None:
            raise LabError(f"The Hub ended at once. See {log}.")
        return _refusal(f"http://{address}:{PORT}/-/health")

    until(missing, "the Hub to answer", DEADLINE, hint=f"See {log}.")


def _refusal(address: str) -> str | None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(address, timeout=2) as answer:
            return None if json.load(answer)["ok"] else "it is not well"
    except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
        return str(error)


def stop(lab: Lab) -> None:
    running = process.recorded(_record(lab))
    if running:
        running.kill("the Hub")
