"""Swarm service specs as plain dicts, in the Engine API's own words.

What a Swarm service cannot have (devices, privileged, ipc, shm-size, runtime) is not here: RDMA devices
enter through the NVIDIA runtime with NVIDIA_MOFED=enabled, shared memory is a tmpfs, and memlock,
capabilities and the limit of processes are plain fields (API 1.41 and later).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster import kernel_cache
from cluster.least_privilege import DOCKERS, Privileges

NANOSECONDS = 1_000_000_000
#: The folder of ours inside the containers.
HOME = "/opt/trtspark"
#: The Hugging Face cache as every container sees it: of the node's, only the folders below are there. The
#: cache's own folder holds the Hub's token on a machine where somebody has logged in.
HF_HOME = "/root/.cache/huggingface"
MODELS, VOCABULARIES = "hub", "tiktoken-encodings"
#: What is written to /dev/shm is memory that no killer gets back: the file stays when its writer ends. One
#: rank a node needs tens of MB there (NCCL's proxies, MPI's segments), pictures in prompts some hundreds.
SHM_BYTES = 4 << 30
#: NVIDIA's playbook.
STACK_BYTES = 64 << 20
#: The kind of the Swarm resource each node advertises for its one GPU.
GPU_KIND = "NVIDIA_GPU"
#: The label by which a container tells the spec that it was started from, and what stands for no container.
SPEC_LABEL = "trtspark.spec"
NOTHING = "nothing"
#: What stands for a service that the Swarm does not have.
NO_SERVICE = "no service"
#: What stands for a container that is there and does nothing: `docker pause`, and a server without an answer.
PAUSED = "paused"
SILENT = "without an answer"
#: A server that ends so often within the window stays down: each start loads the model anew. What ends it
#: once (a worker's power, a killed process) is far from that; a new spec or a restarted manager counts anew.
MAX_RESTARTS = 5
RESTART_WINDOW_S = 3600
#: A worker's container only waits. Where its image has no ssh client, MPI's daemon there wants to see one at
#: the place where the head has its own (remote/rank0/files.py, CARRIED); it never runs it.
AGENT_STUB = (
    "command -v ssh >/dev/null || { mkdir -p /opt/trtspark/ssh/current && "
    "ln -sf /bin/false /opt/trtspark/ssh/current/ssh; }; exec sleep infinity"
)
#: Compiled kernels belong to one image, which only the provider knows.
IMAGE_VARIABLE = "TRTSPARK_IMAGE"
#: Of 63 characters this leaves 35 for `trtspark-`, what it is, and a hash of ten.
STACK_CHARS = 28

#: The same on every rank, whatever the model: a switch must not touch the workers.
COMMON_ENV = {
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_MOFED": "enabled",
    "HF_HOME": HF_HOME,
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    # The cache is mounted read-only; code that comes with a model is unpacked here.
    "HF_MODULES_CACHE": "/tmp/hf_modules",
    "TIKTOKEN_ENCODINGS_BASE": f"{HF_HOME}/{VOCABULARIES}",
    # The image's Triton lacks the Spark's architecture; CUDA's own ptxas knows it.
    "TRITON_PTXAS_PATH": "/usr/local/cuda/bin/ptxas",
    "CPATH": "/usr/local/cuda/include",
    **kernel_cache.VARIABLES,
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


@dataclass(frozen=True)
class File:
    """A Swarm config or secret as a file in the container; `name` is the object's name in the Swarm."""

    name: str
    path: str
    mode: int = 0o444


@dataclass(frozen=True)
class Rank:
    """What differs between the services of one deployment."""

    stack: str
    rank: int
    hf_cache: str
    """The node's Hugging Face cache; the models in it are all that a rank sees, read-only."""
    env: Mapping[str, str]
    command: Sequence[str]
    args: Sequence[str] = ()
    configs: Sequence[File] = ()
    secrets: Sequence[File] = ()
    folders: Mapping[str, str] = field(default_factory=dict)
    """Of the node, by their place in the container; read-only."""
    running: bool = True
    stop_grace_s: int = 10
    max_restarts: int = 0
    """Within RESTART_WINDOW_S; 0: as often as it takes, for what starts in no time."""
    labels: Mapping[str, str] = field(default_factory=dict)
    vocabularies: bool = False
    """Whether the model needs OpenAI's, which are in the cache too."""
    privileges: Privileges = DOCKERS


