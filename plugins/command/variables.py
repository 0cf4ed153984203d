"""Environment variables for a remote command, which only servers with a fitting AcceptEnv take.

`ssh` is not told whether the server took a variable, so it is looked at: one more connection,
only where there are variables at all.
"""

from plugins.command.gostring import quoted
from plugins.provider import Call, OperationError
from plugins.ssh import session

REFUSED = (
    "Unable to set '{name}'. The SSH server takes only variables that its AcceptEnv names. "
    "Instead, if a Bash-like shell runs the command there, prefix it: {name}=value command"
)


def accepted_environment(
    call: Call, target: session.Target, asked: dict[str, str], previous: dict[str, str]
) -> dict[str, str]:
    """Those of `asked` (the input) and `previous` (earlier outputs) that the server takes.

    Raises OperationError when it refuses one that was asked for; of the others it only warns.
    """
    wanted = {**asked, **previous}
    if not wanted:
        return {}
    listing = session.run("env -0", target, environment=wanted).stdout.split("\0")
    there = dict(item.split("=", 1) for item in listing if "=" in item)
    accepted = {name: value for name, value in wanted.items() if there.get(name) == value}
    for name in wanted.keys() - accepted.keys():
        message = REFUSED.format(name=name)
        if name in asked:
            call.error(message)
            raise OperationError(f"could not set environment variable {quoted(name)}: refused")
        call.warning(message)
    return accepted
