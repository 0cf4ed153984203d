"""The base layer of the lab's serving image: a small Debian or Ubuntu with OpenMPI and Python.

Stands in for NVIDIA's PyTorch container, of which only what a launcher touches matters here:
mpirun, an ssh client, curl, Python with MPI. Built once with debootstrap from the host's own
release and mirror, then kept as one compressed file that every checkout shares.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.image_layer import Layer, Member, pack

PACKAGES = (
    "openmpi-bin",
    "openssh-client",
    "python3",
    "python3-mpi4py",
    "python3-click",
    "python3-uvicorn",
    "python3-httptools",
    "python3-starlette",
    "python3-yaml",
    "curl",
    "tini",
    "procps",
    "ca-certificates",
)
RECIPE = 5
"""Raise it when what is done to the file system below changes: it is part of the cache's key."""
_EMPTIED = (
    "dev",
    "proc",
    "run",
    "sys",
    "tmp",
    "usr/lib/*/gconv",
    "usr/lib/*/hwloc",  # plugins for displays and GPUs; what only they need is dropped below
    "usr/lib/*/perl-base",
    "usr/lib/apt/methods",
    "usr/lib/gcc",
    "usr/lib/python3*/ensurepip",
    "usr/lib/python3*/lib2to3",
    "usr/lib/python3*/pydoc_data",
    "usr/share/X11",
    "usr/share/bash-completion",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl5",
    "usr/share/zoneinfo",
    "var/cache",
    "var/lib/apt/lists",
    "var/lib/dpkg/info",
    "var/log",
)
"""Folders of which the layer keeps the name only."""
_DROPPED = (
    "etc/hostname",  # debootstrap copies this machine's
    "etc/resolv.conf",
    "usr/bin/perl*",
    "usr/lib/*/libLLVM*.so*",  # from here for AMD's GPUs, which Debian 13's UCX can use
    "usr/lib/*/libamd*.so*",
    "usr/lib/*/libhsa*.so*",
    "usr/lib/*/libz3.so*",
    "usr/lib/*/ucx/*rocm*",
    "usr/lib/*/libX11.so*",  # from here for hwloc's plugins
    "usr/lib/*/libicu*.so*",
    "usr/lib/*/libxml2.so*",
)
"""Files that nothing left in the layer needs: a third of it, or two thirds with OpenMPI 5."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Release:
    """Where the base's packages come from."""

    suite: str
    mirror: str
    components: str  # comma-separated, as debootstrap wants them
    arch: str


_SUITES = {
    "debian": {4: ("bookworm", "bullseye"), 5: ("trixie", "forky")},
    "ubuntu": {4: ("noble", "jammy"), 5: ("resolute", "questing")},
}
"""Releases by the generation of OpenMPI in them."""


def release_for(openmpi: int, root: Path = Path("/")) -> Release:
    """The distribution's release with that OpenMPI (4 or 5), from the running system's mirror.

    The system's own release is taken when it fits.

    Raises:
        RuntimeError: the system is neither Debian nor Ubuntu, or apt has no source for it.
    """
    lines = (root / "etc/os-release").read_text().splitlines()
    osrel = {k: v.strip('"') for k, _, v in (line.partition("=") for line in lines)}
    suite, distro = osrel.get("VERSION_CODENAME", ""), osrel.get("ID", "")
    if distro not in ("debian", "ubuntu") or not suite:
        raise RuntimeError(f"The lab's image needs Debian or Ubuntu, this is {distro or 'neither'}.")
    wanted = suite if suite in _SUITES[distro][openmpi] else _SUITES[distro][openmpi][0]
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    for uri, suites in _apt_sources(root / "etc/apt"):
        if suite in suites:
            components = "main,universe" if distro == "ubuntu" else "main"
            return Release(wanted, uri, components, arch)
    raise RuntimeError(f"apt has no source for {suite}: add one to /etc/apt/sources.list.d.")


def _apt_sources(apt: Path) -> Iterator[tuple[str, list[str]]]:
    """(URI, suites) of apt's binary sources, of both file formats."""
    one_line = [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]
    for path in one_line:
        for line in path.read_text().splitlines() if path.is_file() else ():
            words = [w for w in line.split("#")[0].split() if not w.startswith("[") and "=" not in w]
            words = [w for w in words if not w.endswith("]")]
            if len(words) > 2 and words[0] == "deb":
                yield words[1], [words[2]]
    for path in sorted(apt.glob("sources.list.d/*.sources")):
        for stanza in path.read_text().split("\n\n"):
            pairs = (line.partition(":") for line in stanza.splitlines() if not line.startswith("#"))
            fields = {key.strip(): value.split() for key, _, value in pairs}
            if "deb" in fields.get("Types", []) and fields.get("Enabled") != ["no"]:
                for uri in fields.get("URIs", []):
                    yield uri, fields.get("Suites", [])


