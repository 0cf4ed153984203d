#!/usr/bin/python3 -IS
"""What nvidia-container-runtime 1.20 in mode `auto` changes of a container; then becomes runc.

As the real one (from its source, and from runs of it without a GPU):
- Variables named by `swarm-resource` in config.toml, if the container has any of them, replace
  NVIDIA_VISIBLE_DEVICES; by default none is named.
- Without a visible GPU nothing at all is injected; an unknown GPU keeps the container from starting.
- A visible GPU brings its devices and nvidia-smi, and NVIDIA_VISIBLE_DEVICES reads `void` inside.
- NVIDIA_MOFED=enabled, that word exactly, brings /dev/infiniband/uverbs* and rdma_cm with the right
  to open them; fully qualified names (nvidia.com/gpu=all) do without that step.
- `mode = "legacy"` with NVIDIA_MOFED loses the GPU, unless swarm-resource matched.

Two things stand in for what is not there on this machine:
- Limits are clamped to those of this process: without CAP_SYS_RESOURCE nobody may raise them, and
  a container with memlock unlimited would not start.
- /sys/class of a container on the host's network is the node's: a kernel with RDMA devices shows
  them to it. Where it got RDMA devices it may write their counters, as their traffic would.

With --below-nvidia it was started by NVIDIA's own runtime, and does these two things only.
"""

import json
import os
import resource
import sys
import tomllib
from pathlib import Path
from typing import Any, NoReturn

CONFIG = Path("/etc/nvidia-container-runtime/config.toml")
GPU = Path("/etc/lab/gpu")
"""A GPU's UUID a line; missing without one."""
CONTROL_DEVICES = tuple(map(Path, ("/dev/nvidiactl", "/dev/nvidia-uvm")))
RDMA_DEVICES = Path("/dev/infiniband")
RDMA_CLASS = Path("/sys/class/infiniband")
VENDOR = "nvidia.com/gpu="

Json = dict[str, Any]


class RefusalError(Exception):
    """Why the container does not start."""


def requested(environment: dict[str, str], config: Json) -> tuple[list[str], bool]:
    """Return the GPUs asked for, and whether a swarm-resource variable asked."""
    names = [name.strip() for name in config.get("swarm-resource", "").split(",")]
    chosen = [environment[name] for name in names if name in environment]
    value = ",".join(chosen) if chosen else environment.get("NVIDIA_VISIBLE_DEVICES", "")
    words = [word for word in value.split(",") if word]
    return ([] if {"void", "none"} & set(words) else words), bool(chosen)


def check(words: list[str]) -> None:
    """Every word has to name a GPU of this machine, or RefusalError is raised."""
    if not GPU.exists():
        raise RefusalError("failed to initialize NVML: ERROR_DRIVER_NOT_LOADED")
    for word in words:
        name = word.removeprefix(VENDOR)
        uuids = GPU.read_text().split()
        if name not in ("all", *uuids, *map(str, range(len(uuids)))):
            raise RefusalError(f"failed to get device handle for {word!r}: Not Found")


def edit_bundle(bundle: Path) -> None:
    """Change a container before it is created."""
    spec = json.loads((bundle / "config.json").read_text())
    process = spec["process"]
    environment = dict(word.split("=", 1) for word in process.get("env", []) if "=" in word)
    config = tomllib.loads(CONFIG.read_text())
    words, by_swarm = requested(environment, config)
    rdma = False
    if words:
        check(words)
        mofed = environment.get("NVIDIA_MOFED") == "enabled" and not words[0].startswith(VENDOR)
        legacy = config.get("nvidia-container-runtime", {}).get("mode") == "legacy"
        if not (legacy and mofed and not by_swarm):
            add_gpu(spec, [word.removeprefix(VENDOR) for word in words])
        if mofed:
            rdma = add_rdma(spec)
        process["env"] = [w for w in process["env"] if not w.startswith("NVIDIA_VISIBLE_DEVICES=")]
        process["env"].append("NVIDIA_VISIBLE_DEVICES=void")
    show_host(spec, rdma=rdma)
    clamp(process)
    (bundle / "config.json").write_text(json.dumps(spec))


def edit_below_nvidia(bundle: Path) -> None:
    """Change a container that NVIDIA's own runtime has changed already."""
    spec = json.loads((bundle / "config.json").read_text())
    devices = [device["path"] for device in spec["linux"].get("devices") or []]
    hooks = [hook for hooks in (spec.get("hooks") or {}).values() for hook in hooks or []]
    legacy = any(hook["path"].endswith("nvidia-container-runtime-hook") for hook in hooks)
    if legacy:  # the hook's helper makes the devices later, and cannot give rights everywhere
        for device in (*Path("/dev").glob("nvidia[0-9]"), *CONTROL_DEVICES):
            allow(spec, device)
    elif any(path.startswith("/dev/nvidia") for path in devices):
        bind(spec, GPU, "bind", "ro", "nosuid", "nodev")
    show_host(spec, rdma=any(path.startswith(f"{RDMA_DEVICES}/uverbs") for path in devices))
    clamp(spec["process"])
    (bundle / "config.json").write_text(json.dumps(spec))


