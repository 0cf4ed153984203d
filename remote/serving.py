"""Moving the server to another spec, for dynamic_providers/swarm_service.py: never to nothing when there was
something.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from cluster.errors import NotReady, TrtSparkError, Unreachable
from cluster.patience import MARGIN, load_rate, patience
from cluster.service_spec import runs
from cluster.swarm_plan import STACK_LABEL
from remote import live
from remote.readiness import gate
from remote.services import apply
from remote.ssh import Connection

Say = Callable[[str], None]
#: A head that cannot be reached while a rank's service is changed is asked again for so long, and so often.
HEAD_GONE_S = 90.0
RETRY_S = 2.0


def serve(
    props: Mapping[str, Any], before: Mapping[str, Any] | None, say: Say, warn: Say = lambda _text: None
) -> dict[str, Any]:
    """Bring a service to its spec; a server proves that it answers, or the one before comes back.

    `say` shows progress, `warn` leaves a warning: of ranks that serve, but more slowly than they could.
    `before` is the state's last good one, None for a new service. Raises TrtSparkError with the cause; what
    then runs is what the state says.
    """
    if "gate" not in props:
        return _applied(props, 0.0, say)
    if not props["gate"]:
        return {
            **_applied(props, 0.0, say),
            "readySeconds": None,
            "provenTransport": [],
            "loadRate": _rate(before),
        }
    try:
        outs = _gated(props, before, say)
    except TrtSparkError as error:
        if before is None or not before.get("gate") or _same(before, props):
            raise
        raise NotReady(f"{error} {_back(before, say)}") from None
    logins = [Connection.from_props(one) for one in props["gate"]["connections"]]
    for text in live.confined(props["spec"]["Labels"][STACK_LABEL], props["image"], logins):
        warn(text)
    return outs


def _gated(props: Mapping[str, Any], before: Mapping[str, Any] | None, say: Say) -> dict[str, Any]:
    rate = _rate(before)
    waiting = props["gate"]
    size = int(waiting["bytes"])
    timeout = float(waiting["timeout"] or patience(size, rate))
    waiting = {**waiting, "timeout": timeout, "fingerprint": runs(props["spec"])}
    took = float((before or {}).get("readySeconds") or 0)
    _workers(props, say)
    outs = _applied(props, min(MARGIN * took, timeout) if took else timeout, say)
    try:
        found = gate(waiting, say)
    except TrtSparkError:
        if before is None or not _same(before, props) or outs["applied"] != before["applied"]:
            raise
        # It was left as it was, and there is no other to go back to: a start is all that can help.
        say(f"{waiting['model']} starts again")
        outs = apply(props, again=True)
        found = gate(waiting, say)
    ready = found["readySeconds"]
    return {
        **outs,
        "readySeconds": ready,
        "provenTransport": found["provenTransport"],
        "loadRate": load_rate(size, ready) or rate,
    }


def _applied(props: Mapping[str, Any], load_s: float, say: Say) -> dict[str, Any]:
    """Apply the spec, and again while the head cannot be reached: every step of it can be repeated."""
    head = Connection.from_props(props["manager"]).target
    deadline = time.monotonic() + HEAD_GONE_S
    while True:
        try:
            return apply(props, load_s)
        except Unreachable as error:
            if error.node != head or time.monotonic() > deadline:
                raise
            say(f"the head cannot be reached: {error}")
            time.sleep(RETRY_S)


def _workers(props: Mapping[str, Any], say: Say) -> None:
    """Bring the other ranks to what this server needs, where they are not: after a failed switch they run
    what the one before needed, which their own resources do not know.
    """
    server = {"name": props["spec"]["Name"], "node": props["node"]}
    for worker in props.get("workers") or []:
        _applied({**worker, "manager": props["manager"], "server": server}, 0.0, say)


def _back(before: Mapping[str, Any], say: Say) -> str:
    """Bring the last good server back; a sentence on what serves now."""
    model = before["gate"]["model"]
    say(f"{model} comes back")
    try:
        _gated(before, before, lambda text: say(f"{model} comes back: {text}"))
    except TrtSparkError as error:
        return f"And {model}, which served before, did not come back: {error}"
    return (
        f"{model} serves again as before. Mend the configuration (or set back what you changed), then "
        "`pulumi up`."
    )


def _same(before: Mapping[str, Any], props: Mapping[str, Any]) -> bool:
    """Whether the server before is the one that is wanted, on every rank."""

    def ranks(one: Mapping[str, Any]) -> list[tuple[str, Any]]:
        return [(runs(each["spec"]), each["image"]) for each in (one, *(one.get("workers") or ()))]

    return ranks(before) == ranks(props)


def _rate(before: Mapping[str, Any] | None) -> float | None:
    found = (before or {}).get("loadRate")
    return float(found) if found else None
