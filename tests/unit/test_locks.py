"""What scripts/setup installs comes by hash, and the locks hold what the requirements ask for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCKS = {"requirements.lock": "requirements-dev.txt"} | {
    str(file.relative_to(ROOT).with_suffix(".lock")): str(file.relative_to(ROOT))
    for file in (ROOT / "scripts/lib/locks").glob("*.txt")
}
PIN = re.compile(r"([a-z0-9.-]+)==([\w.]+)(?: ; (.+))?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
MADE_BY_PIP = re.compile(r"-m pip install|\"pip\", \"install\"")


def entries(lock: str) -> dict[str, Version]:
    """Versions by name; every line is a comment or a pinned package with hashes."""
    text = "\n".join(line for line in (ROOT / lock).read_text().splitlines() if not line.startswith("#"))
    found = {}
    for entry in text.replace("\\\n", "").splitlines():
        pin, *hashes = re.split(r"\s+(?=--)", entry.strip())
        assert hashes, pin
        assert all(HASH.fullmatch(one) for one in hashes), entry
        match = PIN.fullmatch(pin)
        assert match, pin
        assert not match[3] or Marker(match[3])
        assert match[1] not in found
        found[match[1]] = Version(match[2])
    return found


def wanted(file: str) -> list[Requirement]:
    lines = [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith("#")]
    also = [one for line in lines if line.startswith("-r ") for one in wanted(line[3:])]
    return also + [Requirement(line) for line in lines if not line.startswith("-r ")]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_fresh(lock):
    found, asked = entries(lock), wanted(LOCKS[lock])
    assert asked
    stale = [str(one) for one in asked if found.get(canonicalize_name(one.name)) not in one.specifier]
    assert not stale, f"run scripts/lock: {lock} lacks {stale}"


def test_the_lock_has_what_builds_the_project():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    found = entries("requirements.lock")
    assert all(found[one.name] in one.specifier for one in map(Requirement, build))


def test_a_lock_without_a_hash_or_a_version_is_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    good = "a==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:" + "0" * 64
    bad = (
        "a==1.0",
        "a>=1.0 --hash=sha256:" + "0" * 64,
        "a==1.0 --hash=md5:00",
        "a @ https://x/a.whl",
        "-r other.txt",
    )
    for text in bad:
        (tmp_path / "lock").write_text(f"{good.replace('a==', 'b==')}\n{text}\n")
        with pytest.raises(AssertionError):
            entries("lock")
    (tmp_path / "lock").write_text(f"# said\n{good}\n")
    assert entries("lock") == {"a": Version("1.0")}


def test_whatever_installs_packages_asks_for_hashes():
    """But for the project itself, whose dependencies and build are in the lock."""
    files = [*(ROOT / "scripts").rglob("*"), *(ROOT / "lab").rglob("*.py")]
    calls = []
    for file in (one for one in files if one.is_file() and one.suffix in ("", ".sh", ".py")):
        text = file.read_text().replace("\\\n", "")
        calls += [text[one.start() : one.start() + 250] for one in MADE_BY_PIP.finditer(text)]
    assert len(calls) == 3
    for call in calls:
        assert "--require-hashes" in call or re.search(r"--no-deps --no-build-isolation\s+--editable", call)


def test_go_checks_modules_by_the_public_database():
    from lab import engines

    assert engines.VERIFIED == {"GOSUMDB": "sum.golang.org", "GONOSUMDB": "none"}
    call = r"GOSUMDB=sum\.golang\.org GONOSUMDB=none\s+\"\$BASH\" \"\$root/scripts/lib/build-engine\.sh\""
    assert re.search(call, (ROOT / "scripts/lib/engine.sh").read_text().replace("\\\n", ""))
