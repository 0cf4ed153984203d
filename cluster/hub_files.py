"""Which files of a model's repository the engine needs, and what the Hub said of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from cluster.errors import PlanError
from cluster.weights_plan import ModelFile, ModelFiles


@dataclass(frozen=True)
class Resolved:
    """A model at one commit. `gated`: a licence has to be accepted on the Hub; False where only the
    nodes' caches were asked (`files.endpoint` is "" then, and a digest may be, where it is not known).
    """

    files: ModelFiles
    gated: bool


#: What an engine reads beside the weights. Folders are never read: `original/` and `metal/` hold the same
#: weights once more, `onnx/` and the like are for other engines.
_TEXT = (".json", ".jinja", ".model", ".tiktoken", ".txt")
_NEVER = ("README.md", "LICENSE.txt", "NOTICE.txt", "requirements.txt")
_PICKLED = (".bin", ".pth", ".pt")
_OTHER_FORMATS = (".gguf", ".onnx", ".h5", ".msgpack", ".ot", ".tflite")


def needed(model: str, files: Iterable[ModelFile], trust_remote_code: bool) -> tuple[ModelFile, ...]:
    """The files to have on every node, by path.

    Top level only, as the engine's loader looks nowhere else (its `*.safetensors` glob); remote code may
    be in packages below it. `consolidated*.safetensors` is Mistral's second copy of the same weights: the
    loader leaves it out when there are others. Raises PlanError when there are no safetensors weights: the
    loader could read pickled ones, but their sizes cannot be checked, and unpickling runs what is in them.
    """
    files = list(files)
    weights = [file for file in files if _at_top(file) and file.path.endswith(".safetensors")]
    shards = [file for file in weights if not file.path.startswith("consolidated")] or weights
    if not shards:
        raise PlanError(f"{model} {_without(files)}, and safetensors weights are needed. {_OTHER}")
    rest = [file for file in files if _text(file) or (trust_remote_code and file.path.endswith(".py"))]
    if not any(file.path == "config.json" for file in rest):
        raise PlanError(f"{model} has no config.json, so the engine cannot tell what it is. {_OTHER}")
    return tuple(sorted([*shards, *rest], key=lambda file: file.path))


_OTHER = "Choose a repository in the transformers layout."


def _text(file: ModelFile) -> bool:
    name = file.path
    return _at_top(file) and name.endswith(_TEXT) and name not in _NEVER


def _at_top(file: ModelFile) -> bool:
    return len(PurePosixPath(file.path).parts) == 1


def _without(files: list[ModelFile]) -> str:
    """What it has in their place."""
    suffixes = {PurePosixPath(file.path).suffix for file in files}
    if found := sorted(suffixes & set(_PICKLED)):
        return f"has its weights as pickled {', '.join(found)} files only"
    if found := sorted(suffixes & set(_OTHER_FORMATS)):
        return f"has its weights as {', '.join(found)} only"
    if any(file.path.endswith(".safetensors") for file in files):
        return "has its weights in folders only, as for diffusers"
    return "has no weights"
