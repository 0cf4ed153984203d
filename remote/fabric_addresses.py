"""`fabric: configure` on the machines: the second look before the plan, and the guarded change.

The change runs on the node by itself (remote/node/fabric_config.py). From here only the confirmation comes,
over a new connection: when that cannot be had, the node puts its old network back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from cluster import fabric_addresses as choosing
from cluster import netplan
from cluster.config import Settings
from cluster.errors import NodeError, NotPrepared, Unreachable
from cluster.fabric_addresses import Choice, NodeAddresses
from cluster.fabric_files import Seen, seen
from cluster.facts import Facts
from remote import answers, node
from remote.node import deadline, fabric_config
from remote.ssh import Connection, FreshShell, Shell, SshShell

#: How long a node waits for the confirmation before it puts the old network back.
KEEP_S = 30
#: Of that, how long it may take until the interfaces have their addresses: NetworkManager takes seconds.
SETTLE_S = 20
GUARD_S = fabric_config.GUARD_S
#: A look, and a change's beginning, wait for another's end.
LOOK_TIMEOUT_S = deadline.operators(deadline.LOCK_S, fabric_config.WORK_S)
RETRY_S = 0.3
#: One question waits this long for the guard to get further.
POLL_S = 0.5
ASK_TIMEOUT_S = deadline.operators(POLL_S, fabric_config.ASK_S, fabric_config.FINISH_S)
ENDS = ("kept", "restored", "removed")

Dial = Callable[[Connection], Shell]


def settle(
    stack: str,
    settings: Settings,
    connections: Sequence[Connection],
    facts: Sequence[Facts],
    shell: Dial = SshShell,
) -> tuple[tuple[Facts, ...], Choice]:
    """The facts as they will be with the addresses that the configuration asks for, and the choice.

    Looks at the nodes only where there is something to decide or to take back. Raises PlanError or
    NodeError before anything is touched.
    """
    nothing = Choice(tuple(NodeAddresses() for _ in facts))
    configure = settings.fabric == "configure" and len(facts) > 1
    if not configure and not any(netplan.FILE_NAME in one.netplan for one in facts):
        return tuple(facts), nothing
    looks = _looks(connections, facts, shell)
    if not configure:
        return _without(stack, facts, looks)
    # What a stack wrote whose machines are taken over is ours from now on; `apply` writes down so.
    looks = [replace(look, stack=stack) if look.stack == settings.take_over else look for look in looks]
    choice = choosing.choose(stack, facts, looks, [one.fabric for one in settings.active_nodes])
    future = [choosing.applied(one, part.addresses) for one, part in zip(facts, choice.nodes, strict=True)]
    return tuple(future), choice


def _without(stack: str, facts: Sequence[Facts], looks: Sequence[Seen]) -> tuple[tuple[Facts, ...], Choice]:
    """With `fabric: detect`, the addresses that this stack set before go; another stack's stay."""
    parts = tuple(NodeAddresses() for _ in facts)
    mine = [look.addresses if look.stack == stack else {} for look in looks]
    notes = tuple(
        f"fabric: {one.node}: the addresses that this stack set are taken back (`fabric: detect`)."
        for one, addresses in zip(facts, mine, strict=True)
        if addresses
    )
    future = [
        choosing.taken_back(one, addresses) if addresses else one
        for one, addresses in zip(facts, mine, strict=True)
    ]
    return tuple(future), Choice(parts, notes)


def _looks(connections: Sequence[Connection], facts: Sequence[Facts], shell: Dial) -> list[Seen]:
    """All nodes' answers, side by side: those with two cables must look for each other at the same time."""
    anyone = any(choosing.undecided(one) for one in facts)

    def one(pair: tuple[Connection, Facts]) -> Seen:
        connection, mine = pair
        at = [half.netdev for half in mine.hcas if half.active and half.netdev] if anyone else []
        answer = _ask(
            shell(connection),
            connection,
            LOOK_TIMEOUT_S,
            action="look",
            neighbours=at,
            wait_s=deadline.LOCK_S,
        )
        if answer["waited"]:
            raise NotPrepared(
                connection.host,
                "another run's change of it was under way, and has ended just now.",
                "Run the same again.",
            )
        return seen(answer)

    with ThreadPoolExecutor(len(connections)) as pool:
        return list(pool.map(one, zip(connections, facts, strict=True)))


