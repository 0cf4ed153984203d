"""Entry point of every stand-in: `python -I -S start.py SITE_PACKAGES PLUGIN [ARGS…]`.

The engine starts one process per provider instance on every `pulumi up`, so start-up time counts:
`-I -S` skips site.py, and `pulumi` itself (0.3 s of CPU) is replaced by three empty packages that
only lead to the SDK's generated protocol modules.
"""

import importlib
import os
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

ENGINE_LOOK_S = 1.0
PLUGINS = {
    "language": "plugins.language.main",
    "command": "plugins.command.provider",
    "docker": "plugins.docker.provider",
}


def prepare(site_packages: str) -> None:
    """Make grpc, protobuf, the protocol modules and this package importable, and little else."""
    sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]
    sys.path.append(site_packages)
    for name in ("pulumi", "pulumi.runtime", "pulumi.runtime.proto"):
        package = ModuleType(name)
        package.__path__ = [f"{site_packages}/{name.replace('.', '/')}"]
        sys.modules[name] = package
    # grpc's asyncio half is imported by grpc itself, takes a fifth of the start, and is not used.
    sys.modules["grpc.aio"] = ModuleType("grpc.aio")


def end_with(engine: int) -> None:
    """End when the engine's process is gone, as the vendor's plugins do: a killed one tells nobody."""
    while os.getppid() == engine:
        time.sleep(ENGINE_LOOK_S)
    os._exit(1)


def main() -> None:
    """Start the plugin that the command line names."""
    _, site_packages, plugin, *arguments = sys.argv
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    prepare(site_packages)
    importlib.import_module(PLUGINS[plugin]).main(arguments)


if __name__ == "__main__":
    main()
