"""Build the lab's serving image without Docker and push it to a registry.

A base with OpenMPI and Python (image_base, cached), the simulated engine, and the libraries' versions.
The upper layers are repacked at every call: they are small, and pushes are skipped when nothing changed.
"""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from lab.engine.tensorrt_llm.version import at_least, transformers
from lab.image_base import build, release_for
from lab.image_layer import EPOCH, Layer, Member, pack
from lab.image_push import Registry, manifest_of

REPOSITORY = "nvidia/tensorrt-llm/release"
VERSION = "1.3.0rc5"
"""The pin of NVIDIA's two-node recipe for the Spark (April 2026)."""
OPENMPI_5 = "1.3.0rc27"
"""First release whose image has OpenMPI 5."""
ENGINE = Path(__file__).parent / "engine"
MODULES = "usr/lib/python3/dist-packages"
LACKING = {
    "-nossh": ("usr/bin/ssh", "usr/bin/scp", "usr/bin/sftp", "usr/bin/slogin"),
    "-noserve": ("usr/local/bin/trtllm-serve",),
}
"""What a version with that ending goes without: the real image may have no ssh client."""

ENVIRONMENT = {
    "PATH": "/usr/local/mpi/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "BASH_ENV": "/etc/bash.bashrc",
    "ENV": "/etc/shinit_v2",
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility,video",
    "PYTORCH_CUDA_ALLOC_CONF": "garbage_collection_threshold:0.99999",
}
"""As in the real image, which sets TRT_LLM_VERSION and what is in BASES besides."""
BASES = (
    (
        "1.3.0rc27",
        {"CUDA_VERSION": "13.2.0.044", "CUDA_DRIVER_VERSION": "595.45.04", "NCCL_VERSION": "2.30.7"},
    ),
    (
        "1.3.0rc1",
        {"CUDA_VERSION": "13.1.0.036", "CUDA_DRIVER_VERSION": "590.44.01", "NCCL_VERSION": "2.28.9"},
    ),
    ("0.0.0", {"CUDA_VERSION": "13.0.2.006", "CUDA_DRIVER_VERSION": "580.95.05", "NCCL_VERSION": "2.27.7"}),
)
"""What NVIDIA's base image sets, by the first release built on it, newest first. NCCL's versions are those
of the simulated engine; CUDA's go with them. NVIDIA_REQUIRE_CUDA is cuda>=9.0 in all of them."""


def publish(
    registry: str,
    ca: Path,
    cache: Path,
    *,
    version: str = VERSION,
    say: Callable[[str], None] = print,
) -> str:
    """Push the serving image and return its name, REGISTRY/REPOSITORY:VERSION.

    `registry` is HOST:PORT with TLS, `ca` the PEM file that signed its certificate, `cache` a
    folder that checkouts share, `version` the engine to simulate, with an ending of LACKING or none.

    Raises:
        RuntimeError: the base could not be built, or the registry refused something.
        OSError: the registry cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="trtllm-image-") as work:
        base = build(cache, say, openmpi_of(version))
        engine = pack(engine_members(base.python_magic), Path(work, "engine.tar.gz"))
        libraries = pack(library_members(release_of(version)), Path(work, "libraries.tar.gz"))
        layers = [base, engine, libraries]
        if gone := [path for ending, paths in LACKING.items() if version.endswith(ending) for path in paths]:
            layers.append(pack(whiteouts(gone), Path(work, "lacking.tar.gz")))
        config = image_config(layers, release_of(version))
        digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
        with Registry(registry, ca) as target:
            for layer in layers:
                if target.push_blob(REPOSITORY, layer.digest, layer.path):
                    say(f"image: pushed {layer.size / 1e6:.1f} MB to {registry}")
            target.push_blob(REPOSITORY, digest, config)
            listed = [(layer.digest, layer.size) for layer in layers]
            target.push_manifest(REPOSITORY, version, manifest_of(config, digest, listed))
    return f"{registry}/{REPOSITORY}:{version}"


def openmpi_of(version: str) -> int:
    """The generation of OpenMPI in the real image of that release."""
    return 5 if at_least(OPENMPI_5, release_of(version)) else 4


def release_of(version: str) -> str:
    """The engine's version without what says that something is missing in the image."""
    return version.partition("-")[0]


