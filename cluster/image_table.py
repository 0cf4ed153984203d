"""What is known to work and to fail, by release of TensorRT-LLM, number of ranks and kind of model.

ENTRIES is the one source: preflight, the doctor, `trtspark models` and docs/images.md read it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cluster import catalog
from cluster.config import Settings
from cluster.facts import Facts
from cluster.model_config import Shape
from cluster.release import Release, release

Verdict = Literal["ok", "warn", "refuse"]
Ranks = Literal["any", "one", "several"]
#: From bad to good.
ORDER: tuple[Verdict, ...] = ("refuse", "warn", "ok")
OVERRIDE = "`pulumi config set allowUntestedImage true` deploys it all the same."

_REPOSITORY = "https://github.com/NVIDIA/TensorRT-LLM"
_PLAYBOOKS = "https://github.com/NVIDIA/dgx-spark-playbooks"
_PAIR = "For several Sparks use 1.3.0rc5, which NVIDIA's own instructions name, or 1.3.0rc20 or later."


@dataclass(frozen=True)
class Served:
    """What matters of a model here. `architecture` and `quantisation` are "" where they are not known."""

    id: str
    architecture: str = ""
    mixture: bool = False
    """Whether it is a mixture of experts."""
    quantisation: str = ""
    backend: str = "pytorch"


def served(model: str, shape: Shape | None, backend: str = "pytorch") -> Served:
    """What is known of a model by its config.json, else by the catalog and its name."""
    if shape:
        return Served(model, shape.architecture, shape.experts > 0, shape.quantisation.lower(), backend)
    listed = catalog.known(model).quantisation.lower()
    named = re.search(r"(?i)(nvfp4|mxfp4|fp4|fp8|awq|gptq|int4|int8)", model)
    quantisation = listed if listed != "unknown" else (named[0].lower() if named else "")
    mixture = bool(re.search(r"(?i)-A\d+(?:\.\d+)?B|Mixtral|gpt-oss", model))
    return Served(model, "", mixture, quantisation, backend)


def _low_precision_mixture(model: Served) -> bool:
    return model.mixture and model.quantisation not in ("", "bf16", "none")


def _qwen3_mixture_fp8(model: Served) -> bool:
    name = re.search(r"(?i)/Qwen3-\d+B-A\d+B", model.id) is not None
    family = model.architecture == "Qwen3MoeForCausalLM" or (not model.architecture and name)
    return family and "fp8" in model.quantisation


def _gemma_2(model: Served) -> bool:
    name = re.search(r"(?i)/gemma-2-", model.id) is not None
    family = model.architecture == "Gemma2ForCausalLM" or (not model.architecture and name)
    return family and model.backend == "pytorch"


#: The kinds of models that entries speak of.
KINDS: Mapping[str, Callable[[Served], bool]] = {
    "any": lambda _model: True,
    "mixture of experts in FP8 or FP4": _low_precision_mixture,
    "Qwen3 mixture of experts in FP8": _qwen3_mixture_fp8,
    "Gemma 2": _gemma_2,
}


@dataclass(frozen=True)
class Entry:
    """One thing that is known. `first` to `last` are releases, both included and `last` with its .postN;
    "" is no bound. `reason` is a sentence; `todo`, too, where something is wrong.
    """

    id: str
    first: str
    last: str
    ranks: Ranks
    models: str
    verdict: Verdict
    reason: str
    todo: str = ""
    links: tuple[str, ...] = ()

    def matches(self, image: Release, ranks: int, model: Served) -> bool:
        """Whether it speaks of this image with this model on so many ranks."""
        if self.first and image < release(self.first):
            return False
        if self.last and not (image <= release(self.last) or image.base == release(self.last)):
            return False
        number = self.ranks == "any" or (self.ranks == "several") == (ranks > 1)
        return number and KINDS[self.models](model)

    @property
    def span(self) -> str:
        """Its releases as text."""
        if self.first == self.last:
            return self.first
        if not self.last:
            return f"{self.first} and later"
        return f"{self.first} to {self.last}" if self.first else f"up to {self.last}"


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "pair-crash", "1.3.0rc8", "1.3.0rc17", "several", "any", "refuse",
        "Ranks on two machines crash (a segmentation fault in ncclGinGdakiQueryLastError) or hang "
        "(silence after finalMNNVL=0).",
        _PAIR,
        (f"{_REPOSITORY}/issues/12715", f"{_REPOSITORY}/pull/12902"),
    ),
    Entry(
        "pair-crash-perhaps", "1.3.0rc18", "1.3.0rc19", "several", "any", "warn",
        "Ranks on two machines crash or hang in the releases before, and the fix came with 1.3.0rc20.",
        _PAIR,
        (f"{_REPOSITORY}/issues/12715", f"{_REPOSITORY}/pull/12902"),
    ),
    Entry(
        "single-node", "1.2.0rc0", "1.2.0", "several", "any", "warn",
        "NVIDIA validated this release on a single Spark only.",
        _PAIR,
        (f"{_REPOSITORY}/releases/tag/v1.2.0",),
    ),
    Entry(
        "moe-accuracy", "1.3.0rc24", "1.3.0rc24", "several", "mixture of experts in FP8 or FP4", "warn",
        "The release notes tell of a loss of accuracy with several GPUs.",
        "Use another release, or compare its answers with one Spark's.",
        (f"{_REPOSITORY}/releases/tag/v1.3.0rc24",),
    ),
    Entry(
        "qwen3-moe-fp8", "1.3.0rc24", "1.3.0rc24", "any", "Qwen3 mixture of experts in FP8", "refuse",
        "The release notes say that such a model does not start.",
        "Use another release, or the model in NVFP4.",
        (f"{_REPOSITORY}/releases/tag/v1.3.0rc24",),
    ),
    Entry(
        "gemma-2", "", "1.3.0rc20", "any", "Gemma 2", "refuse",
        "The PyTorch backend does not know this architecture.",
        "Use Gemma 3, or `pulumi config set backend _autodeploy`.",
        ("https://nvidia.github.io/TensorRT-LLM/1.3.0rc20/models/supported-models.html",),
    ),
    Entry(
        "tokenizer", "1.2.0", "1.2.1", "any", "any", "ok",
        "Its transformers 4.57.3 asks the Hub for the tokenizer even when offline; the server is given the "
        "tokenizer's path instead.",
        links=("https://github.com/huggingface/transformers/issues/44843",),
    ),
    Entry(
        "seed", "1.2.1", "1.2.1", "any", "any", "ok",
        "The authors of the scripts that this program follows ran it on one and on two real Sparks; NVIDIA "
        "validated it on one.",
    ),
    Entry(
        "nvidia-pair", "1.3.0rc5", "1.3.0rc5", "several", "any", "ok",
        "NVIDIA's instructions for two Sparks name it.",
        links=(_PLAYBOOKS,),
    ),
    Entry(
        "nvidia-pair-post", "1.3.0rc5.post1", "1.3.0rc5.post2", "any", "any", "ok",
        "These are 1.3.0rc5 with a few fixes.",
        links=(f"{_REPOSITORY}/releases",),
    ),
    Entry(
        "nemotron-super", "1.3.0rc9", "1.3.0rc9", "one", "any", "ok",
        "NVIDIA's guide for Nemotron 3 Super names it.",
        links=(_PLAYBOOKS,),
    ),
    Entry(
        "nvidia-single", "1.3.0rc13", "1.3.0rc13", "one", "any", "ok",
        "NVIDIA's instructions for one Spark name it.",
        links=(_PLAYBOOKS,),
    ),
    Entry(
        "tokenizer-rc13", "1.3.0rc13", "1.3.0rc13", "any", "any", "ok",
        "Its transformers 4.57.3 asks the Hub for the tokenizer even when offline; the server is given the "
        "tokenizer's path instead.",
        links=("https://github.com/huggingface/transformers/issues/44843",),
    ),
    Entry(
        "sm121", "1.3.0rc17", "", "one", "any", "ok",
        "It has fixes for the Spark's GPU (sm_121).",
        links=(f"{_REPOSITORY}/pull/13773", f"{_REPOSITORY}/pull/14424"),
    ),
    Entry(
        "pair-fixed", "1.3.0rc20", "", "several", "any", "ok",
        "It has the fix for ranks on two machines.",
        links=(f"{_REPOSITORY}/pull/12902",),
    ),
    Entry(
        "open-mpi-5", "1.3.0rc27", "", "several", "any", "ok",
        "It has Open MPI 5, whose options differ; this program reads the version and gives the right ones.",
    ),
    Entry(
        "fail-fast", "1.4.0rc0", "", "any", "any", "ok",
        "It ends at the start where the model's context does not fit the KV cache, which earlier releases "
        "shorten; the server is given a length that fits.",
        links=("https://nvidia.github.io/TensorRT-LLM/commands/trtllm-serve/trtllm-serve.html",),
    ),
)  # fmt: skip


def judged(image: Release, ranks: int, model: Served) -> list[Entry]:
    """Everything that is known of it, what is bad first."""
    found = [entry for entry in ENTRIES if entry.matches(image, ranks, model)]
    return sorted(found, key=lambda entry: ORDER.index(entry.verdict))


def verdict(entries: list[Entry]) -> Verdict | None:
    """The worst of them; None where nothing is known."""
    return entries[0].verdict if entries else None


def use(settings: Settings, nodes: Sequence[Facts], model: Served) -> dict[str, Any]:
    """What an image is judged by once it is pulled, as plain data. A stack that is stopped may have any."""
    return {
        "model": asdict(model),
        "ranks": len(nodes),
        "allowed": settings.allow_untested_image or not settings.running,
        "drivers": [[facts.node, facts.driver, facts.cuda] for facts in nodes],
        "restricted": settings.restrict_containers,
    }


def refusal(image: Release, ranks: int, model: Served) -> str:
    """Why it is refused, and what to do, in one line; "" where it is not."""
    known = judged(image, ranks, model)
    if verdict(known) != "refuse":
        return ""
    return " ".join(sentences(image, ranks, model, known[0], True))


def sentences(image: Release, ranks: int, model: Served, entry: Entry, refused: bool) -> tuple[str, str]:
    """What is wrong, and what to do, by an entry that is not `ok`; `refused`: whether it stops the run."""
    several = f" on {ranks} ranks" if entry.ranks == "several" else ""
    about = "" if entry.models == "any" else f" with {model.id}"
    link = f" See {entry.links[0]}." if entry.links else ""
    todo = f"{entry.todo} {OVERRIDE}" if refused else entry.todo
    return f"TensorRT-LLM {image}{about}{several}: {entry.reason}", f"{todo}{link}"
