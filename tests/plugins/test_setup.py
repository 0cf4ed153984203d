"""Which engine and plugins scripts/setup takes, on made-up machines."""

import hashlib
import os
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HARNESS = """
set -euo pipefail
root=$1 url=$2
uname() { case $1 in -s) echo Linux ;; -m) echo aarch64 ;; esac; }
for part in steps debian python engine plugins; do source "$root/scripts/lib/$part.sh"; done
archive_url=$url/sdk checksums_url=$url/releases
if [[ -e $HOME/built ]]; then
  build_engine() { install -D "$HOME/built" "$cache/pulumi/$pulumi_version/pulumi"; }
fi
mkdir -p "$tools"
steps_begin
step "engine" step_engine
step "plugins" step_plugins
"""
# Answers `version`; `plugin install` makes the folder, or fails where there is no network.
PULUMI = """#!/bin/sh
case "$1" in
  version) echo v{version} ;;
  plugin)
    case "$*" in *--file*) from=$7 ;; *) {download}; from=/dev/null ;; esac
    folder="$PULUMI_HOME/plugins/resource-$4-v${{5#v}}"
    mkdir -p "$folder" && cp "$from" "$folder/pulumi-resource-$4" ;;
esac
"""
VENDORS = "pulumi-v3.259.0-linux-arm64.tar.gz"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Machine:
    """A checkout and a home in `folder`, nothing installed but the Python environment."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "a checkout"
        self.home = folder / "home"
        self.web = folder / "web"
        self.path = folder / "bin"
        for made in (self.checkout / ".venv/bin", self.home, self.web, self.path):
            made.mkdir(parents=True)
        shutil.copytree(ROOT / "scripts", self.checkout / "scripts")
        environment = ROOT / ".venv"
        (self.checkout / ".venv/lib").symlink_to(environment / "lib")
        (self.checkout / ".venv/bin/python").symlink_to(environment / "bin/python")

    def put_pulumi(self, file: Path, version: str, download: str = ":") -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(PULUMI.format(version=version, download=download))
        file.chmod(0o755)

    def cached(self) -> Path:
        return self.home / ".cache/trtllm-dgx-spark/pulumi/3.259.0"

    def setup(self, url: str = "http://127.0.0.1:1") -> str:
        script = self.checkout.parent / "harness.sh"
        script.write_text(HARNESS)
        done = subprocess.run(
            ["bash", script, self.checkout, url],
            env={"HOME": str(self.home), "PATH": f"{self.path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tool(self, name: str) -> Path:
        return self.checkout / ".tools/bin" / name


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def vendor(machine):
    """The vendor's servers: an archive, and the checksums of a release."""
    machine.put_pulumi(machine.web / "made/pulumi/pulumi", "3.259.0")
    archive, sums = (
        machine.web / "sdk" / VENDORS,
        machine.web / "releases/v3.259.0/pulumi-3.259.0-checksums.txt",
    )
    for file in (archive, sums):
        file.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as made:
        made.add(machine.web / "made/pulumi", "pulumi")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    sums.write_text(f"{'0' * 64}  another.tar.gz\n{digest}  {VENDORS}\n")
    machine.archive = archive
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=machine.web)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_engine_on_the_path_comes_first(machine, vendor):
    machine.put_pulumi(machine.path / "pulumi", "3.259.0")
    shown = machine.setup(vendor)
    assert f"engine: 3.259.0 at {machine.path}/pulumi" in shown
    assert "plugins: the vendor's" in shown
    assert not machine.tool("pulumi").exists()
    assert not (machine.checkout / ".tools/pulumi-home").exists()
    assert (machine.home / ".pulumi/plugins").exists()


def test_an_old_engine_on_the_path_does_not_count(machine, vendor):
    machine.put_pulumi(machine.path / "pulumi", "3.258.9")
    shown = machine.setup(vendor)
    assert "engine: 3.259.0, the vendor's" in shown
    assert "plugins: the vendor's" in shown
    assert machine.tool("pulumi").exists()
    assert not (machine.checkout / ".tools/vendor").exists()


@pytest.mark.parametrize("what", ["the archive", "the list"])
def test_a_vendors_archive_that_is_not_what_its_release_lists_is_not_taken(machine, vendor, what):
    if what == "the archive":
        machine.archive.write_bytes(machine.archive.read_bytes() + b"\0")
    else:
        machine.archive.rename(machine.archive.with_name("pulumi-v3.259.0-linux-x64.tar.gz"))
    machine.put_pulumi(machine.home / "built", "3.259.0")
    shown = machine.setup(vendor)
    assert "engine: 3.259.0, built from its Go module" in shown
    log = (machine.checkout / ".lab/setup.log").read_text()
    assert ("its SHA-256 is" if what == "the archive" else "404") in log
    assert not (machine.checkout / ".tools/vendor/archive").exists()


