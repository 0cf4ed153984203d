"""Where a benchmark goes: any server by its URL, or what a stack serves, with its machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cluster.config import Settings
from remote.ssh import Connection, SshShell
from trtspark.bench import server, system, tokens
from trtspark.bench.execute import Place
from trtspark.bench.sampling import Sampler


class Deployed(Protocol):
    """A stack that serves."""

    @property
    def name(self) -> str:
        """What Pulumi calls it."""
        ...

    @property
    def settings(self) -> Settings:
        """Its configuration."""
        ...

    @property
    def outputs(self) -> Mapping[str, Any]:
        """What the last `up` left."""
        ...

    @property
    def secrets(self) -> Mapping[str, str]:
        """The values that were set with --secret, by their keys."""
        ...

    @property
    def connections(self) -> Sequence[Connection]:
        """A login per node, head first."""
        ...

    def endpoint(self) -> str:
        """The API's URL."""
        ...


def of_url(url: str, model: str | None, tokenizer: Path | None, key: str) -> Place:
    """Any server: what it serves, and a tokenizer from a file. Raises TrtSparkError."""
    where = server.target(url, key)
    name = server.chosen(where, model)
    counting, info = tokens.of_file(tokenizer) if tokenizer else tokens.approximate("give --tokenizer FILE")
    return Place(where, name, counting, info, server.version(where))


def of_stack(stack: Deployed, model: str | None, tokenizer: Path | None, key: str, samples: bool) -> Place:
    """The stack's endpoint: its tokenizer from the head's cache, and what is known of its machines."""
    where = server.target(stack.endpoint(), key)
    name = server.chosen(where, model)
    about, problems = system.system(stack)
    notes = [f"not looked at: {text}" for text in problems]
    if tokenizer is not None:
        counting, info = tokens.of_file(tokenizer)
    elif about.revision:
        head = SshShell(stack.connections[0])
        counting, info = tokens.of_node(head, stack.settings.hf_cache, name, about.revision)
    else:
        counting, info = tokens.approximate("the stack has no revision of the model")
    watch = Sampler(stack.connections, where.url, about) if samples else None
    return Place(where, name, counting, info, server.version(where), about, notes, watch)
