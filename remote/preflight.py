"""A look at every node before anything is planned: all in parallel, one round trip each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from cluster import checks
from cluster.checks import fit
from cluster.checks.access import INTERACTIVE
from cluster.config import Settings
from cluster.errors import TrtSparkError, Unreachable
from cluster.fabric_addresses import Choice
from cluster.facts import Facts
from cluster.hub_files import Resolved
from cluster.image_table import Served, served
from cluster.parsing import parse
from cluster.registry import Answers
from cluster.resolution import Found, HubUnavailable
from cluster.service_spec import PAUSED, SILENT
from remote import fabric_addresses, live, model, node, registry, vocabularies
from remote.ssh import Connection, Result, Shell, SshShell

if TYPE_CHECKING:
    from remote.hub import Hub

PROBE_TIMEOUT_S = 45
#: Of remote/node/hub_cache.py's answer.
CACHE_KEYS = {"folder", "models", "commit", "files", "blobs", "problems", "tiktoken", "config"}
#: Of what a machine said, in an error.
SAID_CHARS = 200
NO_CHOICE = Choice(())
#: How the image's registry is asked, where a node lacks the image; None for not at all.
AskRegistry = Callable[
    [Settings, Sequence[Facts], Sequence[Connection], Callable[[Connection], Shell]], Answers | None
]
#: Why the server at a URL counts as dead (remote/live.py).
Silence = Callable[[str], str]
#: What these find is in the error already when the Hub cannot be asked.
_OF_THE_FILES = ("weights.whole", "weights.revision")


@dataclass(frozen=True)
class Look:
    """What one look found: each node's facts and its answer about the model, head first; what is worth a
    warning and what is good to know, a line each; and the model at its commit (None while stopped and
    not to be had). The facts are those with the addresses of `fabric` in place.
    """

    facts: tuple[Facts, ...]
    caches: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    found: Found | None = None
    fabric: Choice = NO_CHOICE

    def served(self, settings: Settings) -> Served:
        """What the table of images is asked about."""
        model = self.found.model if self.found else None
        return served(settings.model, model.shape if model else None, settings.backend)

    @property
    def revision(self) -> str:
        """The commit to serve; "" when nothing is known of it."""
        return self.found.commit if self.found else self.caches[0]["commit"] or ""


@dataclass(frozen=True)
class Examination:
    """Everything one look found, good or bad: facts and caches of the nodes that were reached, head first;
    `errors`, why others were not, and why the model cannot be had; `findings`, what the checks say; `found`,
    the model at its commit; `notes`, what is good to know.
    """

    facts: tuple[Facts, ...]
    caches: tuple[Mapping[str, Any], ...]
    errors: tuple[TrtSparkError, ...]
    findings: tuple[checks.Finding, ...]
    found: Found | None = None
    notes: tuple[str, ...] = ()
    fabric: Choice = NO_CHOICE
    silence: str = ""
    """Why rank 0's server, which should serve, counts as dead; live.LATE: it may; "": it answers, or none is
    there to be asked.
    """


def look(
    stack: str,
    settings: Settings,
    connections: Sequence[Connection],
    shell: Callable[[Connection], Shell] = SshShell,
    hub_of: Callable[[Settings], Hub] = model.default_hub,
    ask_registry: AskRegistry | None = registry.ask,
    silence: Silence = live.silence,
) -> Look:
    """Facts of all nodes. Raises one error that lists every problem, a line each, before any change.

    A server that should serve and answers no completion is SILENT in the facts, and so a pending change.
    """
    found = examine(stack, settings, connections, shell, hub_of, ask_registry, silence)
    failed = [one.error() for one in found.findings if one.level == "FAIL"]
    if found.errors or failed:
        raise TrtSparkError("\n".join(str(error) for error in (*found.errors, *failed)))
    warnings = tuple(str(one) for one in found.findings if one.level == "WARN")
    notes = (*(str(one) for one in found.findings if one.level == "NOTE"), *found.notes)
    facts = found.facts
    if found.silence:
        warnings = (*warnings, _of_silence(_served_at(stack, facts[0]), found.silence))
    if found.silence not in ("", live.LATE):
        head = replace(facts[0], specs={**facts[0].specs, (stack, "0"): SILENT})
        facts = (head, *facts[1:])
    return Look(facts, found.caches, warnings, notes, found.found, found.fabric)


def _served_at(stack: str, head: Facts) -> str:
    """The URL of this stack's server, where Swarm has it and rank 0's container runs; "" elsewhere.

    One that is paused, or about to be replaced, need not be asked. Its port is the one it was started with.
    """
    rank = (stack, "0")
    ports = [port for there, number, port in head.ranks if (there, number) == rank and port]
    if not ports or head.specs.get(rank) == PAUSED or head.specs.get(rank) != head.wanted.get(rank):
        return ""
    return f"http://{head.address}:{ports[0]}"


def _of_silence(url: str, why: str) -> str:
    if why == live.LATE:
        return (
            f"{url} lists its model, and a short completion took longer than {live.PLAN_TIMEOUT_S} s: it is "
            "busy, or it hangs. If it hangs, rank 0 ends it by itself within minutes."
        )
    return (
        f"{url} does not answer ({why}), although rank 0 runs: `pulumi up` starts it again, or waits for it "
        "where it has just been started."
    )


def examine(
    stack: str,
    settings: Settings,
    connections: Sequence[Connection],
    shell: Callable[[Connection], Shell] = SshShell,
    hub_of: Callable[[Settings], Hub] = model.default_hub,
    ask_registry: AskRegistry | None = None,
    silence: Silence | None = None,
) -> Examination:
    """Facts of all nodes and what is wrong with them; raises nothing for a machine that is not right.

    Where a node cannot be reached, the others are still judged, by the checks that need no other node.
    """
    arguments = {
        "probe": {"hf_cache": settings.hf_cache, "port": settings.port, "image": settings.image},
        "hub_cache": {"hf_cache": settings.hf_cache, "model": settings.model, "revision": settings.revision},
    }
    script, command = node.program(probe="look", hub_cache="look"), node.command(arguments)
    shells = [shell(connection) for connection in connections]
    with ThreadPoolExecutor(len(connections) + 1) as pool:
        asked = pool.submit(_asked, settings, hub_of)
        answers = list(pool.map(partial(_ask, script, command), connections, shells))
    errors = tuple(answer for answer in answers if isinstance(answer, TrtSparkError))
    reached = [answer for answer in answers if not isinstance(answer, TrtSparkError)]
    facts, caches = tuple(f for f, _ in reached), tuple(c for _, c in reached)
    choice = NO_CHOICE
    if not errors:
        try:
            facts, choice = fabric_addresses.settle(stack, settings, connections, facts, shell)
        except TrtSparkError as error:
            errors = (error,)
    resolved: Found | TrtSparkError | None = None
    of_registry: Answers | None = None
    silent = ""
    if not errors:
        names = [one.node for one in facts]
        serving = _served_at(stack, facts[0]) if silence and settings.running else ""
        with ThreadPoolExecutor(2) as pool:
            heard = pool.submit(silence, serving) if silence and serving else None
            told = pool.submit(ask_registry or _not_asked, settings, facts, connections, shell)
            resolved = _settled(settings, asked.result(), names, caches, lambda: shells[0], hub_of)
            of_registry = told.result()
            silent = heard.result() if heard else ""
    meant = None if isinstance(resolved, TrtSparkError) else resolved
    context = checks.Context(stack, settings, facts, caches, meant, of_registry)
    known = _OF_THE_FILES if isinstance(resolved, HubUnavailable) else ()
    findings = tuple(
        one
        for one in (checks.findings(context, alone=bool(errors)) if reached else ())
        if one.level != "FAIL" or one.check not in known
    )
    failed = {one.node for one in findings if one.level == "FAIL"}
    for connection, session, answer in zip(connections, shells, answers, strict=True):
        # Whoever mends it, by `usermod` say, should not meet the old login's rights next time.
        if isinstance(answer, TrtSparkError) or connection.host in failed:
            session.close()
    if isinstance(resolved, TrtSparkError):
        errors = (*errors, resolved)
    elif resolved and not errors:
        errors = tuple(vocabularies.problems(settings, resolved.architecture, caches))
    notes = () if errors else tuple(fit.notes(context))
    return Examination(facts, caches, errors, findings, meant, notes, choice, silent)


def _not_asked(*_about: object) -> None:
    """Where the registry's answer is of no use."""


