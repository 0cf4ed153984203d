"""A look at every node before anything is planned: all in parallel, one round trip each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from cluster import checks
from cluster import facts as parsing
from cluster.config import Settings
from cluster.errors import TrtSparkError, Unreachable
from cluster.facts import Facts
from remote import node
from remote.ssh import Connection, Shell, SshShell

PROBE_TIMEOUT_S = 45


@dataclass(frozen=True)
class Look:
    """What one look found: each node's facts and its answer about the model, head first; and what is
    worth a warning, a line each.
    """

    facts: tuple[Facts, ...]
    caches: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...] = ()


def look(
    stack: str,
    settings: Settings,
    connections: Sequence[Connection],
    shell: Callable[[Connection], Shell] = SshShell,
) -> Look:
    """Facts of all nodes. Raises one error that lists every problem, a line each, before any change."""
    arguments = {"hub_cache": {"hf_cache": settings.hf_cache, "model": settings.model}}
    script, command = node.program(probe="look", hub_cache="look"), node.command(arguments)

    def one(connection: Connection) -> tuple[Facts, Mapping[str, Any]] | TrtSparkError:
        session = shell(connection)
        try:
            result = session.run(command, stdin=script, timeout=PROBE_TIMEOUT_S)
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
            return parsing.parse(connection.host, answer["probe"]), answer["hub_cache"]
        except TrtSparkError as error:
            # Whoever mends it, by `usermod` say, should not meet the old login's rights next time.
            session.close()
            return error

    with ThreadPoolExecutor(len(connections)) as pool:
        answers = list(pool.map(one, connections))
    _raise([answer for answer in answers if isinstance(answer, TrtSparkError)])
    found = [answer for answer in answers if not isinstance(answer, TrtSparkError)]
    facts, caches = tuple(f for f, _ in found), tuple(c for _, c in found)
    wrong = checks.findings(checks.Context(stack, settings, facts, caches))
    _raise([one.error() for one in wrong if one.level == "FAIL"])
    return Look(facts, caches, tuple(str(one) for one in wrong if one.level == "WARN"))


def _raise(errors: Sequence[TrtSparkError]) -> None:
    if errors:
        raise TrtSparkError("\n".join(str(error) for error in errors))
