"""Imports the SDK, waits for a program's description on standard input, becomes that program.

Runs on the program's interpreter, so nothing of this package is imported.
"""

import json
import os
import runpy
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Read `{"argv", "env", "cwd"}`, then run argv[0] as the main program."""
    with suppress(ImportError):  # the executor explains what to install
        import pulumi.runtime  # noqa: F401
    text = sys.stdin.read()
    if not text:
        return  # no program came: the host has ended
    program = json.loads(text)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(program["env"])
    os.environ.pop("PYTHONHOME", None)
    os.chdir(program["cwd"])
    # When a resource fails, the engine interrupts the program: that needs no traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.argv = program["argv"]
    sys.path[0] = sys.argv[0].rpartition("/")[0]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
