"""Starts the language host.

The interpreter for the program comes first: it imports the SDK while this process still imports
its own modules and the engine asks its first questions.
"""

import sys
from pathlib import Path

from plugins.language.program import WarmInterpreter


def main(arguments: list[str]) -> None:
    """Serve; `arguments` are the executor's path, then the engine's (its address is the last)."""
    warm = WarmInterpreter()
    warm.start(Path(sys.executable))
    from plugins.language.host import serve_host

    serve_host(arguments, warm)
