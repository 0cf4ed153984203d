"""The model's files on every node: looked at, hashed where unknown, fetched once, copied over the fabric.

Everything long runs on the nodes (remote/node/weights_*.py) and outlives this process: whoever comes next
finds it running and waits for the same end.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cluster import weights_plan
from cluster.errors import NodeError, NotPrepared, NotReady, PlanError, Unreachable
from cluster.service_spec import short
from cluster.weights_failure import AGAIN, failure
from cluster.weights_plan import Half, Work
from cluster.weights_progress import Progress
from remote import jobs, node, vocabularies
from remote.node import hub_names
from remote.ssh import Connection, Shell, SshShell

_STORE = ("stop", "whole_file", "detached", "cache_folder", "shared_folder", "hub_names", "weights_cache")
#: What `start` needs, and what everything else does.
MODULES = (
    *_STORE,
    "weights_incoming",
    "hub_wait",
    "weights_hub",
    "door",
    "weights_peer",
    "weights_agent",
    "weights_job",
)
LIGHT = (*_STORE, "weights_job")
PAUSE_S = 0.1
SAY_EVERY_S = 1.0
ROUNDS = 4
HUB_STREAMS = 8
STALL_S = 300.0
FIRST_BYTE_S = 60.0
SEEN_S = 90.0


class _Lost(Exception):
    """The work on a node ended without a word: look again, and go on."""


@dataclass(frozen=True)
class Nodes:
    """The machines of one resource, head first, and what their cache is asked about."""

    props: Mapping[str, Any]
    shells: Sequence[Shell]

    @property
    def names(self) -> list[str]:
        return [connection["host"] for connection in self.props["connections"]]

    @property
    def files(self) -> list[dict[str, Any]]:
        """Model files, then `extra` ones, which the head alone needs."""
        files = [{**file, "size": int(file["size"])} for file in self.props["files"]]
        extras = [
            {**file, "size": int(file["size"]), "lfs": True, "extra": True}
            for file in self.props.get("extras", [])
        ]
        return files + extras

    def wanted(self, number: int) -> list[bool]:
        """Which files a node shall hold."""
        return [number == 0 or not file.get("extra") for file in self.files]

    def target(self) -> str:
        """The same text for everything that leads to the same files on the same nodes."""
        what = [self.props["model"], self.props["revision"], self.names, self.files]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]

    def store(self, number: int) -> dict[str, Any]:
        """remote/node/weights_cache.py's Store, for one node."""
        return {
            "stack": short(self.props["stack"]),
            "hf_cache": self.props["hfCache"],
            "model": self.props["model"],
            "commit": self.props["revision"],
            "files": [file for file, wanted in zip(self.files, self.wanted(number), strict=True) if wanted],
        }

    def call(self, number: int, entry: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """An entry of remote/node/weights_job.py on one node. Raises NodeError with its sentence."""
        modules = MODULES if entry == "start" else LIGHT
        return jobs.call(self.shells[number], self.names[number], modules, entry, args, AGAIN)

    def every(self, entry: str, args: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
        """`call` on several nodes at once."""
        with ThreadPoolExecutor(max(1, len(args))) as pool:
            numbers = sorted(args)
            answers = pool.map(lambda number: self.call(number, entry, args[number]), numbers)
            return dict(zip(numbers, answers, strict=True))

    def look(self) -> dict[int, dict[str, Any]]:
        """The state of every file on every node; see weights_job.look. Raises PlanError where a name or a
        number cannot be the Hub's: it goes to no node.
        """
        if problem := hub_names.wrong(self.props["revision"], self.files):
            raise PlanError(f"{self.props['model']}: {problem}. Nothing was fetched.")
        return self.every("look", {number: self.store(number) for number in range(len(self.shells))})

    def only(self, numbers: Sequence[int]) -> Nodes:
        """Some of them, numbered anew."""
        own = {key: [self.props[key][number] for number in numbers] for key in ("connections", "halves")}
        return Nodes({**self.props, **own}, [self.shells[number] for number in numbers])


def nodes_of(props: Mapping[str, Any], shell: Callable[[Connection], Shell] = SshShell) -> Nodes:
    """The machines that `props["connections"]` names."""
    shells = [shell(Connection.from_props(connection)) for connection in props["connections"]]
    return Nodes(props, shells)


def ensure(
    props: Mapping[str, Any], token: str, say: Callable[[str], None], shell: Callable[..., Shell] = SshShell
) -> dict[str, Any]:
    """Every file whole on every node; the resource's outputs. Raises a TrtSparkError with what is wrong.

    `token`: for the Hub, "" for none; it is handed to the node that fetches and to no other.
    """
    everyone = nodes_of(props, shell)
    for _ in range(ROUNDS):
        nodes, found, shared = _ask(everyone)
        try:
            if not _step(nodes, found, token, say):
                break
        except _Lost:
            continue
    else:
        raise NotReady(f"the files of {props['model']} are not complete after {ROUNDS} rounds. {AGAIN}")
    _end(nodes, [number for number, one in found.items() if one["running"]])
    _see(everyone, shared)
    return {**props, "bytes": sum(file["size"] for file in nodes.files), "missing": {}}


def damage(
    props: Mapping[str, Any],
    say: Callable[[str], None],
    full: bool = False,
    shell: Callable[..., Shell] = SshShell,
) -> dict[str, str]:
    """{host: what is missing or changed there}, by the records; `full` hashes every file anew."""
    nodes, found, _ = _ask(nodes_of(props, shell))
    wrong = {
        number: {i for i, (state, _) in enumerate(one["files"]) if state != "verified"}
        for number, one in found.items()
    }
    if full:
        hashes = {
            number: [i for i in range(len(one["files"])) if i not in wrong[number]]
            for number, one in found.items()
        }
        statuses = _run(nodes, hashes, {}, "", say)
        for number, status in statuses.items():
            wrong[number] |= {int(i) for i in status["bad"]}
        _end(nodes, statuses)
    answer = {}
    for number, files in wrong.items():
        names = [nodes.store(number)["files"][i]["path"] for i in sorted(files)]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            answer[nodes.names[number]] = f"missing or changed: {', '.join(names[:3])}{more}"
        elif not found[number]["installed"]:
            answer[nodes.names[number]] = "the cache's links do not lead to this revision"
    return answer


def forget(props: Mapping[str, Any], delete: bool, shell: Callable[..., Shell] = SshShell) -> dict[str, Any]:
    """Take our records away and, where `delete`, the files that were fetched by this deployment.
    {"notes": what could not be known}.
    """
    nodes = nodes_of(props, shell)
    args = {"stack": short(props["stack"]), "delete": delete}
    done = nodes.every("forget", dict.fromkeys(range(len(nodes.shells)), args))
    return {"notes": [note for answer in done.values() for note in answer.get("notes", [])]}


def _ask(everyone: Nodes) -> tuple[Nodes, dict[int, dict[str, Any]], dict[int, list[int]]]:
    """The nodes that keep files and the state of those; and who keeps them for whom, by everyone's numbers.

    Where several nodes have one folder, the first of them does it all: two receivers would write the same
    files.
    """
    found = everyone.look()
    shared = weights_plan.sharing([found[number]["shared"] for number in sorted(found)])
    return everyone.only(list(shared)), dict(enumerate(found[number] for number in shared)), shared


def _see(nodes: Nodes, shared: Mapping[int, Sequence[int]]) -> None:
    """Wait until the others see what the first one has put into their folder: NFS clients remember for up to
    a minute that a file was not there. Raises NodeError for one that does not see it.
    """
    deadline = time.monotonic() + SEEN_S
    todo = {number: first for first, others in shared.items() for number in others}
    while todo:
        found = nodes.every("look", {number: nodes.store(number) for number in todo})
        todo = {
            number: first
            for number, first in todo.items()
            if not found[number]["installed"]
            or any(state == "missing" for state, _ in found[number]["files"])
        }
        if todo and time.monotonic() > deadline:
            number, first = next(iter(todo.items()))
            raise NodeError(
                nodes.names[number],
                f"{found[number]['folder']} is the folder of {nodes.names[first]} by its mount, and the "
                "files that were put there are not seen here.",
                "Mount it there in the same way as on the other, then run `pulumi up` again.",
            )
        time.sleep(PAUSE_S if todo else 0)


def _step(nodes: Nodes, found: Mapping[int, Any], token: str, say: Callable[[str], None]) -> bool:
    """One thing that is to be done, done; False when there is none."""
    states = {number: [state for state, _ in one["files"]] for number, one in found.items()}
    if running := _attachable(nodes, found):
        _watch(nodes, running, say)
        return True
    unknown = {
        number: [i for i, state in enumerate(mine) if state == "present"] for number, mine in states.items()
    }
    if any(unknown.values()):
        bad = _run(nodes, unknown, {}, "", say)
        _end(nodes, bad)
        # A present file of the wrong content counts as missing from here on.
        states = {number: list(mine) for number, mine in states.items()}
        for number, mine in states.items():
            wrong = {int(i) for i in bad[number]["bad"]} if number in bad else set()
            states[number] = [
                "missing" if i in wrong else "verified" if state == "present" else state
                for i, state in enumerate(mine)
            ]
    lacking = any(state == "missing" for mine in states.values() for state in mine)
    if not lacking and all(one["installed"] for one in found.values()):
        return any(unknown.values())
    plan = _plan(nodes, states)
    work = {n: mine for n, mine in plan.items() if not mine.idle or not found[n]["installed"]}
    _allowed(nodes, states, work)
    statuses = _run(nodes, {}, work, token, say)
    _end(nodes, statuses)
    return True  # "done" is a node's word: the next look confirms it


def _plan(nodes: Nodes, states: Mapping[int, Sequence[str]]) -> dict[int, Work]:
    """A node's number -> its work; nodes without any are not in it unless their links are to be made."""
    files, numbers = nodes.files, sorted(states)
    wanted = [nodes.wanted(number) for number in numbers]
    there = []
    for number in numbers:
        mine = iter(states[number])
        there.append([next(mine) == "verified" if need else False for need in wanted[number]])
    sent = [bool(file.get("extra") and nodes.props.get("tiktokenFolder")) for file in files]
    return dict(enumerate(weights_plan.assign([file["size"] for file in files], there, wanted, sent)))


def _allowed(nodes: Nodes, states: Mapping[int, Sequence[str]], work: Mapping[int, Work]) -> None:
    """Refuse before anything is fetched what configuration or cabling do not allow."""
    model = nodes.props["model"]
    for number, mine in work.items():
        host = nodes.names[number]
        if not nodes.props["fetch"] and any(source is not None for source in mine.sources):
            absent = [
                file["path"] for file, s in zip(nodes.files, mine.sources, strict=True) if s is not None
            ]
            raise NotPrepared(
                host,
                f"{absent[0]} of {model} is not there or not whole, and downloadWeights is false.",
                f"Set it to true, or run there `hf download {model} --revision {nodes.props['revision']}`.",
            )
        asked = [f for f, s in zip(nodes.files, mine.sources, strict=True) if s == "hub" and not f.get("url")]
        if asked and not nodes.props["endpoint"]:
            raise NotPrepared(host, f"{model} is whole on no node.", "The Hub must be reachable to fetch it.")
        for other in {source for source in mine.sources if isinstance(source, int)}:
            if not weights_plan.links(_halves(nodes, number), _halves(nodes, other)):
                raise PlanError(
                    f"{host} and {nodes.names[other]} share no fabric subnet to copy {model} over. "
                    "Check the cable's addresses, or allow the management link: "
                    "`pulumi config set --path weights.over any`."
                )


def _halves(nodes: Nodes, number: int) -> list[Half]:
    return [Half(*half) for half in nodes.props["halves"][number]]


def _run(
    nodes: Nodes,
    hashes: Mapping[int, Sequence[int]],
    work: Mapping[int, Work],
    token: str,
    say: Callable[[str], None],
) -> dict[int, dict[str, Any]]:
    """Start a job on every node with something to do and wait for its end: the last statuses."""
    taking_part = [n for n in range(len(nodes.shells)) if hashes.get(n) or n in work]
    name, key = f"{nodes.target()}-{secrets.token_hex(4)}", secrets.token_hex(32)
    jobs = {
        number: _job(nodes, number, name, key, hashes.get(number, ()), work.get(number), token)
        for number in taking_part
    }
    fetched = any("hub" in mine.sources for mine in work.values())
    for job in jobs.values():
        job |= {"nodes": taking_part, "following": HUB_STREAMS if fetched else 0}
    # Where a job of this deployment still runs, `start` ends it: what it has fetched stays.
    ports = {number: answer["ports"] for number, answer in nodes.every("start", jobs).items()}
    peers = {
        number: _peers(nodes, number, mine, ports)
        for number, mine in work.items()
        if any(isinstance(source, int) for source in mine.sources)
    }
    stack = short(nodes.props["stack"])
    nodes.every("connect", {n: {"stack": stack, "job": name, "peers": mine} for n, mine in peers.items()})
    statuses = _watch(nodes, taking_part, say)
    for number, status in statuses.items():
        if status.get("checked") != len(hashes.get(number, ())):
            raise NodeError(
                nodes.names[number], f"some files of {nodes.props['model']} were not checked.", AGAIN
            )
    return statuses


def _job(
    nodes: Nodes,
    number: int,
    name: str,
    key: str,
    hashes: Sequence[int],
    work: Work | None,
    token: str,
) -> dict[str, Any]:
    files = nodes.files
    sources = list(work.sources) if work else [None] * len(files)
    # Every node counts the files alike: the model's first, the extra ones after them.
    sources = sources[: len(nodes.store(number)["files"])]
    content = {
        file["path"]: base64.b64encode(vocabularies.own(nodes.props["tiktokenFolder"], file)).decode()
        for file, source in zip(files, sources, strict=False)
        if source == "sent"
    }
    serves = bool(work and work.readers)
    return {
        **nodes.store(number),
        "job": name,
        "me": number,
        "endpoint": nodes.props["endpoint"],
        "token": token if "hub" in sources else "",
        "key": key,
        "listen": [[half.address, half.interface] for half in _halves(nodes, number)] if serves else [],
        "hash": list(hashes),
        "sources": sources,
        "sent": content,
        "readers": work.readers if work else 0,
        "streams": int(nodes.props.get("streams") or 0),
        "hub_streams": HUB_STREAMS,
        "stall": STALL_S,
        "first": FIRST_BYTE_S,
        "install": work is not None,
    }


def _peers(nodes: Nodes, number: int, work: Work, ports: Mapping[int, Sequence[int]]) -> dict[str, Any]:
    answer = {}
    for other in {source for source in work.sources if isinstance(source, int)}:
        found = weights_plan.links(_halves(nodes, number), _halves(nodes, other))
        answer[str(other)] = [
            [link.own.address, link.own.interface, link.other.address, ports[other][link.half]]
            for link in found
        ]
    return answer


def _attachable(nodes: Nodes, found: Mapping[int, Any]) -> list[int]:
    """The nodes of a job for these very files that an earlier run left going, all of them alive."""
    running = {number: one["running"] for number, one in found.items() if one["running"]}
    names = {status.get("job") for status in running.values()}
    if len(names) != 1 or not str(names.pop()).startswith(nodes.target() + "-"):
        return []
    alive = all(status["state"] != "failed" and status["connected"] for status in running.values())
    whole_job = all(
        n in running or all(state == "verified" for state, _ in found[n]["files"])
        for status in running.values()
        for n in map(int, status["nodes"])
    )
    working = any(status["state"] == "running" for status in running.values())
    return sorted(running) if alive and whole_job and working else []


def _watch(nodes: Nodes, numbers: Iterable[int], say: Callable[[str], None]) -> dict[int, dict[str, Any]]:
    """Wait until every node is done. Raises NodeError with the first node's reason, _Lost when one died."""
    progress, numbers = Progress(nodes.names), list(numbers)
    command = jobs.status_command(f"~/.local/state/trtspark/{shlex.quote(short(nodes.props['stack']))}")
    statuses: dict[int, dict[str, Any]] = {}
    heard = dict.fromkeys(numbers, time.monotonic())
    said = time.monotonic()

    def poll(number: int) -> None:
        try:
            result = nodes.shells[number].run(command, timeout=jobs.CALL_TIMEOUT_S)
            status = node.answer(result.out) if not result.code else {}
        except (Unreachable, ValueError):
            return
        if status and status.get("beat") != statuses.get(number, {}).get("beat"):
            heard[number] = time.monotonic()
        if status:
            statuses[number] = status

    with ThreadPoolExecutor(max(1, len(numbers))) as pool:
        while True:
            list(pool.map(poll, [n for n in numbers if statuses.get(n, {}).get("state") != "done"]))
            _raise_failure(nodes, statuses)
            now = time.monotonic()
            if all(statuses.get(number, {}).get("state") == "done" for number in numbers):
                return statuses
            if any(
                now - heard[n] > jobs.SILENCE_S for n in numbers if statuses.get(n, {}).get("state") != "done"
            ):
                raise _Lost
            if now - said > SAY_EVERY_S:
                said = now
                if line := progress.line(now, statuses):
                    say(line)
            time.sleep(PAUSE_S)


def _raise_failure(nodes: Nodes, statuses: Mapping[int, Mapping[str, Any]]) -> None:
    error = failure(nodes.names, nodes.props["model"], statuses)
    if error is None:
        return
    with suppress(NodeError):
        _end(nodes, range(len(nodes.shells)))
    raise error


def _end(nodes: Nodes, numbers: Iterable[int]) -> None:
    args = {"stack": short(nodes.props["stack"])}
    nodes.every("end", dict.fromkeys(numbers, args))
