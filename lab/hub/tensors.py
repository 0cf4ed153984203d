"""The tensors of the lab's checkpoints: those of the published layouts (cluster/published)."""

from cluster.published.layouts import DTYPE_BYTES, Tensor, of, resized, total

__all__ = ["DTYPE_BYTES", "Tensor", "of", "resized", "total"]
