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
LINK_EVENT = "a link between the ranks went down or changed its addresses"
_SERVER_LOG = "`trtspark logs`"
#: What tells who ended a process because memory ran short: programs that watch for it, and the kernel.
#: By identifiers, because journalctl shows nothing at all for `-u UNIT -k`: only a unit's kernel messages.
MEMORY_JOURNAL = "`sudo journalctl -t kernel -t earlyoom -t systemd-oomd --since -2h`"


@dataclass(frozen=True)
class Cause:
    """A row. `sign` is searched in each line of the log; `means` and `todo` are what errors say, `because`
    is what the documentation adds, `shows` the command that shows more. `harmless`: no cause of anything.
    `passing`: a start may succeed in spite of it, so it is no cause when an error comes after it.
    `marked`: `trtspark logs` explains the line; not where every healthy start has it.
    """

    id: str
    sign: str
    means: str
    because: str
    todo: str
    shows: str = _SERVER_LOG
    harmless: bool = False
    passing: bool = False
    marked: bool = True

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """`sign`, compiled once."""
        return re.compile(self.sign)

    @property
    def sentence(self) -> str:
        """What it means and what to do, as one."""
        return f"{self.means}: {self.todo}" if self.todo else self.means


#: The first that matches a line counts: what is harmless stands first, because it quotes what would be a
#: cause elsewhere, and what explains more stands before its own consequences.
CAUSES: Sequence[Cause] = (
    Cause(
        "autotuner",
        r"\[Auto[Tt]uner\]",
        "harmless: the autotuner tried a kernel that does not work here, and goes on with the others",
        "it measures every kernel at the first start; some need more memory or another GPU",
        "",
        harmless=True,
    ),
    Cause(
        "client-request",
        r"""['"]loc['"]: ?[(\[]['"](body|query|path|header)['"]""",
        "harmless: a client's request had a field that the server does not accept, and was refused",
        "the API checks every request; the engine has nothing to do with it",
        "",
        harmless=True,
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
        "refused-everywhere",
        r"[gs]et_mempolicy: Operation not permitted|mbind: Operation not permitted"
        r"|process_vm_readv.*not permitted|Read -1, expected \d+, errno = 1\b",
        "harmless: Docker lets no container choose its memory's place or read another process's",
        "libnuma and Open MPI try it, and go on without; the Spark has one memory",
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
        "fp4-gemm",
        r"Failed to (run|initialize) cutlass .*gemm|\[(FP\d|MoE|MOE)[^\]]*gemm Runner\]",
        "a matrix kernel for the model's quantisation fails on the Spark's GPU",
        "the image's kernels were built or tuned for another GPU than GB10 (sm_121)",
        "set another image (docs/images.md), or choose the model in another quantisation (MXFP4, FP8)",
    ),
    Cause(
        "no-kernel",
        r"no kernel image is available for execution on the device|device kernel image is invalid"
        r"|cudaErrorNoKernelImageForDevice|CUDA_ERROR_NO_BINARY_FOR_GPU",
        "the image has no kernels for the Spark's GPU",
        "it was built without sm_121, or for another machine",
        "set an image made for the Spark: `pulumi config rm image` takes the default (docs/images.md)",
        "`docker image inspect IMAGE` on the nodes",
    ),
    Cause(
        "gpu-fault",
        r"an illegal (instruction|memory access) was encountered|CUDA error: (misaligned address|unspecified "
        r"launch failure|device-side assert triggered)",
        "a kernel failed on the GPU, and the engine cannot go on",
        "FP4 and MoE kernels of some images do not work on GB10; /health and the list of models stay well, "
        "and every completion fails",
        "set another image (docs/images.md), or choose the model in another quantisation; if it worked "
        "before, look for Xid in `sudo dmesg`",
        "`sudo dmesg | grep -i xid` on the nodes",
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
        r"Unknown architecture for|Transformers does not recognize this architecture",
        "this version of the engine does not know the model's architecture",
        "the engine or the transformers library in the image is older than the model, or the PyTorch backend "
        "lacks it",
        "set another image, usually a newer one (docs/images.md), or choose another model",
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
        r"No such option|Extra inputs are not permitted|Invalid value for|Got unexpected extra argument"
        r"|Option '-[^']*' (requires an argument|does not take a value)",
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
        r"(argument|option|pass|set|setting) [`'\"]?trust_remote_code=True"
        r"|contains custom code which must be executed",
        "the model brings code of its own, which is not run without your word",
        "trustRemoteCode is false",
        "read that code, then `pulumi config set trustRemoteCode true`; the preview says which commit to pin",
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
        "shm-full",
        r"/dev/shm.*(No space left on device|[Bb]us error)|No space left on device.*/dev/shm"
        r"|exited on signal 7 \(|unable to (open|mmap|allocate) shared memory",
        "/dev/shm in a rank's container is full",
        "NCCL, MPI and the engine's processes exchange data there, a few hundred megabytes at most",
        "see what fills it; `docker service update --force trtspark-STACK-rank-N` on the head empties it",
        "`docker exec CONTAINER sh -c 'df -h /dev/shm; ls -l /dev/shm'` on that node",
    ),
    Cause(
        "disk-full",
        r"No space left on device|Disk quota exceeded|os error 28\b",
        "a disk is full",
        "the container's own files, compiled kernels and Docker's log lie on the node's disk",
        "free some: `docker system df`, `df -h`; `trtspark models` lists weights that can go",
        "`df -h / /var/lib/docker` on the nodes",
    ),
    Cause(
        "file-permission",
        r"(Permission denied|PermissionError|os error 13\b).*(/blobs/|/snapshots/|/hub/|huggingface)",
        "the container may not read a file of the model",
        "the container's root is not the machine's root on a network disk, or the file's mode is too strict",
        "run `sudo chown -R $USER ~/.cache/huggingface && chmod -R u+rwX,go+rX ~/.cache/huggingface` on that "
        "node (the folder of hfCache, if it is set)",
        "`ls -lL` of that file on the node",
    ),
    Cause(
        "damaged-file",
        r"SafetensorError|incomplete metadata|MetadataIncompleteBuffer|Error while deserializing header",
        "a weight file is damaged or incomplete",
        "its header promises more bytes than it has, or is none: a download or copy that was cut off",
        "`pulumi config set --path weights.verify full`, then `pulumi refresh` and `pulumi up` find it and "
        "fetch it again",
        "`trtspark doctor`",
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
        "no-gpu",
        r"No GPU devices found|GPUs are available, but|No CUDA GPUs are available|no CUDA-capable device"
        r"|Found no NVIDIA driver",
        "the container sees no GPU",
        "the NVIDIA runtime is not Docker's default",
        "check `docker info` for the nvidia runtime; `pulumi refresh` and `pulumi up` prepare it again",
        "`trtspark doctor --full`",
    ),
    Cause(
        "interface-address",
        r"Unable to find address for: ",
        "the network interface that is set for the ranks has no address, or is not there",
        "GLOO_SOCKET_IFNAME names it; a link that is down loses its address, and names change with the port "
        "in use",
        "compare `ip -br addr` on every node; take GLOO_SOCKET_IFNAME out of `nccl` "
        "(`pulumi config rm --path nccl.GLOO_SOCKET_IFNAME`), then `pulumi up`",
        "`ip -br addr` on the nodes",
    ),
    Cause(
        "killed",
        r"exited on signal 9 \(Killed\)",
        "a rank was killed, most often by the kernel because memory ran out",
        "neither the kernel's killer nor systemd-oomd leaves a word in the container's log",
        "lower gpuMemoryFraction or maxNumTokens, stop other programs there, or choose a smaller model",
        f"{MEMORY_JOURNAL} on that node",
    ),
    Cause(
        "ended-from-outside",
        r"exited on signal 15\b|the server ended although nobody asked",
        "ended from outside, though nobody asked for it: by earlyoom, systemd-oomd, or a `kill` by hand",
        "earlyoom and systemd-oomd end the largest program when memory runs short; their words are in the "
        "node's journal, not here",
        f"{MEMORY_JOURNAL} on that node names who did it; if memory ran short, lower gpuMemoryFraction or "
        "maxNumTokens",
        f"{MEMORY_JOURNAL} on that node",
    ),
    Cause(
        "rank-crashed",
        r"exited on signal (11|4|6|8)\b|Segmentation fault",
        "a rank crashed in its own code (a segmentation fault, or the like)",
        "most often the image: releases 1.3.0rc8 to rc17 crash so with ranks on two machines",
        "see whether the image is known for it (docs/images.md), and set another",
        "`trtspark logs`, `trtspark doctor`",
    ),
    Cause(
        "refused-call",
        r"[Oo]peration not permitted|\[Errno 1\]|\bEPERM\b|Bad system call|exited on signal 31\b",
        "the kernel refused something that a program in the container asked for",
        "our containers have fewer capabilities than Docker's default (docs/security.md); Docker's list of "
        "system calls can refuse it as well",
        "`pulumi config set restrictContainers false`, then `pulumi up`, restores Docker's defaults: if that "
        "helps, please report this line",
    ),
    Cause(
        "too-many-processes",
        r"can't start new thread|pthread_create failed|fork: (retry: )?Resource temporarily unavailable"
        r"|BlockingIOError: \[Errno 11\]|OpenBLAS blas_thread_init",
        "a container reached its limit of processes and threads",
        "our limit is 16384; the machine's own may be lower",
        "find out what starts so many; `pulumi config set restrictContainers false`, then `pulumi up`, "
        "removes our limit",
        "`docker stats --no-stream` on the nodes (PIDS)",
    ),
    Cause(
        "link-event",
        r"Got (?:\S+ )?async (?:error |fatal )?event ?: port error|GID table change"
        r"|unknown event type \(18\)",
        LINK_EVENT,
        "a cable, a port or an address changed while NCCL used it",
        "check the cable, the port (`ibdev2netdev`) and the addresses (`ip -br addr`) on every node; a "
        "server that no longer answers is started again",
        "`trtspark logs`, `trtspark doctor --full`",
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
        "worker-ssh",
        r"gave up: rank|unable to reliably start one or more daemons",
        "a worker's container did not answer over ssh",
        "the worker's service does not run, its sshd is not reachable on the fabric's address, or the head "
        "has other addresses than at the last `up`, which tells them to the workers",
        "check the service of rank 1 and the ports of docs/preparing.md",
        "`docker service ps trtspark-STACK-rank-1` on the head",
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
        "driver-older",
        r"This container was built for NVIDIA Driver Release|requirement error: unsatisfied condition: cuda",
        "the node's NVIDIA driver is older than the image",
        "the image's start-up text and NVIDIA's runtime compare it with what the image was built with",
        "run `sudo apt update && sudo apt full-upgrade` on that node and reboot, or set an older image",
        "`trtspark doctor`, `nvidia-smi` on the nodes",
        passing=True,
    ),
    Cause(
        "worker-waiting",
        r"waiting for rank",
        "a worker's container does not answer over ssh yet",
        "every start begins so; it is a problem only when nothing follows",
        "check the service of rank 1 and the ports of docs/preparing.md",
        "`docker service ps trtspark-STACK-rank-1` on the head",
        passing=True,
        marked=False,
    ),
    Cause(
        "crashed",
        r"Executor worker returned error|Executor worker initialization error"
        r"|Executor worker died during initialization",
        "the engine crashed while loading",
        "none of the above",
        "read the log from its first error",
    ),
)


#: Rank 0's program says this before it ends the ranks: what mpirun then says of signals is no cause.
STOPPING = "[trtspark] stopping: "
BY_US = ("ended-from-outside",)


def row(line: str) -> Cause | None:
    """The row whose sign is in the line; None when it says nothing known."""
    return next((cause for cause in CAUSES if cause.pattern.search(line)), None)


def recognised(line: str) -> Cause | None:
    """The row by which `trtspark logs` marks the line; None for nothing known, or nothing unusual."""
    found = row(line)
    return found if found and found.marked else None
