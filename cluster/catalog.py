"""The models we know something about, and the defaults each deserves.

Any other Hub id works too and gets the general defaults. No entry has the model's code trusted: that takes
the user's word and a commit (weights.pinned in cluster/checks). Sizes are the checkpoint's on disk, in GB
(10^9 bytes), rounded. Sources: the presets of the shell scripts this project succeeds (batch, tokens,
fraction), NVIDIA's list of models for the Spark, the model cards (sizes, licences, gating).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

#: The architecture of gpt-oss in config.json.
GPT_OSS = "GptOssForCausalLM"
DEFAULT_MAX_BATCH_SIZE = 4
DEFAULT_MAX_NUM_TOKENS = 32768
DEFAULT_GPU_MEMORY_FRACTION = 0.90


@dataclass(frozen=True)
class Model:
    """One entry: a Hub id and what the engine should be told unless the user says otherwise."""

    id: str
    size_gb: float
    quantisation: str
    max_batch_size: int = DEFAULT_MAX_BATCH_SIZE
    max_num_tokens: int = DEFAULT_MAX_NUM_TOKENS
    gpu_memory_fraction: float = DEFAULT_GPU_MEMORY_FRACTION
    gated: bool = False
    note: str = ""
    licence: str = "Apache-2.0"
    """As its model card names it."""

    @property
    def harmony(self) -> bool:
        """Whether it answers in OpenAI's harmony format, which needs the tiktoken encodings."""
        return is_gpt_oss(self.id)


CATALOG: tuple[Model, ...] = (
    Model("nvidia/Qwen3-235B-A22B-FP4", 134, "NVFP4", note="NVIDIA's two-Spark model"),
    Model("openai/gpt-oss-120b", 65, "MXFP4", 4, 8192),
    Model("openai/gpt-oss-20b", 14, "MXFP4", 8, 8192),
    Model("Qwen/Qwen2.5-7B-Instruct", 15, "BF16", 16),
    Model("Qwen/Qwen2.5-14B-Instruct", 30, "BF16", 16),
    Model("Qwen/Qwen2.5-32B-Instruct", 66, "BF16", 8, gpu_memory_fraction=0.85),
    Model("Qwen/Qwen2.5-72B-Instruct", 145, "BF16", 4, licence="Qwen"),
    Model("mistralai/Mistral-7B-Instruct-v0.3", 15, "BF16", 16),
    Model("mistralai/Mistral-Nemo-Instruct-2407", 25, "BF16", 8, 131072, 0.85),
    Model("mistralai/Mixtral-8x7B-Instruct-v0.1", 93, "BF16", 8, gpu_memory_fraction=0.85),
    Model(
        "meta-llama/Llama-3.1-8B-Instruct", 16, "BF16", 16, 131072, gated=True, licence="Llama 3.1 Community"
    ),
    Model(
        "meta-llama/Llama-3.1-70B-Instruct", 141, "BF16", 4, 131072, gated=True, licence="Llama 3.1 Community"
    ),
    Model(
        "meta-llama/Llama-3.3-70B-Instruct", 141, "BF16", 4, 131072, gated=True, licence="Llama 3.3 Community"
    ),
    Model("microsoft/phi-4", 29, "BF16", 16, 16384, licence="MIT"),
    Model(
        "google/gemma-2-27b-it",
        55,
        "BF16",
        8,
        8192,
        gated=True,
        licence="Gemma",
        note="the PyTorch backend does not know its architecture up to 1.3.0rc20 at least",
    ),
    Model("nvidia/Qwen3-8B-FP4", 6, "NVFP4"),
    Model("nvidia/Qwen3-14B-FP4", 10, "NVFP4"),
    Model("nvidia/Qwen3-32B-FP4", 20, "NVFP4"),
    Model("nvidia/Qwen3-30B-A3B-FP4", 18, "NVFP4"),
    Model("nvidia/Llama-3.1-8B-Instruct-FP4", 6, "NVFP4", licence="Llama 3.1 Community"),
    Model("nvidia/Llama-3.3-70B-Instruct-FP4", 43, "NVFP4", licence="Llama 3.3 Community"),
    Model("nvidia/Llama-4-Scout-17B-16E-Instruct-FP4", 63, "NVFP4", licence="Llama 4 Community"),
)

_BY_ID = {model.id: model for model in CATALOG}


def known(model_id: str, architecture: str = "") -> Model:
    """The catalog's entry, or one with the general defaults for any other Hub id.

    Models derived from gpt-oss (`unsloth/gpt-oss-120b`) have the original's: by their name, or by the
    `architecture` of their config.json, where it is known.
    """
    if model_id in _BY_ID:
        return _BY_ID[model_id]
    other = Model(model_id, 0.0, "unknown", licence="unknown")
    if not is_gpt_oss(model_id, architecture):
        return other
    small = re.search(r"(?i)(?<!\d)20b", model_id)
    original = _BY_ID["openai/gpt-oss-20b" if small else "openai/gpt-oss-120b"]
    return replace(
        other,
        max_batch_size=original.max_batch_size,
        max_num_tokens=original.max_num_tokens,
        gpu_memory_fraction=original.gpu_memory_fraction,
    )


def suggestions(model_id: str, also: list[str] | None = None) -> list[str]:
    """Up to three ids that look like `model_id`, from the catalog and `also` (ids seen in a cache).

    None for an id that is one of them: it is spelt right.
    """
    return similar(model_id, [*_BY_ID, *(also or [])])


def similar(model_id: str, ids: Sequence[str]) -> list[str]:
    """Up to three of `ids` that look like `model_id`; none where it is one of them.

    Where nobody asked the Hub, only what the nodes hold can be meant: any other id may be spelt right.
    """
    pool = {candidate.lower(): candidate for candidate in ids}
    if model_id in pool.values():
        return []
    return [pool[name] for name in difflib.get_close_matches(model_id.lower(), pool, n=3, cutoff=0.6)]


def is_gpt_oss(model_id: str, architecture: str = "") -> bool:
    """Whether it is gpt-oss or derived from it: by config.json's architecture, else by its name.

    Such a model fetches two vocabularies at the first chat request, unless they are mounted.
    """
    if architecture:
        return architecture == GPT_OSS
    return "gpt-oss" in model_id.rpartition("/")[2].lower().replace("_", "-")