def build(cache: Path, say: Progress = print, openmpi: int = 4) -> Layer:
    """The base layer, from the cache or built into it (about two minutes, as root).

    `openmpi` is the generation of OpenMPI, 4 or 5.

    Raises:
        RuntimeError: debootstrap is missing or failed; the message has its last lines.
    """
    release = release_for(openmpi)
    words = [str(RECIPE), release.suite, release.arch, release.components, *PACKAGES]
    key = hashlib.sha256(" ".join(words).encode()).hexdigest()[:12]
    path = cache / f"base-{release.suite}-{release.arch}-{key}.tar.gz"
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "base.lock"):
        if (known := _recorded(path)) is not None:
            return known
        started = time.monotonic()
        work = Path(tempfile.mkdtemp(prefix="base-", dir=cache))
        try:
            rootfs = work / "rootfs"
            _debootstrap(release, rootfs, say)
            magic = _compile_python(rootfs)
            say("image base: packing")
            layer = pack(_tree(rootfs), work / "layer.tar.gz", magic)
            layer = Layer(path, layer.digest, layer.diff_id, layer.size, magic)
            (work / "layer.tar.gz").rename(path)
            record = {k: v for k, v in asdict(layer).items() if k != "path"}
            (work / "layer.json").write_text(json.dumps(record))
            (work / "layer.json").rename(path.with_suffix(".json"))
        finally:
            shutil.rmtree(work, ignore_errors=True)
        took = time.monotonic() - started
        say(f"image base: {layer.size / 1e6:.0f} MB in {took:.0f} s, kept in {cache}")
        return layer


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the file's lock: a second builder waits, then finds the first one's work."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _recorded(path: Path) -> Layer | None:
    """The layer that was built before, when its file still has the recorded size."""
    try:
        record = json.loads(path.with_suffix(".json").read_text())
        if path.stat().st_size == record["size"]:
            return Layer(path, **record)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _debootstrap(release: Release, rootfs: Path, say: Progress) -> None:
    """Install the packages into an empty folder, in a mount namespace that ends with it."""
    tool = shutil.which("debootstrap", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if tool is None:
        raise RuntimeError("debootstrap is not installed: apt-get install debootstrap.")
    command = ["unshare", "--mount", tool, "--variant=minbase", f"--arch={release.arch}"]
    command += [f"--components={release.components}", f"--include={','.join(PACKAGES)}"]
    command += [release.suite, str(rootfs), release.mirror]
    say(f"image base: {release.suite} from {release.mirror}, about two minutes, only once")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    last: list[str] = []
    phases = {"Retrieving", "Extracting", "Unpacking", "Configuring"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    ) as process:
        for line in process.stdout or ():
            last = [*last[-7:], line.rstrip()]
            word = line.removeprefix("I: ").split(" ")[0].rstrip()
            if word in phases:
                phases.remove(word)
                say(f"image base: {word.lower()} packages")
    if process.returncode != 0:
        raise RuntimeError("debootstrap failed:\n" + "\n".join(last))


def _compile_python(rootfs: Path) -> str:
    """Byte-compile the layer's Python modules so that no start checks or compiles them again.

    The packages' own .pyc files name their sources' modification times, which the layer does not
    keep. Returns the interpreter's magic number in hex.
    """
    for folder in rootfs.glob("usr/lib/python3*/**/__pycache__"):
        shutil.rmtree(folder)
    inside = ["chroot", str(rootfs), "python3"]
    mode = "--invalidation-mode=unchecked-hash"
    subprocess.run(
        [*inside, "-m", "compileall", "-q", mode, "/usr/lib/python3", *_stdlib(rootfs)],
        stdout=subprocess.DEVNULL,
        check=False,  # a few files of lib2to3 do not compile: they are test data
    )
    ask = "import importlib.util as u; print(u.MAGIC_NUMBER.hex())"
    return subprocess.run([*inside, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()


def _stdlib(rootfs: Path) -> list[str]:
    return [f"/usr/lib/{path.name}" for path in rootfs.glob("usr/lib/python3.*")]


def _listed(path: Path, patterns: tuple[str, ...]) -> bool:
    """Whether a path inside the layer is one of those; `*` stands for one part of a path."""
    return any(Path("/", path).match(f"/{pattern}") for pattern in patterns)


def _tree(rootfs: Path) -> Iterator[Member]:
    """Everything in the root file system but what a container does not need."""
    first: dict[tuple[int, int], str] = {}
    for folder, names, files in os.walk(rootfs):
        names.sort()
        inside = Path(folder).relative_to(rootfs)
        if _listed(inside, _EMPTIED):
            names.clear()
            continue
        kept = sorted(name for name in (*names, *files) if not _listed(inside / name, _DROPPED))
        for name in kept:
            path = Path(folder, name)
            stat = path.lstat()
            info = tarfile.TarInfo(str(inside / name))
            info.mode, info.uid, info.gid = stat.st_mode & 0o7777, stat.st_uid, stat.st_gid
            if path.is_symlink():
                info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
                yield info, None
            elif path.is_dir():
                info.type = tarfile.DIRTYPE
                yield info, None
            elif path.is_file():
                earlier = first.setdefault((stat.st_dev, stat.st_ino), info.name)
                if earlier != info.name:
                    info.type, info.linkname = tarfile.LNKTYPE, earlier
                    yield info, None
                else:
                    info.size = stat.st_size
                    yield info, path


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
