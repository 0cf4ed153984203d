"""The steps of `trtspark init`: nodes, their logins, a look at them, the model, and what is written."""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.markup import escape
from rich.table import Table

from cluster.config import Settings, load
from cluster.errors import ConfigError, NodeError, TrtSparkError
from remote.ssh import Connection
from trtspark import host_keys, login, nodes, shelf, terminal
from trtspark.discovery import Neighbour
from trtspark.project import PROJECT
from trtspark.questions import Questions

DEFAULT_USER = "nvidia"
#: The answer that ends the list of nodes.
NO_MORE = "-"
_NODE = re.compile(
    r"(?:(?P<user>[A-Za-z_][\w.-]*)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*)(?::(?P<port>\d{1,5}))?"
)


@dataclass(frozen=True)
class Flags:
    """What the command line says; None: ask."""

    nodes: Sequence[str] = ()
    user: str | None = None
    ssh_key: str | None = None
    accepted: Sequence[str] = ()
    install_key: bool | None = None
    docker_group: bool | None = None
    model: str | None = None
    install_sudoers: bool | None = None


@dataclass
class Plan:
    """The configuration as it grows: what the stack has, and what is to be."""

    before: Mapping[str, Any]
    wanted: dict[str, Any] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        """The value as it will be."""
        return self.wanted.get(key, self.before.get(key))

    def settings(self) -> Settings:
        """All of it, checked as `pulumi preview` would. Raises ConfigError."""
        merged = {key: value for key, value in {**self.before, **self.wanted}.items() if value is not None}
        return load({f"{PROJECT}:{key}": _text(value) for key, value in merged.items()}, PROJECT)


def node_of(text: str, user: str) -> dict[str, Any]:
    """[user@]host[:port] as an entry of `nodes`. Raises ConfigError."""
    found = _NODE.fullmatch(text.strip())
    if found is None or not 1 <= int(found["port"] or 22) <= 65535:
        raise ConfigError(
            f"{text!r} is no node: type a host name or an address, as in spark-1a2b.local, 192.168.1.11 or "
            "nvidia@192.168.1.11:2222"
        )
    entry: dict[str, Any] = {"host": found["host"].rstrip("."), "user": found["user"] or user}
    if found["port"] and int(found["port"]) != 22:
        entry["port"] = int(found["port"])
    return entry


