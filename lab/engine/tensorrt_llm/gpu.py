"""How many GPUs this process can see: the lines of `nvidia-smi -L`.

The real engine asks CUDA. Here the tool stands for the driver: the NVIDIA runtime mounts it into
a container together with the GPU, so without a GPU it is not there.
"""

import subprocess


def device_count() -> int:
    """Visible GPUs; 0 without the driver's tool."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def require(count: int) -> None:
    """Fail as the real engine does when a node has too few GPUs.

    Raises:
        RuntimeError: with the real text.
    """
    available = device_count()
    if available < count:
        raise RuntimeError(f"Only {available} GPUs are available, but {count} are required.")
