"""What all providers share: one-line errors, and progress in the resource's own row.

Facts of the SDK: the provider process is `python -m pulumi.dynamic ENGINE_ADDRESS`; classes are pickled
by reference, so module and class names are part of the state and never change; errors reach the user as a
formatted traceback, which `sys.tracebacklimit = 0` turns into its last line.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pulumi
from pulumi.dynamic import ConfigureRequest, DiffResult, ReadResult, ResourceProvider
from pulumi.runtime import rpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2, status_pb2

from cluster.plain_text import plain
from dynamic_providers import engine_watch, plain_errors

#: The hosts of the stack's configuration, in the provider's own process: those that serve, and `all` that it
#: lists (more with headOnly); None while unknown.
_LISTED: dict[str, set[str] | None] = {"hosts": None, "all": None}
#: What resources of this run of Pulumi stand for, by provider: a host or a name, with its stack. A machine
#: that moved up in `nodes` belongs to its neighbour's resource when its former one is deleted.
_HELD: dict[type, set[tuple[str, str]]] = {}
#: The engine closes the channel when it ends; a message that cannot be sent is not worth an error.
_LOG_TIMEOUT_S = 2
_ADDRESS = re.compile(r"[\w.-]+:\d+")


class Provider(ResourceProvider):
    """Base of our providers: stateless, so that nothing but a reference is ever in the state."""

    serialize_as_secret_always = False

    def __init_subclass__(cls) -> None:
        """Errors of a provider's methods are one sentence."""
        super().__init_subclass__()
        plain_errors.plain(cls)

    def configure(self, req: ConfigureRequest) -> None:
        """Runs once in the provider's process."""
        sys.tracebacklimit = 0
        engine_watch.end_with(_engine())
        nodes = req.config.get("nodes")
        _LISTED.update(hosts=listed(nodes, req.config.get("headOnly")), all=listed(nodes, None))


def hold(provider: Provider, stack: str, thing: str) -> None:
    """Note that a resource of this run stands for `thing` (a host or a name) of `stack`."""
    _HELD.setdefault(type(provider), set()).add((stack, thing))


def held(provider: Provider, stack: str, thing: str) -> bool:
    """Whether a resource of this run stands for it; deleting another one then leaves it alone."""
    return (stack, thing) in _HELD.get(type(provider), set())


def changed(
    olds: dict[str, Any], news: dict[str, Any], keys: tuple[str, ...], replaces: tuple[str, ...] = ()
) -> DiffResult:
    """A diff over named keys only; a change of one of `replaces` makes a new resource."""
    different = [key for key in (*keys, *replaces) if olds.get(key) != news.get(key)]
    return DiffResult(
        changes=bool(different),
        replaces=[key for key in replaces if key in different],
        delete_before_replace=True,
    )


def as_read(id_: str, outs: dict[str, Any], inputs: tuple[str, ...], **settled: Any) -> ReadResult:
    """What a read found, with the inputs among it. `settled`: inputs by which the program says what it found
    pending, with their values for nothing pending. Left as they were, each refresh would show them as a
    change that nobody made.
    """
    return ReadResult(id_, outs, {**{key: outs[key] for key in inputs if key in outs}, **settled})


def listed(nodes: str | None, head_only: str | None) -> set[str] | None:
    """The hosts of the nodes that serve, from two keys of the configuration; None where it cannot be told."""
    try:
        hosts = [str(node["host"]) for node in json.loads(nodes or "")]
    except (ValueError, TypeError, LookupError):
        return None
    return set(hosts[:1] if head_only == "true" else hosts)


def left(host: str) -> bool:
    """Whether the configuration no longer lists this host; one that headOnly leaves out is listed."""
    hosts = _LISTED["all"]
    return hosts is not None and host not in hosts


@contextmanager
def given_up(host: str, say: Callable[[str], None], todo: str = "") -> Iterator[Callable[[object], None]]:
    """For undoing something on a node: one that cannot be reached, and that the configuration no longer
    lists, is left as it is, with a warning that ends with `todo`. One that is listed comes back: the error
    stands. The block is given a function that takes an answer: its "notes", what could not be known there,
    are warnings.
    """
    from cluster.errors import Unreachable

    try:
        yield lambda done: _say_notes(host, done, say)
    except Unreachable as error:
        hosts = _LISTED["hosts"]
        if hosts is None or host in hosts:
            raise Unreachable(
                error.node, error.found, f"{error.todo} Is it gone for good? Take it out of nodes, then `up`."
            ) from None
        left = f"{host} cannot be reached and is no longer listed: what is there of ours stays there."
        say(f"{left} {todo}".strip())


def undo(
    logins: Iterable[dict[str, Any]], props: dict[str, Any], how: Callable[[dict[str, Any]], object]
) -> None:
    """Call `how` for the resource on each machine of `logins`, within `given_up`."""
    for login in logins:
        with given_up(login["host"], warn()) as tell:
            tell(how({**props, "connection": login}))


