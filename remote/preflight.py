"""A look at every node before anything is planned: all in parallel, one round trip each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from cluster import checks
from cluster.config import Settings
from cluster.errors import TrtSparkError, Unreachable
from cluster.fabric_addresses import Choice
from cluster.facts import Facts
from cluster.parsing import parse
from remote import fabric_addresses, node
from remote.ssh import Connection, Shell, SshShell

PROBE_TIMEOUT_S = 45
NO_CHOICE = Choice(())


@dataclass(frozen=True)
class Look:
    """What one look found: each node's facts and its answer about the model, head first; and what is
    worth a warning, a line each. The facts are those with the addresses of `fabric` in place.
    """

    facts: tuple[Facts, ...]
    caches: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...] = ()
    fabric: Choice = NO_CHOICE


@dataclass(frozen=True)
class Examination:
    """Everything one look found, good or bad: facts and caches of the nodes that were reached, head first;
    `errors`, why others were not; and `findings`, what the checks say.
    """

    facts: tuple[Facts, ...]
    caches: tuple[Mapping[str, Any], ...]
    errors: tuple[TrtSparkError, ...]
    findings: tuple[checks.Finding, ...]
    fabric: Choice = NO_CHOICE


def look(
    stack: str,
    settings: Settings,
    connections: Sequence[Connection],
    shell: Callable[[Connection], Shell] = SshShell,
) -> Look:
    """Facts of all nodes. Raises one error that lists every problem, a line each, before any change."""
    found = examine(stack, settings, connections, shell)
    failed = [one.error() for one in found.findings if one.level == "FAIL"]
    if found.errors or failed:
        raise TrtSparkError("\n".join(str(error) for error in (*found.errors, *failed)))
    warnings = tuple(str(one) for one in found.findings if one.level == "WARN")
    return Look(found.facts, found.caches, warnings, found.fabric)


def examine(
    stack: str,
    settings: Settings,
    connections: Sequence[Connection],
    shell: Callable[[Connection], Shell] = SshShell,
) -> Examination:
    """Facts of all nodes and what is wrong with them; raises nothing for a machine that is not right.

    Where a node cannot be reached, the others are still judged, by the checks that need no other node.
    """
    arguments = {
        "probe": {"hf_cache": settings.hf_cache, "port": settings.port},
        "hub_cache": {"hf_cache": settings.hf_cache, "model": settings.model},
    }
    script, command = node.program(probe="look", hub_cache="look"), node.command(arguments)
    shells = [shell(connection) for connection in connections]
    with ThreadPoolExecutor(len(connections)) as pool:
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
    context = checks.Context(stack, settings, facts, caches)
    findings = tuple(checks.findings(context, alone=bool(errors)) if reached else ())
    failed = {one.node for one in findings if one.level == "FAIL"}
    for connection, session, answer in zip(connections, shells, answers, strict=True):
        # Whoever mends it, by `usermod` say, should not meet the old login's rights next time.
        if isinstance(answer, TrtSparkError) or connection.host in failed:
            session.close()
    return Examination(facts, caches, errors, findings, choice)


def _ask(
    script: str, command: str, connection: Connection, session: Shell
) -> tuple[Facts, Mapping[str, Any]] | TrtSparkError:
    before = time.time()
    try:
        result = session.run(command, stdin=script, timeout=PROBE_TIMEOUT_S)
    except TrtSparkError as error:
        return error
    after = time.time()
    if result.code:
        said = (result.err.strip().splitlines() or [f"exit code {result.code}"])[-1]
        return Unreachable(
            connection.target, f"the probe failed: {said}.", "It needs python3 on the machine."
        )
    try:
        answer = node.answer(result.out)
    except ValueError:
        return Unreachable(
            connection.target,
            "the probe gave no answer.",
            f"Does `ssh -p {connection.port} {connection.user}@{connection.host} hostname` work?",
        )
    try:
        return parse(connection.host, answer["probe"], (before, after)), answer["hub_cache"]
    except TrtSparkError as error:
        return error
