"""Where the engine keeps the kernels it compiles and tunes, so that the next start reuses them. No I/O.

Each node has one Docker volume per stack, with a folder for each key. Before a launch, rank 0's program
(remote/rank0/kernels.py) links CURRENT in every container to the right folder. The variables below are
therefore the same on every rank and for every model: a switch does not touch the workers' services.
"""

from __future__ import annotations

import hashlib
import re

#: The volume, as the containers see it.
VOLUME = "/var/cache/trtspark"
#: The link to the folder of the running model.
CURRENT = "/opt/trtspark/kernels"

#: Sources: model_engine.py and autotuner.py of TensorRT-LLM 1.3; its NVRTC compiler for FP8 GEMMs
#: (deep_gemm/compiler.cuh); flashinfer/jit/env.py, which adds .cache/flashinfer/VERSION/ARCHITECTURES to its
#: base; Triton's and PyTorch's documentation; CUDA's programming guide (what the driver compiles from PTX).
VARIABLES = {
    "TLLM_AUTOTUNER_CACHE_PATH": f"{CURRENT}/autotuner.json",
    "TRTLLM_DG_CACHE_DIR": f"{CURRENT}/deep_gemm",
    "FLASHINFER_WORKSPACE_BASE": f"{CURRENT}/flashinfer",
    "TRITON_CACHE_DIR": f"{CURRENT}/triton",
    "TORCHINDUCTOR_CACHE_DIR": f"{CURRENT}/inductor",
    "TORCH_EXTENSIONS_DIR": f"{CURRENT}/torch_extensions",
    "CUDA_CACHE_PATH": f"{CURRENT}/cuda",
}

_COMMIT = re.compile(r"[0-9a-f]{40}")
_LONGEST_NAME = 48


def key(model: str, revision: str, tensor: int, pipeline: int) -> str:
    """What a cache belongs to, besides the image and the rank, as a part of a folder's name.

    "" where the model's commit is not known: its files may be others at the next start.
    """
    if not _COMMIT.fullmatch(revision):
        return ""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model)[:_LONGEST_NAME].strip("-.")
    told = "\n".join((model, revision, str(tensor), str(pipeline)))
    return f"{name}-tp{tensor}-pp{pipeline}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
