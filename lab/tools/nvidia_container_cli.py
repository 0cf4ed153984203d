#!/usr/bin/python3 -IS
"""Stands in for nvidia-container-cli of libnvidia-container: what NVIDIA's runtime hook calls in mode legacy.

`nvidia-container-cli [OPTIONS] configure [OPTIONS] --device=WORD… --pid=PID ROOTFS` mounts the GPUs' devices,
nvidia-smi and the driver's library into a container that is about to start. The right to open the devices was
given before (machinery/oci_bundle.py): here it could be given with cgroup v1 only.
"""

import subprocess
import sys
from pathlib import Path

GPU = Path("/etc/lab/gpu")
CONTROL = ("/dev/nvidiactl", "/dev/nvidia-uvm")
FILES = ("/usr/bin/nvidia-smi", str(GPU))


def refuse(text: str) -> None:
    print(f"nvidia-container-cli: {text}", file=sys.stderr)
    sys.exit(1)


def mounted(device: str) -> list[str]:
    """The files of a container that gets the GPUs `device` ("all", an index or a UUID, or several)."""
    if not GPU.exists():
        refuse("initialization error: nvml error: driver not loaded")
    uuids = GPU.read_text().split()
    words = [word for word in device.split(",") if word]
    for word in words:
        if word not in ("all", *uuids, *map(str, range(len(uuids)))):
            refuse(f"device error: {word}: unknown device")
    found = [f"/dev/nvidia{i}" for i, uuid in enumerate(uuids) if {"all", uuid, str(i)} & set(words)]
    return [*found, *CONTROL, *FILES, *map(str, Path("/usr/lib").glob("*/libnvidia-ml.so.1"))]


def main(words: list[str]) -> None:
    if "--version" in words or "-V" in words:
        print("cli-version: 1.20.1\nlib-version: 1.20.1")
        return
    if "configure" not in words:
        refuse("only `configure` is simulated")
    options = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
    rootfs = words[-1]
    script = (
        'for file; do mkdir -p "$0${file%/*}"; [ -e "$0$file" ] || : >"$0$file";'
        ' mount --bind "$file" "$0$file"; done'
    )
    enter = ["nsenter", f"--target={options['pid']}", "--mount", "sh", "-ec", script, rootfs]
    done = subprocess.run([*enter, *mounted(options.get("device", ""))], check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main(sys.argv[1:])