def _asked(settings: Settings, hub_of: Callable[[Settings], Hub]) -> Resolved | TrtSparkError:
    try:
        return model.ask(settings, hub_of)
    except TrtSparkError as error:
        return error


def _settled(
    settings: Settings,
    answer: Resolved | TrtSparkError,
    nodes: Sequence[str],
    caches: Sequence[Mapping[str, Any]],
    shell: Callable[[], Shell],
    hub_of: Callable[[Settings], Hub],
) -> Found | TrtSparkError | None:
    """The model as it will be served, or what is wrong with it. A stack that is stopped needs none."""
    try:
        return model.settle(settings, answer, nodes, caches, shell, hub_of)
    except TrtSparkError as error:
        return error if settings.running else None


def _ask(
    script: str, command: str, connection: Connection, session: Shell
) -> tuple[Facts, Mapping[str, Any]] | TrtSparkError:
    before = time.time()
    try:
        result = session.run(command, stdin=script, timeout=PROBE_TIMEOUT_S)
    except TrtSparkError as error:
        return error
    after = time.time()
    try:
        if result.code:
            return _no_answer(connection, result)
        answer = node.answer(result.out)
        if CACHE_KEYS - answer["hub_cache"].keys():
            return _no_answer(connection, result)
        document, cache = (
            {**answer["probe"], "login_output": node.before_answer(result.out)},
            answer["hub_cache"],
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return _no_answer(connection, result)
    try:
        return parse(connection.host, document, (before, after)), cache
    except TrtSparkError as error:
        return error


def _no_answer(connection: Connection, result: Result) -> Unreachable:
    """Why the probe did not run to its end: no Python, or a login that is none for commands."""
    said = (result.err.strip() or result.out.strip()).splitlines()
    last = said[-1][:SAID_CHARS] if said else f"exit code {result.code}, and no output"
    if "python3" in last:
        return Unreachable(
            connection.target, f"the probe failed: {last}.", "It needs python3 on the machine."
        )
    return Unreachable(
        connection.target,
        f"the probe gave no answer ({last}).",
        f"Does `ssh -p {connection.port} {connection.user}@{connection.host} python3 --version` work? An "
        f"`exit` or `exec` in ~/.bashrc ends every command: put it behind `{INTERACTIVE}`.",
    )