def _say_notes(host: str, done: object, say: Callable[[str], None]) -> None:
    """Tell what could not be known on a machine, if an answer says so."""
    for note in done.get("notes", []) if isinstance(done, dict) else []:
        say(f"{host}: {note}")


@contextmanager
def kept_on_failure(id_: str, outs: dict[str, Any]) -> Iterator[None]:
    """Keep the resource in Pulumi's state if its create fails in this block.

    A create that fails half-way has changed the machine. With its `id_` and `outs` in the state, the next
    `up` updates it and `destroy` deletes it, whatever was done: providers' deletes accept that nothing was.
    The SDK has no call for this; the engine reads it from the error's gRPC status (ErrorResourceInitFailed in
    pulumi's provider.proto).
    """
    try:
        yield
    except Exception as error:
        _report_incomplete(id_, outs, plain(plain_errors.foreign(error, [outs]) or str(error)))
        raise


def _report_incomplete(id_: str, outs: dict[str, Any], reason: str) -> None:
    call = _frame_local("context", lambda one: hasattr(one, "set_trailing_metadata"))
    if call is None:
        return  # not called by the engine
    loop = asyncio.new_event_loop()
    try:
        properties = loop.run_until_complete(rpc.serialize_properties(outs, {}))
    finally:
        loop.close()
    # The same code as the SDK's own abort: with another, gRPC's client ignores the details.
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=reason)
    status.details.add().Pack(
        provider_pb2.ErrorResourceInitFailed(
            id=id_, properties=properties, inputs=properties, reasons=[reason]
        )
    )
    call.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))


def elsewhere(olds: dict[str, Any], news: dict[str, Any], key: str = "connection") -> list[dict[str, Any]]:
    """Logins of the machines that have something of this resource and that `news` no longer means: the one
    before, and those that a failed update left behind (`others`). `key` names the resource's own login.
    """
    known = {login["host"]: login for login in (*(olds.get("others") or []), olds[key])}
    return [login for host, login in known.items() if host != news[key]["host"]]


def leaves(olds: dict[str, Any], news: dict[str, Any], key: str = "connection") -> list[dict[str, Any]]:
    """Logins of the machines that an update has to undo: `elsewhere` without those that serve by the
    configuration, which are another resource's now.
    """
    serving = _LISTED["hosts"] or set()
    return [login for login in elsewhere(olds, news, key) if login["host"] not in serving]


def deleted(provider: Provider, props: dict[str, Any], key: str = "connection") -> list[dict[str, Any]]:
    """Logins of the machines that a delete has to undo: `machines` without those that another resource
    stands for.
    """
    return [one for one in machines(props, key) if not held(provider, props.get("stack", ""), one["host"])]


def between(olds: dict[str, Any], news: dict[str, Any], key: str = "connection") -> dict[str, Any]:
    """What `kept_on_failure` keeps of an update that moves the resource to another machine: as before, and
    the new machine among the `others`, so that delete undoes what was done on either.
    """
    return {**olds, "others": elsewhere({**olds, key: news[key]}, olds, key)}


def machines(props: dict[str, Any], key: str = "connection") -> list[dict[str, Any]]:
    """Logins of all machines that have something of this resource."""
    return [props[key], *elsewhere(props, props, key)]


def output(resource: pulumi.Resource, key: str) -> pulumi.Output[Any]:
    """An output of a dynamic resource, which the SDK keeps under its camelCase name."""
    found: pulumi.Output[Any] = vars(resource)[key]
    return found


def progress() -> Callable[[str], None]:
    """A function that shows a line of text while an operation runs: live in a terminal, else as text."""
    return _speaker(engine_pb2.INFO, ephemeral=True)


def warn() -> Callable[[str], None]:
    """A function that leaves a warning with the resource, shown among the diagnostics."""
    return _speaker(engine_pb2.WARNING, ephemeral=False)


def _speaker(severity: engine_pb2.LogSeverity.ValueType, ephemeral: bool) -> Callable[[str], None]:
    address, urn = _engine(), _urn()
    if not address:
        return lambda _text: None
    stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address))

    def say(text: str) -> None:
        request = engine_pb2.LogRequest(
            severity=severity, message=plain(text), urn=urn, streamId=0, ephemeral=ephemeral
        )
        try:
            stub.Log(request, timeout=_LOG_TIMEOUT_S)
        except grpc.RpcError:
            return

    return say


def _engine() -> str:
    """Where the engine listens, HOST:PORT; "" outside the providers' process."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    return word if _ADDRESS.fullmatch(word) else ""


def _urn() -> str:
    """The resource's URN, from the SDK's own frame that handles the engine's call.

    The SDK does not hand it to create and update; without it the text stands in the stack's row.
    """
    request = _frame_local("request", lambda one: isinstance(getattr(one, "urn", None), str))
    return str(request.urn) if request is not None else ""


def _frame_local(name: str, fits: Callable[[Any], bool]) -> Any:
    """The value of the first local variable of that name up the call stack that fits; None for none."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        value = frame.f_locals.get(name)
        if value is not None and fits(value):
            return value
    return None