def base_of(version: str) -> dict[str, str]:
    """What the base image of that release sets in the environment."""
    found = next(names for first, names in BASES if at_least(first, version))
    openmpi = "5.0.8" if openmpi_of(version) == 5 else "4.1.7"
    return {**found, "NVIDIA_REQUIRE_CUDA": "cuda>=9.0", "OPENMPI_VERSION": openmpi}


def library_members(version: str) -> Iterator[Member]:
    """What `pip list` knows of the libraries that the engine would bring: the version of transformers."""
    found = transformers(version)
    folder = f"{MODULES}/transformers-{found}.dist-info"
    yield from _folders(folder)
    text = f"Metadata-Version: 2.1\nName: transformers\nVersion: {found}\nSummary: Not there: simulated.\n"
    yield _file(f"{folder}/METADATA"), text.encode()


def whiteouts(paths: list[str]) -> Iterator[Member]:
    """A layer that takes these files of the layers below away."""
    for path in paths:
        folder, _, name = path.rpartition("/")
        yield _file(f"{folder}/.wh.{name}"), b""


def image_config(layers: list[Layer], version: str) -> bytes:
    """The image's configuration document: what `docker inspect` shows."""
    created = datetime.fromtimestamp(EPOCH, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    environment = {**ENVIRONMENT, **base_of(version), "TRT_LLM_VERSION": version}
    document = {
        "architecture": release_for(openmpi_of(version)).arch,
        "os": "linux",
        "created": created,
        "config": {
            "Env": [f"{key}={value}" for key, value in environment.items()],
            "Entrypoint": ["/opt/nvidia/nvidia_entrypoint.sh"],
            "Cmd": ["/bin/bash"],
            "WorkingDir": "/app/tensorrt_llm",
            "Labels": {"org.opencontainers.image.title": "simulated TensorRT-LLM"},
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": created, "created_by": "lab.image"} for _ in layers],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def engine_members(python_magic: str) -> Iterator[Member]:
    """The engine's files at their places in the image.

    Byte code is added when this interpreter writes what the image's reads (`python_magic`): it
    takes the compiling out of every start.
    """
    yield from _folders("app/tensorrt_llm/examples", "opt/nvidia", "usr/local/bin", MODULES)
    yield _file("etc/shinit_v2"), b""
    bins = {"nvidia_entrypoint.sh": "opt/nvidia"}
    for path in sorted((ENGINE / "bin").iterdir()):
        info = _file(f"{bins.get(path.name, 'usr/local/bin')}/{path.name}", 0o755)
        yield info, path.read_bytes()
    modules = {
        str(path.relative_to(ENGINE)): path.read_bytes()
        for package in ("tensorrt_llm", "torch")
        for path in sorted(ENGINE.glob(f"{package}/**/*.py"))
    }
    if importlib.util.MAGIC_NUMBER.hex() == python_magic:
        modules |= _byte_code(modules)
    folders = {str(folder) for name in modules for folder in Path(name).parents} - {"."}
    yield from _folders(*(f"{MODULES}/{folder}" for folder in sorted(folders)))
    for name, content in sorted(modules.items()):
        yield _file(f"{MODULES}/{name}"), content


def _byte_code(modules: dict[str, bytes]) -> dict[str, bytes]:
    """The compiled modules; a fixed hash seed keeps the bytes the same from run to run."""
    with tempfile.TemporaryDirectory(prefix="trtllm-compile-") as work:
        for name, content in modules.items():
            Path(work, name).parent.mkdir(parents=True, exist_ok=True)
            Path(work, name).write_bytes(content)
        command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash"]
        command += ["-s", work, "-p", f"/{MODULES}", work]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "0"}, check=True)
        found = Path(work).rglob("*.pyc")
        return {str(path.relative_to(work)): path.read_bytes() for path in found}


def _file(name: str, mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = mode
    return info


def _folders(*names: str) -> Iterator[Member]:
    """Each folder with its parents: Docker wants them before what they contain."""
    for name in names:
        for folder in [*reversed(Path(name).parents), Path(name)][1:]:
            info = tarfile.TarInfo(str(folder))
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            yield info, None


if __name__ == "__main__":
    print(publish(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), version=(sys.argv[4:] or [VERSION])[0]))
