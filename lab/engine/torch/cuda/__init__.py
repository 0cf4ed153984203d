"""The GPU, as far as the all-reduce's program asks for it."""

from tensorrt_llm import gpu  # type: ignore[import-not-found,unused-ignore]  # beside this in the image

from . import nccl

__all__ = ["nccl", "set_device", "synchronize"]


def set_device(number: int) -> None:
    """Refuses without a GPU, as the real one does."""
    gpu.require(number + 1)


def synchronize() -> None:
    """Nothing is done in the background here."""
