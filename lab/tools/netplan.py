#!/usr/bin/python3 -I
"""Debian's own netplan, but for what `apply` does at the end: there are no NetworkManager and systemd here.

`netplan generate`, `get`, `set` and the confirmation of `try` are the real ones.
"""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, "/usr/share/netplan")
GENERATORS = [Path("/usr/libexec/netplan/generate"), Path("/lib/netplan/generate")]


def apply(
    self: object,
    run_generate: bool = True,
    sync: bool = False,
    exit_on_error: bool = True,
    state_dir: str | None = None,
) -> None:
    """What NetplanApply.command_apply does, with our interfaces' settings in place of the services."""
    del self, sync, state_dir
    if os.geteuid() != 0:
        sys.exit("ERROR: netplan apply needs to be run as root")
    if run_generate and subprocess.call([next(filter(Path.exists, GENERATORS))]) != 0:
        if exit_on_error:
            sys.exit(os.EX_CONFIG)
        raise RuntimeError("the configuration could not be generated")
    subprocess.run(["/usr/lib/lab/network-settings", "--restart"], check=True)


def main() -> None:
    try:  # since netplan 1.0
        from netplan_cli import Netplan  # type: ignore[import-not-found, unused-ignore]
        from netplan_cli.cli.commands.apply import (  # type: ignore[import-not-found, unused-ignore]
            NetplanApply,
        )
    except ImportError:
        from netplan import Netplan  # type: ignore[import-not-found, unused-ignore]
        from netplan.cli.commands.apply import NetplanApply  # type: ignore[import-not-found, unused-ignore]
    NetplanApply.command_apply = apply
    Netplan().main()


if __name__ == "__main__":
    main()
