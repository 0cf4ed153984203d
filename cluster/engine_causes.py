"""What the engine's log says when something is wrong, what it means, and what to do: the recogniser's table.

`engine_log.cause` explains a failed start with it, `trtspark logs` marks lines with it, and
docs/troubleshooting.md is generated from it. The lines are the engine's own, TensorRT-LLM 1.2 to 1.3's
sources and published logs, and those of the libraries under it; tests/fixtures/engine-log has one of each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

NCCL_FAILED = "NCCL could not connect the ranks"
_SERVER_LOG = "`trtspark logs`"


@dataclass(frozen=True)
class Cause:
    """A row. `sign` is searched in each line of the log; `means` and `todo` are what errors say, `because`
    is what the documentation adds, `shows` the command that shows more. `harmless`: no cause of anything.
    `passing`: a cause only when it is the last that was said; healthy logs have it too.
    """

    id: str
    sign: str
    means: str
    because: str
    todo: str
    shows: str = _SERVER_LOG
    harmless: bool = False
    passing: bool = False

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """`sign`, compiled once."""
        return re.compile(self.sign)

    @property
    def sentence(self) -> str:
        """What it means and what to do, as one."""
        return f"{self.means}: {self.todo}" if self.todo else self.means


#: The first that matches counts: what explains more stands before its own consequences.
CAUSES: Sequence[Cause] = (
    Cause(
        "out-of-memory-kv",
        r"Impossible to fit in any sequence in kvCache",
        "out of memory: no room for the KV cache of one sequence",
        "what the weights left of gpuMemoryFraction is too little",
        "lower maxNumTokens, raise gpuMemoryFraction if other programs leave room, or choose a smaller model",
        "`trtspark doctor`, `free -h` on the nodes",
    ),
    Cause(
        "out-of-memory",
        r"out of memory|OutOfMemoryError|insufficient GPU memory|NV_ERR_NO_MEMORY",
        "out of memory",
        "weights, KV cache and whatever else runs do not fit together; GPU and system share one memory",
        "lower gpuMemoryFraction or maxNumTokens, or choose a smaller model",
        "`trtspark doctor`, `free -h` on the nodes",
    ),
    Cause(
        "killed",
        r"exited on signal 9 \(Killed\)",
        "a rank was killed, most often by the kernel because memory ran out",
        "the kernel's killer leaves no word in the container's log",
        "lower gpuMemoryFraction or maxNumTokens, stop other programs there, or choose a smaller model",
        "`sudo journalctl -k -g 'Out of memory'` on that node",
    ),
    Cause(
        "moe-backend",
        r"Only SM\d+ is supported by FP4 block scale MOE",
        "that MoE backend does not know the Spark's GPU",
        "of the engine's MoE backends only CUTLASS works on GB10 for FP4",
        "take a MoE backend out of extraArgs so that CUTLASS, the default, is used; or another image",
    ),
    Cause(
        "ptxas",
        r"ptxas (fatal|error)|not supported on \.target '?sm_121",
        "Triton's compiler does not know the Spark's GPU",
        "the image's own ptxas is older than sm_121a; we set TRITON_PTXAS_PATH to CUDA's",
        "leave TRITON_PTXAS_PATH alone, use another MoE backend than TRITON, or a newer image",
    ),
    Cause(
        "driver-older",
        r"This container was built for NVIDIA Driver Release|requirement error: unsatisfied condition: cuda",
        "the node's NVIDIA driver is older than the image",
        "the image's start-up text and NVIDIA's runtime compare it with what the image was built with",
        "run `sudo apt update && sudo apt full-upgrade` on that node and reboot, or set an older image",
        "`trtspark doctor`, `nvidia-smi` on the nodes",
        passing=True,
    ),
    Cause(
        "quantisation",
        r"[Uu]nsupported quant[_ ]mode",
        "this version of the engine cannot load the model's quantisation",
        "the checkpoint decides how it is packed, and the image must know it",
        "choose another image, or the model in another quantisation (NVFP4, FP8)",
        "`hf_quant_config.json` of the model",
    ),
    Cause(
        "architecture",
        r"Unknown architecture for",
        "this version of the engine does not know the model's architecture",
        "the image is older than the model, or the PyTorch backend lacks it",
        "another image or model",
        "`config.json` of the model: architectures",
    ),
    Cause(
        "port",
        r"[Aa]ddress already in use",
        "the port is taken on the head",
        "taken since the look",
        "stop the other program or set another port",
        "`sudo ss -ltnp` on the head",
    ),
    Cause(
        "option",
        r"No such option|Extra inputs are not permitted|Invalid value for",
        "the engine refuses an option",
        "extraArgs has a word that this image does not know",
        "check extraArgs against the image's version",
        "`docker run --rm IMAGE trtllm-serve serve --help`",
    ),
    Cause(
        "vocabularies",
        r"error downloading or loading vocab file|failed to download or load vocab",
        "OpenAI's vocabularies are missing or damaged on the head",
        "gpt-oss reads them at the first chat request; the server starts, and every chat fails",
        "set downloadWeights to true and `pulumi up`, or put the two files into tiktoken-encodings",
        "`ls ~/.cache/huggingface/tiktoken-encodings` on the head",
    ),
    Cause(
        "remote-code",
        r"trust_remote_code=True|contains custom code which must be executed",
        "the model brings code of its own, which is not run without your word",
        "trustRemoteCode is false",
        "read that code, then `pulumi config set trustRemoteCode true`",
    ),
    Cause(
        "gated",
        r"GatedRepoError|Cannot access gated repo",
        "the model is gated, and the token has no access",
        "the engine asks the Hub only when files are missing; the ranks have no token",
        "accept its licence, set hfToken, and `pulumi up` so that it is fetched before",
        "`trtspark doctor`",
    ),
    Cause(
        "no-repository",
        r"RepositoryNotFoundError|Repository Not Found for url",
        "the Hub does not know the model under this name",
        "a typing error, or a private model",
        "correct `model`, or set a token that may read it",
        "`trtspark doctor`",
    ),
    Cause(
        "not-a-model",
        r"HFValidationError|Repo id must be in the form",
        "the model's folder is not in the container",
        "a path that is not there is taken for a model's name",
        "check the cache's folder on the head (hfCache), then `pulumi up`",
        "`ls ~/.cache/huggingface/hub` on the head",
    ),
    Cause(
        "file-missing",
        r"LocalEntryNotFoundError|No weight files found|No such file or directory.*safetensors",
        "a file of the model is missing on a node",
        "the caches differ",
        "compare the caches, run `hf download` again, or `pulumi refresh` and `pulumi up`",
        "`trtspark doctor`",
    ),
    Cause(
        "weights-mismatch",
        r"load_weights_fused_qkv_helper|size mismatch for|Error\(s\) in loading state_dict"
        r"|^(\[[^\]]*\]\s*)*AssertionError\s*$",
        "the weights do not fit what the engine expects",
        "a bare AssertionError while loading: tensors are missing, are named otherwise, or another version's "
        "quantisation is meant",
        "check that the model is whole (`pulumi refresh`, `verify: full`) and that this image serves it",
        "the traceback above it: `trtspark logs`",
    ),
    Cause(
        "nccl",
        r"NCCL error|ibv_modify_qp failed|unhandled system error"
        r"|Failed to initialize any NET plugin|Bootstrap : no socket interface found"
        r"|remote process exited or there was a network error",
        NCCL_FAILED,
        "one half of the cable without link, a wrong address, memlock, a firewall",
        "`ibdev2netdev` and `ip -br addr` on both; ping both halves",
        "`trtspark logs`, `trtspark doctor --full`",
    ),
    Cause(
        "no-gpu",
        r"No GPU devices found|GPUs are available, but",
        "the container sees no GPU",
        "the NVIDIA runtime is not Docker's default",
        "check `docker info` for the nvidia runtime; `pulumi refresh` and `pulumi up` prepare it again",
        "`trtspark doctor --full`",
    ),
    Cause(
        "worker-ssh",
        r"gave up: rank|unable to reliably start one or more daemons",
        "a worker's container did not answer over ssh",
        "the worker's service does not run, or its sshd is not reachable on the fabric's address",
        "check the service of rank 1 and the ports of docs/preparing.md",
        "`docker service ps trtspark-STACK-rank-1` on the head",
    ),
    Cause(
        "worker-waiting",
        r"waiting for rank",
        "a worker's container does not answer over ssh yet",
        "every start begins so; it is a problem only when nothing follows",
        "check the service of rank 1 and the ports of docs/preparing.md",
        "`docker service ps trtspark-STACK-rank-1` on the head",
        passing=True,
    ),
    Cause(
        "hang",
        r"Hang detected (after|on rank)|Executor loop crashed on this rank",
        "a rank hangs or has crashed, and the others wait for it",
        "one rank failed in a step that all take part in; Swarm starts the server again",
        "look for that rank's own error above; check the cables when there is none",
        "`trtspark logs --rank N`, `trtspark doctor`",
    ),
    Cause(
        "crashed",
        r"Executor worker returned error|Executor worker initialization error"
        r"|Executor worker died during initialization",
        "the engine crashed while loading",
        "none of the above",
        "read the log from its first error",
    ),
    Cause(
        "ucx-device",
        r"UCX +WARN +network device '[^']*' is not available",
        "harmless: UCX looks for a device that this container does not use",
        "UCX carries no tensors here; NCCL does",
        "",
        harmless=True,
    ),
    Cause(
        "log-level",
        r"Logger level already set from environment",
        "harmless: TLLM_LOG_LEVEL decides, not --log_level",
        "the environment wins over the option",
        "",
        harmless=True,
    ),
)


def recognised(line: str) -> Cause | None:
    """The row whose sign is in the line; None when it says nothing known, or what passes by itself."""
    return next((cause for cause in CAUSES if not cause.passing and cause.pattern.search(line)), None)
