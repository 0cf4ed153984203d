"""Proving the transport: a completion, with the adapters' counters read on every node before and after."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from cluster import transport
from cluster.errors import TrtSparkError, Unreachable
from remote import answers, node, web
from remote.rank0 import completion
from remote.ssh import Connection, Shell, SshShell

READ_TIMEOUT_S = 30
COMPLETION_TIMEOUT_S = 120
#: Short prompts first: NCCL may send a small message over one channel, and so over one half alone.
PROMPT_WORDS = (8, 40, 400)
#: The last rank's adapter may count a moment after rank 0 has answered.
SETTLE_S = 1.0
SETTLE_STEP_S = 0.1
#: The engine's refusals of a prompt that does not fit.
_TOO_LONG = re.compile(r"should not exceed max_num_tokens|default_max_tokens")


def prove(
    props: Mapping[str, Any],
    lines: Callable[[], Sequence[str]],
    shell: Callable[[Connection], Shell] = SshShell,
) -> list[str]:
    """A line per rank on what it talks over. Raises TrtSparkError when RDMA has to be, and is not proven.

    `props` of the endpoint: url, model, transport, network, connections, ncclDebug; `lines` reads rank
    0's log.
    """
    ranks = transport.expected(props["network"])
    if props["transport"] == "none":
        return []
    said = lines()
    idle: list[dict[str, list[int]]] = [{} for _ in ranks]
    if props["transport"] != "IB":
        return transport.summary(ranks, said, idle)
    if found := transport.problems(ranks, said, debug=props["ncclDebug"]):
        _fail(found)
    shells = [shell(Connection.from_props(one)) for one in props["connections"]]
    moved = _moved(props, ranks, said, shells)
    if found := transport.problems(ranks, said, moved, props["ncclDebug"]):
        _fail(found)
    return transport.summary(ranks, said, moved)


def _fail(found: Sequence[str]) -> None:
    raise TrtSparkError(
        "the ranks do not use RDMA as planned. " + " | ".join(found) + " To accept whatever NCCL opens: "
        "`pulumi config set transport any`."
    )


def _moved(
    props: Mapping[str, Any],
    ranks: Sequence[transport.Expected],
    lines: Sequence[str],
    shells: Sequence[Shell],
) -> list[dict[str, list[int]]]:
    """What every adapter moved, over completions that grow until none of those opened stands still."""
    before = counters(shells)
    moved: list[dict[str, list[int]]] = []
    for words in PROMPT_WORDS:
        _complete(props, words)
        until = time.monotonic() + SETTLE_S
        while True:
            moved = transport.difference(before, counters(shells))
            if not transport.still(ranks, lines, moved):
                return moved
            if time.monotonic() > until:
                break
            time.sleep(SETTLE_STEP_S)
    return moved


def counters(shells: Sequence[Shell]) -> list[dict[str, list[int]]]:
    """Every node's adapters, [bytes sent, bytes received] each; all nodes at once."""
    script, command = node.program(hca_counters="look"), node.command({})

    def one(shell: Shell) -> dict[str, list[int]]:
        result = shell.run(command, stdin=script, timeout=READ_TIMEOUT_S)
        try:
            found: dict[str, list[int]] = node.answer(result.out)["hca_counters"]
        except (ValueError, KeyError):
            where = getattr(getattr(shell, "connection", None), "host", "a node")
            raise Unreachable(
                where, f"the RDMA devices' counters cannot be read: {answers.said(result)}.", "Try it again."
            ) from None
        return found

    with ThreadPoolExecutor(len(shells)) as pool:
        return list(pool.map(one, shells))


def _complete(props: Mapping[str, Any], words: int) -> None:
    """A completion over a prompt of so many words. One that is too long may be refused: it answered before.

    Raises TrtSparkError when it fails otherwise.
    """
    prompt = "Say OK." + " one two three four" * (words // 4)
    body = {
        "model": props["model"],
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 4,
    }
    try:
        said = web.post(f"{props['url']}/v1/chat/completions", body, COMPLETION_TIMEOUT_S)
    except requests.RequestException as error:
        raise TrtSparkError(f"{props['model']}: it answered once, and then no more ({error}).") from None
    text = web.text(said)
    if said.status_code == requests.codes.ok or (said.status_code == 400 and _TOO_LONG.search(text)):
        return
    raise TrtSparkError(
        f"{props['model']}: a completion over a prompt of {words} words failed, after shorter ones did not: "
        f"HTTP {said.status_code}: {completion.words(text)}. Read the log: "
        f"`trtspark logs`."
    )