def test_a_built_engine_comes_with_stand_ins(machine):
    machine.put_pulumi(machine.cached() / "pulumi", "3.259.0")
    shown = machine.setup()
    assert "engine: 3.259.0, built from its Go module" in shown
    assert "plugins: stand-ins of plugins/" in shown
    assert os.access(machine.tool("pulumi-language-python"), os.X_OK)
    installed = sorted(path.name for path in (machine.checkout / ".tools/pulumi-home/plugins").iterdir())
    assert [name.rpartition("-v")[0] for name in installed] == ["resource-command", "resource-docker"]
    launcher = next((machine.checkout / ".tools/pulumi-home/plugins").glob("*/pulumi-resource-docker"))
    assert f"'{machine.checkout}/plugins/start.py'" in launcher.read_text()


def test_stand_ins_where_only_the_plugins_cannot_be_had(machine):
    machine.put_pulumi(machine.path / "pulumi", "3.260.0", download="exit 1")
    shown = machine.setup()
    assert "plugins: stand-ins" in shown
    assert not machine.tool("pulumi-language-python").exists()


def test_a_vendors_engine_that_appears_later_is_taken(machine):
    machine.put_pulumi(machine.cached() / "pulumi", "3.259.0")
    machine.setup()
    machine.put_pulumi(machine.path / "pulumi", "3.261.0")
    shown = machine.setup()
    assert "engine: 3.261.0 at" in shown
    assert "plugins: the vendor's" in shown
    assert not machine.tool("pulumi").exists()
    assert not machine.tool("pulumi-language-python").exists()


def test_env_settings_follow_the_plugins(machine):
    def shown(*words: str) -> str:
        script = machine.checkout / "scripts/env"
        return subprocess.run([script, *words], capture_output=True, text=True, check=True).stdout

    machine.put_pulumi(machine.path / "pulumi", "3.259.0")
    machine.setup()
    assert "PULUMI_HOME" not in shown()
    machine.put_pulumi(machine.path / "pulumi", "3.259.0", download="exit 1")
    shutil.rmtree(machine.home / ".pulumi")
    machine.setup()
    read_back = subprocess.run(
        ["bash", "-c", f'{shown("lab", "trial")}\necho "$PULUMI_HOME|$PULUMI_BACKEND_URL"'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    state = machine.checkout / ".lab/trial-state"
    assert read_back == f"{machine.checkout}/.tools/pulumi-home|file://{state}?metadata=skip"
    assert state.is_dir()


def test_a_failing_step_shows_its_last_words(tmp_path):
    script = f"""
    set -euo pipefail
    root={tmp_path}; source {ROOT}/scripts/lib/debian.sh; source {ROOT}/scripts/lib/steps.sh
    broken() {{ echo "no such mirror"; false; echo "not reached"; }}
    steps_begin; step "Debian packages" broken
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"Debian packages: failed. The last lines of {tmp_path}/.lab/setup.log:" in done.stdout
    assert "    no such mirror" in done.stdout
    assert "not reached" not in done.stdout


def test_a_long_step_shows_signs_of_life(tmp_path):
    script = f"""
    set -euo pipefail
    root={tmp_path}; source {ROOT}/scripts/lib/debian.sh; source {ROOT}/scripts/lib/steps.sh
    step_patience=0.05 progress_interval=0.05
    slow() {{ echo "Unpacking tmux"; sleep 0.4; }}
    steps_begin; step "Debian packages" slow; step "Next" true
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=10)
    lines = done.stdout.splitlines()
    assert "… Debian packages: Unpacking tmux" in lines[0]
    assert sum("…" in line for line in lines) >= 2
    assert "…" not in lines[-1]
    assert done.stderr == ""


def test_set_up_speaks_within_a_second(machine):
    """Before the first step, whatever that takes."""
    machine.put_pulumi(machine.cached() / "pulumi", "3.259.0")
    began = time.monotonic()
    words = [machine.checkout / "scripts/setup", "engine"]
    env = {"HOME": str(machine.home), "PATH": f"{machine.path}:/usr/bin:/bin"}
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True) as setup:
        line = setup.stdout.readline()
        took = time.monotonic() - began
        os.killpg(setup.pid, signal.SIGTERM)
    assert "log: .lab/setup.log" in line
    assert took < 1