def apply(
    props: Mapping[str, Any], say: Callable[[str], None], dial: Dial = FreshShell, keep_s: float = KEEP_S
) -> dict[str, Any]:
    """Bring a node to the addresses of `props`: the resource's outputs.

    Raises NodeError when the node put its old network back, with the reason.
    """
    connection = Connection.from_props(props["connection"])
    arguments = {
        "stack": props["stack"],
        "file": props["file"],
        "addresses": dict(props["addresses"]),
        "gids": sorted(props["gids"]),
        "mtu": netplan.MTU,
        "wait_s": deadline.LOCK_S,
    }
    shell = dial(connection)
    ended = _ask(shell, connection, LOOK_TIMEOUT_S, action="begin", keep_s=keep_s, **arguments)
    if ended["phase"] == "applying":
        say(f"netplan apply: the old network comes back unless a new login works within {keep_s:.0f} s")
        settled = {**arguments, "settle_s": min(SETTLE_S, keep_s * 2 / 3)}
        ended = _until_ended(shell, connection, keep_s, settled)
    if ended["phase"] != "kept":
        raise NodeError(
            connection.host,
            f"the fabric's addresses were not kept ({ended['reason'] or 'no reason'}); its network is as "
            "it was.",
            "Look at the file in the preview and at /etc/netplan there; docs/fabric.md has the causes.",
        )
    return {**props, "mtu": netplan.MTU}


def remove(props: Mapping[str, Any], say: Callable[[str], None], dial: Dial = FreshShell) -> dict[str, Any]:
    """Take our file off a node and apply what is left; {"notes": what could not be known}. Raises NodeError
    when that cannot be done.
    """
    connection = Connection.from_props(props["connection"])
    arguments = {
        "stack": props["stack"],
        "file": "",
        "ours": str(props.get("file") or ""),
        "addresses": dict(props["addresses"]),
        "mtu": netplan.MTU,
        "settle_s": 0,
        "wait_s": deadline.LOCK_S,
    }
    shell = dial(connection)
    ended = _ask(shell, connection, LOOK_TIMEOUT_S, action="remove", **arguments)
    notes = [ended["note"]] if ended.get("note") else []
    if ended["phase"] == "applying":
        say("netplan apply: the interfaces go back to what the other files say")
        ended = _until_ended(shell, connection, KEEP_S, arguments)
    if ended["reason"]:
        raise NodeError(
            connection.host,
            f"our netplan file is removed, but {ended['reason']}.",
            "Run `sudo netplan apply` there, or restart the machine.",
        )
    return {"notes": notes}


def read(props: Mapping[str, Any], shell: Dial = SshShell) -> dict[str, Any]:
    """{"file", "addresses"} as they are on the node now."""
    connection = Connection.from_props(props["connection"])
    found = _ask(
        shell(connection), connection, LOOK_TIMEOUT_S, action="read", netdevs=sorted(props["addresses"])
    )
    return {"file": found["file"], "addresses": found["addresses"]}


def _until_ended(
    shell: Shell, connection: Connection, keep_s: float, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """The guard's end, over as many new logins as it takes: its address is gone for a while at least.

    The confirmation has a login of its own, made after the guard was seen waiting: one made earlier could
    have lived through a change that lets no new one in.
    """
    deadline = time.monotonic() + keep_s + GUARD_S
    while True:
        try:
            found = _ask(
                shell, connection, ASK_TIMEOUT_S, **{**arguments, "action": "outcome", "wait_s": POLL_S}
            )
            if found["phase"] == "waiting":
                found = _confirm(shell, connection, arguments)
            if found["phase"] in ENDS:
                return found
        except Unreachable as error:
            lost = error.found
        else:
            lost = f"it is {found['phase']} still."
        if time.monotonic() > deadline:
            raise NodeError(
                connection.host,
                "its fabric addresses were applied, and its guard has not come to an end within "
                f"{keep_s + GUARD_S:.0f} s: {lost}",
                "Look at the machine itself: a restart brings the old network back.",
            )
        time.sleep(RETRY_S)


def _confirm(shell: Shell, connection: Connection, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Have the addresses kept, or given up, and wait for that."""
    asking = (arguments["settle_s"], GUARD_S, 2 * fabric_config.ASK_S, fabric_config.FINISH_S)
    question = {**arguments, "action": "confirm", "wait_s": GUARD_S}
    return _ask(shell, connection, deadline.operators(*asking), **question)


def _ask(shell: Shell, connection: Connection, timeout: float, **arguments: Any) -> dict[str, Any]:
    """One run of the node's program. Raises Unreachable, or NodeError with its sentence."""
    script = node.program(fabric_config="main")
    done = shell.run(node.command({"fabric_config": arguments}), stdin=script, timeout=timeout)
    if done.code:
        raise NodeError(connection.host, answers.said(done), "")
    try:
        found: dict[str, Any] = node.answer(done.out)["fabric_config"]
    except (ValueError, KeyError):
        raise Unreachable(connection.target, "the node's program gave no answer.", "Try it again.") from None
    return found
