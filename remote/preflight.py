"""A look at every node before anything is planned: all in parallel, one round trip each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from cluster import checks
from cluster import facts as parsing
from cluster.checks import fit
from cluster.config import Settings
from cluster.errors import TrtSparkError, Unreachable
from cluster.facts import Facts
from cluster.hub_files import Resolved
from cluster.resolution import Found, HubUnavailable
from remote import model, node
from remote.hub import Hub
from remote.ssh import Connection, Shell, SshShell

PROBE_TIMEOUT_S = 45
#: What these find is in the error already when the Hub cannot be asked.
_OF_THE_FILES = ("weights.whole", "weights.revision")


@dataclass(frozen=True)
class Look:
    """What one look found: each node's facts and its answer about the model, head first; what is worth a
    warning and what is good to know, a line each; and the model at its commit (None while stopped and
    not to be had).
    """

    facts: tuple[Facts, ...]
    caches: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    found: Found | None = None

    @property
    def revision(self) -> str:
        """The commit to serve; "" when nothing is known of it."""
        return self.found.commit if self.found else self.caches[0]["commit"] or ""


def look(
    stack: str,
    settings: Settings,
    connections: Sequence[Connection],
    shell: Callable[[Connection], Shell] = SshShell,
    hub_of: Callable[[Settings], Hub] = model.default_hub,
) -> Look:
    """Facts of all nodes. Raises one error that lists every problem, a line each, before any change."""
    arguments = {
        "hub_cache": {"hf_cache": settings.hf_cache, "model": settings.model, "revision": settings.revision}
    }
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

    with ThreadPoolExecutor(len(connections) + 1) as pool:
        asked = pool.submit(_asked, settings, hub_of)
        answers = list(pool.map(one, connections))
        answer = asked.result()
    _raise([answer for answer in answers if isinstance(answer, TrtSparkError)])
    found = [answer for answer in answers if not isinstance(answer, TrtSparkError)]
    facts, caches = tuple(f for f, _ in found), tuple(c for _, c in found)
    names = [one.node for one in facts]
    resolved = _settled(settings, answer, names, caches, lambda: shell(connections[0]), hub_of)
    problem = [resolved] if isinstance(resolved, TrtSparkError) else []
    meant = None if isinstance(resolved, TrtSparkError) else resolved
    context = checks.Context(stack, settings, facts, caches, meant)
    wrong = checks.findings(context)
    told = _OF_THE_FILES if isinstance(resolved, HubUnavailable) else ()
    _raise(problem + [one.error() for one in wrong if one.level == "FAIL" and one.check not in told])
    warnings = tuple(str(one) for one in wrong if one.level == "WARN")
    return Look(facts, caches, warnings, tuple(fit.notes(context)), meant)


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


def _raise(errors: Sequence[TrtSparkError]) -> None:
    if errors:
        raise TrtSparkError("\n".join(str(error) for error in errors))
