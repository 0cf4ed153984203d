"""TensorRT-LLM on DGX Sparks: configuration -> a look at the machines -> resources -> outputs."""

import os
import signal

# The engine ends a failed program with SIGINT: without Python's own trace of it.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import pulumi  # noqa: E402
from pulumi.runtime.config import CONFIG, is_config_secret  # noqa: E402

from cluster.config import load  # noqa: E402
from cluster.errors import TrtSparkError  # noqa: E402
from components.stack import deploy  # noqa: E402
from dynamic_providers import engine_watch  # noqa: E402
from remote.logins import connections  # noqa: E402
from remote.preflight import look  # noqa: E402
from remote.private_keys import private_key  # noqa: E402


def main() -> None:
    """One run of the program; a user's mistake ends it with its sentence and nothing else."""
    engine_watch.end_with_parent()
    stack = pulumi.get_stack()
    try:
        settings = load(CONFIG.get(), pulumi.get_project(), is_config_secret)
        logins = connections(settings)
        key = private_key(logins[0], os.environ.get("SSH_AUTH_SOCK"))
        found = look(stack, settings, logins)
        outputs = deploy(stack, settings, logins, found, key)
    except TrtSparkError as error:
        raise pulumi.RunError(str(error)) from None
    for name, value in outputs.items():
        pulumi.export(name, value)


main()
