"""The main process of rank 0's container, sent there as one file that Python can run.

Standard library only; runs in the serving image (Python 3.10 or later, OpenMPI 4.1 or 5). It waits for the
other ranks, starts all of them, watches, and ends with a code that says why: see `codes`. Swarm starts the
container again.
"""

from __future__ import annotations

import io
import zipfile
from importlib import resources

_MAIN = b"import sys\nfrom rank0.main import main\nsys.exit(main(sys.argv[1:]))\n"
#: The oldest time a zip file can hold: the same modules give the same bytes, on every machine.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def program() -> bytes:
    """The program as a zip file for `python3 FILE`; the same for the same sources."""
    modules = {
        entry.name: entry.read_bytes()
        for entry in resources.files(__name__).iterdir()
        if entry.name.endswith(".py") and entry.name != "__init__.py"
    }
    files = {"__main__.py": _MAIN, "rank0/__init__.py": b""}
    files |= {f"rank0/{name}": data for name, data in modules.items()}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), files[name])
    return made.getvalue()
