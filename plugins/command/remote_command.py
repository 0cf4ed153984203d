"""command:remote:Command: a command on another machine at create, update and delete.

Rules as the vendor documents them: a changed `triggers` replaces (the SDK asks the engine for
that, element by element; here it is the list as a whole), any other changed input runs `update`,
or `create` where there is none; standard input is the same for all three; standard output and
error are secret only when the program says so.
"""

import secrets

from plugins.diff import changes
from plugins.provider import Call, Difference, Failure
from plugins.wire import UNKNOWN, Properties, Secret, Value, revealed

CONNECTION_DEFAULTS: Properties = {
    "user": "root",
    "port": 22,
    "dialErrorLimit": 10,
    "perDialTimeout": 15,
}
HOP_PROPERTIES: dict[str, type | tuple[type, ...]] = {
    "agentSocketPath": str,
    "dialErrorLimit": (int, float),
    "host": str,
    "hostKey": str,
    "password": str,
    "perDialTimeout": (int, float),
    "port": (int, float),
    "privateKey": str,
    "privateKeyPassword": str,
    "user": str,
}
CONNECTION_PROPERTIES = {**HOP_PROPERTIES, "proxy": dict}
INPUT_PROPERTIES: dict[str, type | tuple[type, ...]] = {
    "addPreviousOutputInEnv": bool,
    "connection": dict,
    "create": str,
    "delete": str,
    "environment": dict,
    "logging": str,
    "stdin": str,
    "triggers": list,
    "update": str,
}
OUTPUT_PROPERTIES = ("stderr", "stdout")
REPLACING = "triggers"


class RemoteCommand:
    """The resource."""

    def check(self, name: str, olds: Properties, news: Properties) -> tuple[Properties, list[Failure]]:
        """Types and required properties; fills the connection's defaults and makes it secret."""
        inputs = dict(news)
        failures = _wrong("", INPUT_PROPERTIES, inputs, ("connection",))
        connection = _unwrapped(inputs.get("connection"))
        if isinstance(connection, dict):
            failures += _wrong("connection.", CONNECTION_PROPERTIES, connection, ("host",))
            # A private key that the program made secret stays so inside, as in the vendor's state.
            inputs["connection"] = Secret(_with_defaults(connection))
        return inputs, failures

    def diff(self, old_inputs: Properties, state: Properties, news: Properties) -> Difference:
        """Compare inputs; as with the vendor's plugin, a value that becomes secret has changed."""
        changed = changes(old_inputs, news, secrecy=True)
        return Difference(changed, frozenset(path for path in changed if path == REPLACING))

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Run `create`, if any. The id is the resource's name and eight random digits."""
        id_ = call.name + secrets.token_hex(4)
        if call.preview:
            return id_, {**inputs, "stdout": UNKNOWN, "stderr": UNKNOWN}
        outputs = {"stdout": "", "stderr": ""}
        if inputs.get("create") is not None:
            outputs = _run(call, "create", inputs, outputs)
        return id_, {**inputs, **outputs}

    def read(
        self, call: Call, id_: str, inputs: Properties, state: Properties
    ) -> tuple[str, Properties, Properties]:
        """A command has nothing to look at: what is known stays."""
        return id_, inputs, state

    def update(
        self, call: Call, id_: str, old_inputs: Properties, state: Properties, inputs: Properties
    ) -> Properties:
        """Run `update`, else `create`."""
        if call.preview:
            return {**inputs, "stdout": UNKNOWN, "stderr": UNKNOWN}
        outputs = {name: state.get(name) or "" for name in OUTPUT_PROPERTIES}
        for step in ("update", "create"):
            if inputs.get(step) is not None:
                outputs = _run(call, step, inputs, outputs)
                break
        return {**inputs, **outputs}

    def delete(self, call: Call, id_: str, state: Properties) -> None:
        """Run `delete`, if any."""
        if state.get("delete") is not None:
            outputs = {name: state.get(name) or "" for name in OUTPUT_PROPERTIES}
            _run(call, "delete", state, outputs)


def _wrong(
    where: str,
    known: dict[str, type | tuple[type, ...]],
    values: Properties,
    required: tuple[str, ...],
) -> list[Failure]:
    failures = [
        Failure(f"{where}{name}", f"missing required property '{name}'")
        for name in required
        if revealed(values.get(name)) is None
    ]
    for name, types in known.items():
        value = revealed(values.get(name))
        if value is not None and value is not UNKNOWN and not isinstance(value, types):
            failures.append(Failure(f"{where}{name}", f"a {type(value).__name__} is not allowed"))
    return failures


def _with_defaults(connection: Properties) -> Properties:
    filled = {**CONNECTION_DEFAULTS, **{k: v for k, v in connection.items() if v is not None}}
    given = filled.get("proxy")
    proxy = _unwrapped(given)
    if isinstance(proxy, dict):
        whole = _with_defaults(proxy)
        filled["proxy"] = Secret(whole) if isinstance(given, Secret) else whole
    return filled


def _unwrapped(value: Value) -> Value:
    """The value without its own secrecy; what is secret inside stays so."""
    while isinstance(value, Secret):
        value = value.value
    return value


def _run(call: Call, step: str, inputs: Properties, previous: Properties) -> Properties:
    """Run the command of `step`; return its stdout and stderr."""
    # Imported here: an `up` without changes runs nothing and need not pay for it.
    from plugins.command.execution import execute

    return execute(call, inputs[step], inputs, previous)
