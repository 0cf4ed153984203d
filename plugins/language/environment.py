"""The virtual environment that a program runs in, and what is installed there."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pulumi.runtime.proto.language_pb2 import ProgramInfo

METADATA_NAME = re.compile(r"^Name: (.+)$", re.MULTILINE)
METADATA_VERSION = re.compile(r"^Version: (.+)$", re.MULTILINE)


class RequiredPlugin(NamedTuple):
    """A provider plugin; `server` is where to download it when that is not the vendor's place."""

    name: str
    version: str
    server: str


@dataclass(frozen=True)
class Environment:
    """The environment at `path`, or (None) the interpreter that this host runs on."""

    path: Path | None

    @classmethod
    def of(cls, info: "ProgramInfo") -> "Environment":
        """The one in `runtime.options.virtualenv`, relative to the folder of Pulumi.yaml."""
        option = info.options.fields["virtualenv"].string_value if info.options else ""
        return cls(Path(info.root_directory, option) if option else None)

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python" if self.path else Path(sys.executable)

    def problem(self) -> str | None:
        """Why no program can run here, and what to do; None when one can."""
        if self.path is None or self.python.exists():
            return None
        state = "is not a virtual environment" if self.path.is_dir() else "does not exist"
        return f"The 'virtualenv' of Pulumi.yaml, {self.path}, {state}. Run: pulumi install"

    def python_version(self) -> str:
        """Such as "3.12.1", from the environment's own notes, else this interpreter's."""
        notes = self.path / "pyvenv.cfg" if self.path else None
        if notes and notes.exists():
            found = re.search(r"^version(?:_info)? *= *(\d+\.\d+\.\d+)", notes.read_text(), re.M)
            if found:
                return found[1]
        return ".".join(str(part) for part in sys.version_info[:3])

    def site_packages(self) -> Path | None:
        """Where its packages are."""
        root = self.path or Path(sys.executable).parent.parent
        return next(root.glob("lib/python3.*/site-packages"), None)

    def required_plugins(self) -> list[RequiredPlugin]:
        """The provider plugin of each installed SDK."""
        plugins = []
        site = self.site_packages()
        for note in sorted(site.glob("*/pulumi-plugin.json")) if site else []:
            fields = json.loads(note.read_text())
            if fields.get("resource", True) and "name" in fields:
                version = "v" + fields.get("version", "").removeprefix("v")
                plugins.append(RequiredPlugin(fields["name"], version, fields.get("server", "")))
        return plugins

    def distributions(self) -> Iterator[tuple[str, str]]:
        """Name and version of each installed distribution."""
        site = self.site_packages()
        for metadata in sorted(site.glob("*.dist-info/METADATA")) if site else []:
            text = metadata.read_text(encoding="utf-8", errors="replace")
            name, version = METADATA_NAME.search(text), METADATA_VERSION.search(text)
            if name and version:
                yield name[1].strip(), version[1].strip()

    def installation(self, directory: Path) -> Iterator[list[str]]:
        """Commands that make the environment and install `directory`/requirements.txt."""
        if self.path and not self.python.exists():
            yield [sys.executable, "-m", "venv", str(self.path)]
        requirements = directory / "requirements.txt"
        if requirements.exists():
            yield [str(self.python), "-m", "pip", "install", "-r", str(requirements)]