def show_host(spec: Json, *, rdma: bool) -> None:
    """/sys/class as the kernel of this machine has it, with counters to write for who has RDMA devices."""
    if on_host_network(spec) and RDMA_CLASS.exists():
        bind(spec, RDMA_CLASS.parent, "rbind", "ro")
        for device in sorted(RDMA_CLASS.iterdir()) if rdma else []:
            for counters in ("counters", "hw_counters"):
                bind(spec, device / "ports/1" / counters, "bind", "rw")


def edit_process(file: Path) -> None:
    """Change what `docker exec` or a health check is about to run."""
    process = json.loads(file.read_text())
    clamp(process)
    file.write_text(json.dumps(process))


def add_gpu(spec: Json, names: list[str]) -> None:
    uuids = GPU.read_text().split()
    visible = [i for i, uuid in enumerate(uuids) if {"all", uuid, str(i)} & set(names)]
    for device in (*(Path(f"/dev/nvidia{number}") for number in visible), *CONTROL_DEVICES):
        add_device(spec, device)
    for file in (Path("/usr/bin/nvidia-smi"), GPU):
        bind(spec, file, "bind", "ro", "nosuid", "nodev")


def add_rdma(spec: Json) -> bool:
    """Return whether this machine has any; without them a container starts all the same."""
    found = [*sorted(RDMA_DEVICES.glob("uverbs*")), *RDMA_DEVICES.glob("rdma_cm")]
    for device in found:
        add_device(spec, device)
    return bool(found)


def add_device(spec: Json, path: Path) -> None:
    seen = path.stat()
    numbers = {"type": "c", "major": os.major(seen.st_rdev), "minor": os.minor(seen.st_rdev)}
    linux = spec["linux"]
    linux.setdefault("devices", []).append(
        {"path": str(path), **numbers, "fileMode": seen.st_mode & 0o777, "uid": 0, "gid": 0}
    )
    allow(spec, path)


def allow(spec: Json, path: Path) -> None:
    """The right to open a device, wherever its file comes from."""
    seen = path.stat()
    rule = {"type": "c", "major": os.major(seen.st_rdev), "minor": os.minor(seen.st_rdev)}
    rules = spec["linux"].setdefault("resources", {}).setdefault("devices", [])
    rules.append({"allow": True, **rule, "access": "rwm"})


def bind(spec: Json, path: Path, *options: str) -> None:
    mount = {"destination": str(path), "source": str(path), "type": "bind", "options": list(options)}
    spec["mounts"].append(mount)


def on_host_network(spec: Json) -> bool:
    """Whether the container shares this machine's network namespace."""
    for namespace in spec["linux"].get("namespaces", []):
        if namespace["type"] == "network":
            path = namespace.get("path")
            return bool(path) and Path(path).stat().st_ino == Path("/proc/self/ns/net").stat().st_ino
    return True


def clamp(process: Json) -> None:
    for limit in process.get("rlimits") or []:
        hard = resource.getrlimit(getattr(resource, limit["type"]))[1]
        if hard != resource.RLIM_INFINITY:
            limit["hard"] = min(limit["hard"], hard)
            limit["soft"] = min(limit["soft"], hard)


def option(words: list[str], *names: str) -> Path | None:
    """The value of `--name VALUE` or `--name=VALUE`."""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            return Path(value if equals else words[index + 1])
    return None


def main(words: list[str]) -> NoReturn:
    below = words[:1] == ["--below-nvidia"]
    words = words[1:] if below else words
    bundle, process = option(words, "--bundle", "-b"), option(words, "--process", "-p")
    try:
        if "create" in words and bundle:
            (edit_below_nvidia if below else edit_bundle)(bundle)
        elif "exec" in words and process:
            edit_process(process)
    except RefusalError as refusal:
        text = f"nvidia-container-runtime: {refusal}"
        print(text, file=sys.stderr)
        if log := option(words, "--log"):  # containerd shows the last error of this file
            with log.open("a") as file:
                file.write(json.dumps({"level": "error", "msg": text}) + "\n")
        sys.exit(1)
    os.execvp("runc", ["runc", *words])


if __name__ == "__main__":
    main(sys.argv[1:])
