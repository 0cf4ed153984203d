"""Report absolute paths and lab addresses of one machine in tracked files; run by scripts/lint.

A path belongs to a machine if it is below this checkout, below the user's home, below a folder that only
a checkout has (.lab, .venv, …), or below another user's home. Paths that every Linux system or every
Spark has (/etc/docker, /home/nvidia, …) are fine.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Homes that the documentation and the tests use as examples; /root is every Linux system's.
EXAMPLE_USERS = ("nvidia", "me")
SYSTEM_HOMES = ("/", "/root", "/nonexistent")
_PATHS = (
    re.compile(r"(?<![\w.~$}{*\"'/-])(?:/[\w.+-]+)+/\.(?:lab|venv|tools|bench|run)\b"),
    re.compile(rf"/(?:home|Users)/(?!(?:{'|'.join(EXAMPLE_USERS)})\b)[\w.-]*\w(?=/)"),
    re.compile(r"/tmp/pytest-of-\w+"),
)
#: lab/names.py gives each lab a /24 from 10.100.0.0 to 10.227.255.0.
_LAB_ADDRESS = re.compile(r"\b10\.(?:1\d\d|2[01]\d|22[0-7])\.\d{1,3}\.\d{1,3}\b")


def own_folders(root: Path, home: Path) -> list[str]:
    """Return the paths that no tracked file may contain on this machine."""
    return [str(root), *([str(home)] if str(home) not in SYSTEM_HOMES else [])]


def found(name: str, text: str, own: list[str]) -> list[str]:
    """Return what in the file `name` belongs to one machine, each with its line."""
    patterns = [*_PATHS, *(re.compile(rf"{re.escape(folder)}(?![\w.-])") for folder in own)]
    # Tests and documentation use such addresses as examples; a stack's file is applied to them.
    if re.fullmatch(r"Pulumi\..*yaml", Path(name).name):
        patterns.append(_LAB_ADDRESS)
    return [
        f"{name}:{number}: {hit[0]} belongs to one machine"
        for number, line in enumerate(text.splitlines(), 1)
        for pattern in patterns
        for hit in pattern.finditer(line)
    ]


def main() -> int:
    """Check every tracked file, and those that would be added."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    own = own_folders(ROOT, Path.home())
    problems: list[str] = []
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and not path.is_symlink():
            problems += found(name, path.read_text(errors="replace"), own)
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