def short(stack: str) -> str:
    """The stack's name as a part of Swarm's names, which are DNS labels of at most 63 characters.

    Pulumi allows dots and a hundred characters: such a name is cut and told apart by its hash.
    """
    name = re.sub(r"[^A-Za-z0-9_-]", "-", stack)
    if name == stack and len(name) <= STACK_CHARS:
        return name
    digest = hashlib.sha256(stack.encode()).hexdigest()[:8]
    return f"{name[: STACK_CHARS - 9]}-{digest}"


def service_name(stack: str, rank: int) -> str:
    """`trtspark-STACK-rank-N`."""
    return f"trtspark-{short(stack)}-rank-{rank}"


def snapshot_folder(model: str, commit: str) -> str:
    """Where every container sees the files of a model at a commit of the Hub."""
    return f"{HF_HOME}/{MODELS}/models--{model.replace('/', '--')}/snapshots/{commit}"


def kernel_volume(stack: str) -> str:
    """The volume of compiled kernels, on every node: `trtspark-STACK-kernels`."""
    return f"trtspark-{short(stack)}-kernels"


def volumes(spec: Mapping[str, Any]) -> list[str]:
    """The names of a spec's volumes."""
    mounts = spec["TaskTemplate"]["ContainerSpec"].get("Mounts") or []
    return [mount["Source"] for mount in mounts if mount["Type"] == "volume"]


def with_image(container: Mapping[str, Any], image: str) -> dict[str, Any]:
    """A ContainerSpec with its image, and with the image's name where rank 0's program reads it."""
    return {**container, "Image": image, "Env": [*container["Env"], f"{IMAGE_VARIABLE}={image}"]}


def without_image(container: Mapping[str, Any]) -> dict[str, Any]:
    """A ContainerSpec without what `with_image` adds to its environment: a changed image shows once."""
    env = [entry for entry in container.get("Env") or [] if not entry.startswith(f"{IMAGE_VARIABLE}=")]
    return {**container, "Env": env}


def ssh_folder(stack: str) -> str:
    """Where the head's ssh client is for rank 0's container, below the login's home."""
    return f".trtspark/ssh-{short(stack)}"


def object_name(stack: str, what: str, data: bytes) -> str:
    """A config's name with its content's hash: Swarm configs cannot change, so their name does."""
    digest = hashlib.sha256(data).hexdigest()[:10]
    return f"trtspark-{short(stack)}-{what}-{digest}"


def rank_service(rank: Rank) -> dict[str, Any]:
    """The ServiceSpec of one rank, without the image and with configs and secrets by name only.

    The provider adds `Image` and the objects' ids when it talks to the Swarm, so that everything here
    is known at preview.
    """
    labels = {"trtspark.stack": rank.stack, "trtspark.rank": str(rank.rank), **rank.labels}
    return marked(
        {
            "Name": service_name(rank.stack, rank.rank),
            "Labels": labels,
            "Mode": {"Replicated": {"Replicas": 1 if rank.running else 0}},
            "TaskTemplate": {
                "ContainerSpec": {
                    "Command": list(rank.command),
                    "Args": list(rank.args),
                    "Env": [f"{key}={value}" for key, value in sorted({**COMMON_ENV, **rank.env}.items())],
                    "Labels": labels,
                    # Without an init every stop costs the whole grace period.
                    "Init": True,
                    "StopGracePeriod": rank.stop_grace_s * NANOSECONDS,
                    # In the order that `docker service update` gives them, whatever it was asked to do.
                    "Mounts": [
                        {
                            "Type": "tmpfs",
                            "Target": "/dev/shm",
                            "TmpfsOptions": {"SizeBytes": SHM_BYTES, "Mode": 0o1777},
                        },
                        *(
                            {"Type": "bind", "Source": source, "Target": target, "ReadOnly": True}
                            for source, target in _folders(rank)
                        ),
                        {
                            "Type": "volume",
                            "Source": kernel_volume(rank.stack),
                            "Target": kernel_cache.VOLUME,
                            # Docker labels a volume that it makes, and no other.
                            "VolumeOptions": {"NoCopy": True, "Labels": {"trtspark.stack": rank.stack}},
                        },
                    ],
                    "Ulimits": [
                        {"Name": "memlock", "Soft": -1, "Hard": -1},
                        {"Name": "stack", "Soft": STACK_BYTES, "Hard": STACK_BYTES},
                    ],
                    "CapabilityAdd": ["CAP_IPC_LOCK"],
                    **_restrictions(rank.privileges),
                    "Configs": [_reference("Config", file) for file in rank.configs],
                    "Secrets": [_reference("Secret", file) for file in rank.secrets],
                },
                "Resources": {
                    "Reservations": {
                        "GenericResources": [{"DiscreteResourceSpec": {"Kind": GPU_KIND, "Value": 1}}]
                    },
                    **({"Limits": {"Pids": rank.privileges.pids}} if rank.privileges.pids else {}),
                },
                "RestartPolicy": restart_policy(rank.max_restarts),
                "Placement": {
                    "Constraints": [
                        f"node.labels.trtspark.stack=={rank.stack}",
                        f"node.labels.trtspark.rank=={rank.rank}",
                    ],
                    "MaxReplicas": 1,
                },
                "Networks": [{"Target": "host"}],
            },
            "UpdateConfig": {"Parallelism": 1, "FailureAction": "pause", "Order": "stop-first"},
        }
    )


