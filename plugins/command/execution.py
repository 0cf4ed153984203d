"""Running the command of one step (create, update, delete) and reporting how it ended."""

import os
import socket

from plugins.command.gostring import quoted
from plugins.command.variables import accepted_environment
from plugins.provider import Call, OperationError
from plugins.ssh import session
from plugins.ssh.connection import Hop, InvalidConnectionError
from plugins.wire import Properties, Value, contains_unknown, revealed

LOGS_STDOUT = (None, "stdout", "stdoutAndStderr")
LOGS_STDERR = (None, "stderr", "stdoutAndStderr")
PREVIOUS = {"PULUMI_COMMAND_STDOUT": "stdout", "PULUMI_COMMAND_STDERR": "stderr"}


def execute(call: Call, command: Value, inputs: Properties, previous: Properties) -> Properties:
    """Run `command` as `inputs` say; return its "stdout" and "stderr".

    `previous` are those of the step before. Raises OperationError.
    """
    plain: Properties = revealed(inputs)
    if contains_unknown(plain):
        raise OperationError(f"{call.name}: an input is not known yet")
    text: str = revealed(command)
    try:
        ended = _run(call, text, plain, _previous_variables(plain, revealed(previous)))
    except (session.DialError, InvalidConnectionError) as error:
        raise OperationError(str(error)) from None
    if ended.status != 0:
        raise OperationError(f"{ended.reason}: running {quoted(text)}:\n{ended.both}")
    return {
        "stdout": ended.stdout.removesuffix("\n"),
        "stderr": ended.stderr.removesuffix("\n"),
    }


def _run(call: Call, command: str, inputs: Properties, previous: dict[str, str]) -> session.Ended:
    connection, logging = inputs["connection"], inputs.get("logging")
    proxy = _hop(connection["proxy"]) if connection.get("proxy") else None
    target = session.Target(_hop(connection), proxy, int(connection.get("dialErrorLimit", 10)))
    asked = inputs.get("environment") or {}
    return session.run(
        command,
        target,
        stdin=inputs.get("stdin") or "",
        environment=accepted_environment(call, target, asked, previous),
        on_stdout=call.status if logging in LOGS_STDOUT else None,
        on_stderr=call.status if logging in LOGS_STDERR else None,
        on_retry=call.status,
    )


def _dial_agent(path: str) -> None:
    """Raise OperationError for an agent that does not answer, as the vendor's plugin does."""
    with socket.socket(socket.AF_UNIX) as agent:
        try:
            agent.connect(path)
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise OperationError(f"dial unix {path}: connect: {reason}") from None


def _previous_variables(inputs: Properties, outputs: Properties) -> dict[str, str]:
    if inputs.get("addPreviousOutputInEnv") is False:
        return {}
    return {name: outputs[key] for name, key in PREVIOUS.items() if outputs.get(key)}


def _hop(connection: Properties) -> Hop:
    agent = connection.get("agentSocketPath") or os.environ.get("SSH_AUTH_SOCK")
    if agent:
        _dial_agent(agent)
    return Hop(
        host=connection["host"],
        user=connection.get("user") or "root",
        port=int(connection.get("port") or 22),
        password=connection.get("password"),
        private_key=connection.get("privateKey"),
        private_key_password=connection.get("privateKeyPassword"),
        agent_socket=agent or None,
        host_key=connection.get("hostKey"),
        dial_timeout=int(connection.get("perDialTimeout", 15)),
    )