def merged(entry: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entry with what the stack says more of that machine, like its fabric addresses."""
    old = next((one for one in before if one.get("host") == entry["host"]), {})
    return {**old, **entry}


def ask_nodes(
    ask: Questions, flags: Flags, plan: Plan, seen: Sequence[Neighbour], cabled: Any
) -> list[dict[str, Any]]:
    """The nodes, head first, each with a host key that was agreed on and a login that works.

    `cabled(connection)`: the host keys at the other end of the head's cables.
    """
    before = list(plan.before.get("nodes") or [])
    user = flags.user or (before[0].get("user", DEFAULT_USER) if before else DEFAULT_USER)
    found: list[dict[str, Any]] = []
    if flags.nodes:
        for text in flags.nodes:
            found.append(_settled(ask, flags, plan, node_of(text, user), found))
        return found
    _show(seen, ())
    listed = [_written(one) for one in before] or _first_two(seen, user)
    others: Sequence[Neighbour] = seen
    while True:
        number = len(found)
        default = listed[number] if number < len(listed) else None
        if number == 1:
            keys = set(cabled(connection_of(found[0], flags.ssh_key or plan.get("sshKey"))))
            others = _match(seen, found, keys)
            _show(others, keys)
            if not before and others:
                default = _written(node_of(others[0].address, user))
        entry = _node_asked(ask, number, default, number > 1 or bool(before), others, user)
        if entry is None:
            return found
        try:
            found.append(_settled(ask, flags, plan, entry, found))
        except TrtSparkError as error:
            if not ask.interactive:
                raise
            terminal.error(str(error))
            if found:
                terminal.hint(f"Kept so far: {', '.join(_written(one) for one in found)}.")


def _match(seen: Sequence[Neighbour], found: Sequence[Mapping[str, Any]], keys: set[str]) -> list[Neighbour]:
    """The machines that are left, the one at the other end of the cable first, told by its host key."""
    # A machine may be offered once for each of its addresses.
    head = {one.name for one in seen if found[0]["host"] in (one.address, one.name, f"{one.name}.local")}
    left = [one for one in seen if one.name not in head]
    if not keys:
        return left

    def wired(one: Neighbour) -> bool:
        try:
            return bool(keys & set(host_keys.offered(one.address, one.port).values()))
        except TrtSparkError:
            return False

    return sorted(left, key=lambda one: not wired(one))


def _first_two(seen: Sequence[Neighbour], user: str) -> list[str]:
    """Two machines as they are typed, each by the first of its addresses."""
    firsts = {one.name: one for one in reversed(seen)}
    return [f"{user}@{firsts[name].address}" for name in sorted(firsts)[:2]]


def _show(seen: Sequence[Neighbour], keys: Any) -> None:
    if seen:
        terminal.hint("Machines on this network" + (" (the cabled one first):" if keys else ":"))
    for number, one in enumerate(seen, 1):
        terminal.err.print(f"  {number}  {one}", markup=False)


def _node_asked(
    ask: Questions,
    number: int,
    default: str | None,
    enough: bool,
    seen: Sequence[Neighbour],
    user: str,
) -> dict[str, Any] | None:
    """The next node; None for no more. `enough`: whether Enter may mean that."""
    which = "number, host name or address" if seen else "host name or address"
    if number == 0:
        question = f"Head ({which}, or user@host; the user is {user} by default)"
    else:
        question = f"Worker {number} ({which}; - for none)"
        default = default or (NO_MORE if enough or not ask.interactive else None)

    def check(text: str) -> str:
        if text != NO_MORE or number == 0:
            _meant(text, seen, user)
        return text

    text = ask.text(None, "--node", question, default, check)
    return None if text == NO_MORE else _meant(text, seen, user)


def _meant(text: str, seen: Sequence[Neighbour], user: str) -> dict[str, Any]:
    if text.isdecimal() and 1 <= int(text) <= len(seen):
        one = seen[int(text) - 1]
        return node_of(f"{one.address}:{one.port}", user)
    return node_of(text, user)


def _written(entry: Mapping[str, Any]) -> str:
    port = int(entry.get("port", 22))
    return f"{entry.get('user', DEFAULT_USER)}@{entry['host']}" + (f":{port}" if port != 22 else "")


def _settled(
    ask: Questions, flags: Flags, plan: Plan, entry: dict[str, Any], found: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The node with its host key agreed on and its login proven. Raises NodeError for one of `found`."""
    whole = merged(entry, list(plan.before.get("nodes") or []))
    port = int(whole.get("port", 22))
    _not_again(whole, found)
    keys = host_keys.offered(whole["host"], port)
    _not_again(whole, found, keys.values())
    known = host_keys.known(whole["host"], port, str(plan.get("knownHosts") or "~/.ssh/known_hosts"))
    whole["hostKey"] = host_keys.settle(ask, whole["host"], keys, flags.accepted, whole.get("hostKey"), known)
    login.ensure(ask, connection_of(whole, flags.ssh_key or plan.get("sshKey")), flags.install_key)
    terminal.hint(f"{whole['host']}: the login of {whole['user']} works.")
    return whole


def _not_again(
    entry: Mapping[str, Any], found: Sequence[Mapping[str, Any]], keys: Collection[str] = ()
) -> None:
    """Raise NodeError if the machine is one of those `found`: by name, by address, or by its host `keys`."""
    for other in found:
        name, one = str(entry["host"]), str(other["host"])
        if name.lower().rstrip(".") == one.lower().rstrip("."):
            raise NodeError(name, "it is in the list already.", "Name another Spark.")
        if other.get("hostKey") in keys:
            raise NodeError(
                name,
                f"it shows the same host key as {one}, so it is the same machine.",
                "Name another Spark. If this one is a copy of the other's disk, give it its own: "
                "`sudo rm /etc/ssh/ssh_host_* && sudo ssh-keygen -A`, and restart ssh.",
            )
        same_port = entry.get("port", 22) == other.get("port", 22)
        if not keys and same_port and (shared := _addresses(name) & _addresses(one)):
            raise NodeError(
                name, f"it is {one}, which is in the list already ({min(shared)}).", "Name another Spark."
            )


def _addresses(host: str) -> set[str]:
    """The addresses that a name stands for; none where it cannot be resolved."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()


def connection_of(entry: Mapping[str, Any], ssh_key: str | None) -> Connection:
    """The login of one entry of `nodes`."""
    from remote.logins import connections

    plain = {"nodes": [dict(entry)], "model": "a/b", **({"sshKey": ssh_key} if ssh_key else {})}
    return connections(Settings.model_validate(plain))[0]


def at_the_cable(connection: Connection) -> list[str]:
    """Host keys of the machines at the other end of a Spark's cables; [] where nothing is to be learned."""
    answer = nodes.every([connection], "rdma_interfaces", "look", {})[0]
    if isinstance(answer, TrtSparkError) or not answer["interfaces"]:
        return []
    found = nodes.every([connection], "fabric_neighbours", "look", answer)[0]
    if isinstance(found, TrtSparkError):
        return []
    return [key for one in found["neighbours"] for key in one["keys"]]


def show_models(rows: Sequence[shelf.Row], width: int | None = None) -> Table:
    """The list to choose from, with the verdict beside each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, least in (("#", 2), ("Model", 12), ("GB", 3), ("Weights", 7), ("Fit here", 12), ("Sparks", 6)):
        right = name in ("#", "GB", "Sparks")
        table.add_column(
            name,
            justify="right" if right else "left",
            no_wrap=True,
            overflow="ellipsis",
            # The id alone gives way in a narrow terminal.
            min_width=least,
            ratio=1 if name == "Model" and width else None,
        )
    table.add_column("There", no_wrap=True, min_width=5)
    table.add_column("", no_wrap=True, min_width=7)
    for row in rows:
        marks = "current" if row.current else "gated" if row.model.gated else ""
        marks = {"refuse": "refused", "warn": "caution"}.get(row.image or "", marks)
        table.add_row(
            str(row.number),
            escape(row.model.id),
            f"{max(1, round(row.bytes / 1e9))}" if row.bytes else "?",
            row.model.quantisation,
            shown_word(row.word),
            str(row.nodes or "?"),
            row.cached,
            marks,
            style="bold" if row.current else None,
        )
    if width:
        table.width = width
    return table


def shown_word(word: str) -> str:
    """The verdict in its colour; the words say the same without one."""
    colour = {"fits": "green", "tight": "yellow", "does not fit": "red"}.get(word)
    return f"[{colour}]{word}[/]" if colour else "not known"


def _text(value: Any) -> str:
    import json

    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)