def fingerprint(spec: Mapping[str, Any]) -> str:
    """What a spec is told by, ten hex digits: as its containers' label it says what really runs."""
    task = spec["TaskTemplate"]
    labels = {k: v for k, v in (task["ContainerSpec"]["Labels"] or {}).items() if k != SPEC_LABEL}
    container = {**task["ContainerSpec"], "Labels": labels}
    text = json.dumps({**task, "ContainerSpec": container}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def marked(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec with its fingerprint among its containers' labels."""
    container = spec["TaskTemplate"]["ContainerSpec"]
    labels = {**container["Labels"], SPEC_LABEL: fingerprint(spec)}
    return {
        **spec,
        "TaskTemplate": {**spec["TaskTemplate"], "ContainerSpec": {**container, "Labels": labels}},
    }


def runs(spec: Mapping[str, Any]) -> str:
    """What a look at the node should find of this spec: its fingerprint, or NOTHING when it is stopped."""
    if not spec["Mode"]["Replicated"]["Replicas"]:
        return NOTHING
    return mark(spec)


def mark(spec: Mapping[str, Any]) -> str:
    """The fingerprint among its containers' labels; "" where an edit by hand left none."""
    labels = spec["TaskTemplate"]["ContainerSpec"].get("Labels") or {}
    return str(labels.get(SPEC_LABEL, ""))


def told(state: str | None, labels: Mapping[str, str]) -> str:
    """What a rank's container says of itself: its spec's fingerprint, PAUSED where it is paused."""
    return PAUSED if state == PAUSED else str(labels.get(SPEC_LABEL, ""))


def seen(running: str, wanted: str | None) -> str:
    """What the probe found, to be compared with `runs`: the fingerprint of what runs, unless Swarm is about
    to run another, or has no such service: then it equals no spec's, so that `up` always acts.

    `running` is a container's fingerprint, PAUSED or SILENT, NOTHING without one; `wanted` the service's,
    None without one. A container may outlive its service for a moment, and its Swarm for longer.
    """
    if wanted is None:
        return NO_SERVICE
    return running if wanted == running else f"{running}, to become {wanted}"


def restart_policy(most: int) -> dict[str, Any]:
    """Swarm's, which counts the restarts within a window that moves along."""
    policy: dict[str, Any] = {"Condition": "any", "Delay": NANOSECONDS}
    if most:
        policy |= {"MaxAttempts": most, "Window": RESTART_WINDOW_S * NANOSECONDS}
    return policy


def _folders(rank: Rank) -> list[tuple[str, str]]:
    """(of the node, in the container). A folder that is not there would keep the container from starting."""
    names = [MODELS, *([VOCABULARIES] if rank.vocabularies else [])]
    cache = {f"{HF_HOME}/{name}": f"{rank.hf_cache.rstrip('/')}/{name}" for name in names}
    return sorted((source, target) for target, source in {**cache, **rank.folders}.items())


def _restrictions(privileges: Privileges) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if privileges.dropped:
        found["CapabilityDrop"] = list(privileges.dropped)
    if privileges.no_new:
        found["Privileges"] = {"NoNewPrivileges": True}
    return found


def _reference(kind: str, file: File) -> dict[str, Any]:
    return {
        f"{kind}Name": file.name,
        "File": {"Name": file.path, "UID": "0", "GID": "0", "Mode": file.mode},
    }


def observed(wanted: Any, actual: Any) -> Any:
    """`wanted` as the Swarm has it: equal where the engine agrees, the engine's value where it differs.

    The engine adds defaults, drops zero values and turns names into ids; only what we asked for is
    compared, so that a drift shows as exactly the values somebody changed.
    """
    if isinstance(wanted, dict) and isinstance(actual, dict):
        return {key: observed(value, actual.get(key)) for key, value in wanted.items()}
    if isinstance(wanted, list) and isinstance(actual, list) and len(wanted) == len(actual):
        return [observed(w, a) for w, a in zip(wanted, actual, strict=True)]
    if actual is None and wanted in (0, "", False, [], {}):
        return wanted
    return wanted if wanted == actual else actual
