"""Moving the server to another spec, for dynamic_providers/swarm_service.py: never to nothing when there was
something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cluster.errors import NotReady, TrtSparkError
from cluster.patience import load_rate, patience
from cluster.service_spec import runs
from cluster.swarm_plan import STACK_LABEL
from remote import live
from remote.readiness import gate
from remote.services import apply
from remote.ssh import Connection

Say = Callable[[str], None]


def serve(
    props: Mapping[str, Any], before: Mapping[str, Any] | None, say: Say, warn: Say = lambda _text: None
) -> dict[str, Any]:
    """Bring a service to its spec; a server proves that it answers, or the one before comes back.

    `say` shows progress, `warn` leaves a warning: of ranks that serve, but more slowly than they could.
    `before` is the state's last good one, None for a new service. Raises TrtSparkError with the cause; what
    then runs is what the state says.
    """
    if "gate" not in props:
        return apply(props)
    if not props["gate"]:
        return {**apply(props), "readySeconds": None, "provenTransport": [], "loadRate": _rate(before)}
    try:
        outs = _gated(props, _rate(before), say)
    except TrtSparkError as error:
        if before is None or not before.get("gate"):
            raise
        raise NotReady(f"{error} {_back(before, say)}") from None
    logins = [Connection.from_props(one) for one in props["gate"]["connections"]]
    for text in live.confined(props["spec"]["Labels"][STACK_LABEL], props["image"], logins):
        warn(text)
    return outs


def _gated(props: Mapping[str, Any], rate: float | None, say: Say) -> dict[str, Any]:
    waiting = props["gate"]
    size = int(waiting["bytes"])
    timeout = float(waiting["timeout"] or patience(size, rate))
    outs = apply(props)
    found = gate({**waiting, "timeout": timeout, "fingerprint": runs(props["spec"])}, say)
    ready = found["readySeconds"]
    return {
        **outs,
        "readySeconds": ready,
        "provenTransport": found["provenTransport"],
        "loadRate": load_rate(size, ready) or rate,
    }


def _back(before: Mapping[str, Any], say: Say) -> str:
    """Bring the last good server back; a sentence on what serves now."""
    model = before["gate"]["model"]
    say(f"{model} comes back")
    try:
        for worker in before.get("workers") or []:
            apply({**worker, "manager": before["manager"]})
        _gated(before, _rate(before), lambda text: say(f"{model} comes back: {text}"))
    except TrtSparkError as error:
        return f"And {model}, which served before, did not come back: {error}"
    return (
        f"{model} serves again as before. Mend the configuration (or set back what you changed), then "
        "`pulumi up`."
    )


def _rate(before: Mapping[str, Any] | None) -> float | None:
    found = (before or {}).get("loadRate")
    return float(found) if found else None
