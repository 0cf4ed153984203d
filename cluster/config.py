"""The stack's configuration: what every key may be, and what it means.

`FIELDS of Settings` are the one source: Pulumi.yaml's schema and docs/configuration.md are checked
against them in the tests. Errors name the key, what was found, and what it may be.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from cluster import engine_options, gpu_clock, values
from cluster.config_sentences import Sentences
from cluster.errors import ConfigError

#: NVIDIA's own pin for two Sparks (its playbook, read in August 2026).
DEFAULT_IMAGE = "nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc5"
#: The playbook's port.
DEFAULT_PORT = 8355
MAX_NODES = 8
#: Above any model's; Llama 4 Scout has 10,485,760.
MAX_CONTEXT = 16_777_216


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
    )


class NodeConfig(_Frozen):
    """One Spark, as the operator reaches it."""

    host: str = Field(description="a host name or an IPv4 address that ssh can reach")
    user: str = Field(default="nvidia", description="the user to log in as")
    port: int = Field(default=22, ge=1, le=65535, description="sshd's port, 1 to 65535")
    host_key: str | None = Field(
        default=None,
        description='the machine\'s public host key, like "ssh-ed25519 AAAA…" '
        "(default: taken from the known_hosts file)",
    )
    fabric: tuple[IPv4Address, ...] = Field(
        default=(),
        max_length=4,
        description="its addresses on the fabric, one per half of the cable (default: found on the machine)",
    )

    @field_validator("port", mode="before")
    @classmethod
    def _port_is_a_number(cls, value: object) -> object:
        return values.number(value)

    @field_validator("host")
    @classmethod
    def _host_is_a_host(cls, value: str) -> str:
        return values.host(value)

    @field_validator("user")
    @classmethod
    def _user_is_a_user(cls, value: str) -> str:
        return values.user(value)

    @field_validator("host_key")
    @classmethod
    def _key_is_a_public_key(cls, value: str | None) -> str | None:
        return None if value is None else values.host_key(value)

    @field_validator("fabric", mode="before")
    @classmethod
    def _fabric_is_text(cls, value: object) -> object:
        return values.listed_text(value)

    @field_validator("fabric")
    @classmethod
    def _fabric_is_of_interfaces(cls, value: tuple[IPv4Address, ...]) -> tuple[IPv4Address, ...]:
        return tuple(map(values.fabric_address, value))


class WeightsConfig(_Frozen):
    """How the model's files reach the nodes."""

    over: Literal["fabric", "any"] = Field(
        default="fabric", description="fabric; or any, to allow the management link where there is none"
    )
    streams: int | None = Field(
        default=None, ge=1, le=64, description="streams from node to node, 1 to 64 (auto: by cores and links)"
    )
    verify: Literal["recorded", "full"] = Field(
        default="recorded",
        description="what a refresh compares: recorded sizes and times, or (full) every file's checksum",
    )
    delete_on_destroy: bool = Field(
        default=False, description="true or false: destroy removes the files that this stack fetched"
    )

    @field_validator("streams", mode="before")
    @classmethod
    def _auto(cls, value: object) -> object:
        return None if value == "auto" else values.number(value)


class Pin(_Frozen):
    """What a file from the internet must be."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="the content's SHA-256, 64 hex digits")
    size: int = Field(ge=0, description="its size in bytes")


#: As OpenAI's own tiktoken package (0.14) pins them; sizes as served.
TIKTOKEN_PINS = {
    "o200k_base.tiktoken": Pin(
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d", size=3_613_922
    ),
    "cl100k_base.tiktoken": Pin(
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7", size=1_681_126
    ),
}


class TiktokenConfig(_Frozen):
    """Where OpenAI's vocabularies come from."""

    folder: str | None = Field(
        default=None, description="a folder with them on your machine, for nodes without internet"
    )
    url: str = Field(
        default="https://openaipublic.blob.core.windows.net/encodings",
        pattern="[^/]$",
        description="the address they are fetched from, without a slash at its end",
    )
    pins: dict[str, Pin] = Field(
        default=TIKTOKEN_PINS, description="SHA-256 and size of each file, by its name"
    )

    @field_validator("folder")
    @classmethod
    def _folder_is_a_path(cls, value: str | None) -> str | None:
        return None if value is None else values.local_path(value)

    @field_validator("url")
    @classmethod
    def _url_is_an_address(cls, value: str) -> str:
        return values.web_address(value)

    @field_validator("pins")
    @classmethod
    def _pins_are_of_files(cls, value: dict[str, Pin]) -> dict[str, Pin]:
        return {values.file_name(name): pin for name, pin in value.items()}


def _refuse_twice(nodes: tuple[NodeConfig, ...]) -> None:
    """Raise ValueError for a host, or an address of the fabric, that two nodes have."""
    hosts: dict[str, int] = {}
    addresses: dict[IPv4Address, int] = {}
    for index, node in enumerate(nodes):
        first = hosts.setdefault(node.host.lower(), index)  # names have no case
        if first != index:
            raise ValueError(
                f"nodes[{index}].host: {node.host} is listed twice (it is nodes[{first}] too); each Spark is "
                "listed once"
            )
        for address in node.fabric:
            if address in addresses:
                raise ValueError(
                    f"nodes[{index}].fabric: {address} is listed twice (nodes[{addresses[address]}] has it "
                    "too); each address belongs to one interface"
                )
            addresses[address] = index


def _words(value: object) -> object:
    """`extraArgs` may be one string as typed into a shell, or a list. Pulumi stores what looks like a number
    or a boolean in a list as one.
    """
    if isinstance(value, list | tuple):
        return [values.as_text(one, true="true", false="false") for one in value]
    return shlex.split(value) if isinstance(value, str) else value


def _variable_value(value: object) -> object:
    """Pulumi stores what looks like a number or a boolean in a map as one; NCCL's booleans are 1 and 0."""
    return values.as_text(value, true="1", false="0")


class Settings(_Frozen):
    """The whole configuration of a stack. `None` means: the catalog's value for the model."""

    nodes: Annotated[tuple[NodeConfig, ...], Field(min_length=1, max_length=MAX_NODES)] = Field(
        description="the Sparks, head first: a list of one to eight entries with host, user (nvidia), "
        "port (22), hostKey and fabric addresses"
    )
    head_only: bool = Field(default=False, description="true or false: serve from the first node alone")
    fabric: Literal["detect", "configure"] = Field(
        default="detect",
        description="detect or configure: use the fabric addresses that are there, or set what is missing",
    )
    fabric_test: Literal["quick", "full"] = Field(
        default="quick",
        description="how the first `up` tests the cables: quick (pings and TCP) or full (also RDMA writes "
        "with ib_write_bw and an all-reduce of NCCL, before the server starts)",
    )
    model: str = Field(description="a Hugging Face model id, like openai/gpt-oss-120b")
    revision: str | None = Field(
        default=None,
        description="a commit, branch or tag of the model on the Hub (default: main, as it is at each run)",
    )
    image: str = Field(default=DEFAULT_IMAGE, description="the TensorRT-LLM image, by tag or digest")
    port: int = Field(default=DEFAULT_PORT, ge=1, le=65535, description="the port of the API, 1 to 65535")
    hf_cache: str = Field(
        default="~/.cache/huggingface",
        description="the Hugging Face cache folder on every node: an absolute path, or one under ~",
    )
    hf_token: SecretStr | None = Field(
        default=None,
        description="a Hugging Face token, set with `pulumi config set --secret`; gated models need it",
    )
    tensor_parallel: int | None = Field(
        default=None,
        ge=1,
        le=MAX_NODES,
        description="how many nodes a layer is split over: it divides the number of nodes "
        "(default: all of them)",
    )
    max_batch_size: int | None = Field(
        default=None, ge=1, le=2048, description="requests at once, 1 to 2048 (default: the model's, 4)"
    )
    max_num_tokens: int | None = Field(
        default=None,
        ge=64,
        le=1_048_576,
        description="tokens in one step, which bounds the prompt, 64 to 1048576 "
        "(default: the model's, 32768)",
    )
    max_seq_len: int | None = Field(
        default=None,
        ge=64,
        le=MAX_CONTEXT,
        description="tokens of the longest context, prompt and answer together, 64 to 16777216 "
        "(default: the model's longest, or what the KV cache holds beside the weights by our estimate)",
    )
    gpu_memory_fraction: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="share of the free memory for the KV cache, between 0 and 1 (default: the model's, 0.90)",
    )
    backend: Literal["pytorch", "_autodeploy"] = Field(
        default="pytorch", description="the engine's backend: pytorch or _autodeploy"
    )
    trust_remote_code: bool = Field(
        default=False,
        description="true or false: run Python code that comes with the model; `revision` must then name its "
        "commit",
    )
    cuda_graph_padding: bool = Field(
        default=True, description="true or false: pad batches up to the captured CUDA graphs"
    )
    disable_overlap_scheduler: bool | None = Field(
        default=None,
        description="true or false: turn the engine's overlap scheduler off "
        "(default: off on one node, on with several, as in NVIDIA's playbooks)",
    )
    iteration_stats: bool = Field(
        default=True,
        description="true or false: let the engine keep statistics of its iterations, which status and bench "
        "read (they cost it a little in every iteration)",
    )
    extra_args: Annotated[tuple[str, ...], BeforeValidator(_words)] = Field(
        default=(), description="more options for trtllm-serve: a list, or one string as in a shell"
    )
    transport: Literal["auto", "rdma", "any"] = Field(
        default="auto",
        description="how the ranks must talk: rdma (nothing else will do), any (sockets will do), or auto "
        "(rdma where every node has an RDMA device with link and address)",
    )
    nccl: dict[str, Annotated[str, BeforeValidator(_variable_value)]] = Field(
        default_factory=dict,
        description="environment of every rank that overrides what was found: "
        "a map of NCCL_…, UCX_… or GLOO_… variables",
    )
    pull_image: bool = Field(
        default=True, description="true or false: pull the image on every node (else it must be there)"
    )
    download_weights: bool = Field(
        default=True, description="true or false: fetch what is missing of the model (else it must be there)"
    )
    weights: WeightsConfig = Field(
        default=WeightsConfig(),
        description="how the files come: a map of over (fabric, or any to allow the management link), "
        "streams (auto), verify (recorded, or full to hash every file at each refresh) and "
        "deleteOnDestroy (false)",
    )
    tiktoken: TiktokenConfig = Field(
        default=TiktokenConfig(),
        description="where gpt-oss's vocabularies come from: a map of folder (on your machine, for nodes "
        "without internet), url and pins (SHA-256 and size by name)",
    )
    allow_overcommit: bool = Field(
        default=False,
        description="true or false: deploy even where the model does not fit in memory by our estimate",
    )
    allow_untested_image: bool = Field(
        default=False,
        description="true or false: deploy even an image that is known to fail on these nodes or with this "
        "model (docs/images.md)",
    )
    restrict_containers: bool = Field(
        default=True,
        description="true or false: run the containers without the capabilities that the image does not "
        "need (docs/security.md); set false if the engine is refused something",
    )
    running: bool = Field(
        default=True, description="true or false: false stops the ranks and keeps everything else"
    )
    ready_timeout: int | None = Field(
        default=None,
        ge=5,
        le=86400,
        description="seconds the server may take to answer, 5 to 86400 (default: by the model's size and the "
        "rate at which the last one loaded, at least 300)",
    )
    drain_seconds: int = Field(
        default=30,
        ge=0,
        le=3600,
        description="seconds that requests in flight get to finish when the server stops, 0 to 3600",
    )
    gpu_clock_limit: int | None = Field(
        default=None,
        ge=gpu_clock.LEAST,
        le=gpu_clock.MOST,
        description="a cap on the clock of every node's GPU in MHz, 1000 to 3003, against heat and noise "
        "(default: none; it is kept over reboots, and destroy takes it back)",
    )
    docker_group: bool = Field(
        default=False,
        description="true or false: put the nodes' users into group docker where they are not in it "
        "(it makes them as powerful as root; destroy takes them out again)",
    )
    take_over: str | None = Field(
        default=None,
        description="the name of a stack whose machines this one takes over, because it was renamed or its "
        "state is lost",
    )
    ssh_key: str | None = Field(
        default=None, description="path of the private key for ssh (default: your agent and ~/.ssh)"
    )
    known_hosts: str = Field(
        default="~/.ssh/known_hosts", description="path of the known_hosts file with the nodes' keys"
    )

    @field_validator("model")
    @classmethod
    def _model_is_a_hub_id(cls, value: str) -> str:
        return values.hub_id(value)

    @field_validator("revision")
    @classmethod
    def _revision_is_a_name(cls, value: str | None) -> str | None:
        return None if value is None else values.revision(value)

    @field_validator("image")
    @classmethod
    def _image_is_a_reference(cls, value: str) -> str:
        return values.image(value)

    @field_validator("hf_cache")
    @classmethod
    def _cache_is_a_folder(cls, value: str) -> str:
        return values.folder(value)

    @field_validator("hf_token")
    @classmethod
    def _token_is_a_token(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(values.token(value.get_secret_value()))

    @field_validator("ssh_key", "known_hosts")
    @classmethod
    def _file_is_a_path(cls, value: str | None) -> str | None:
        return None if value is None else values.local_path(value)

    @field_validator("take_over")
    @classmethod
    def _stack_is_a_stack(cls, value: str | None) -> str | None:
        return None if value is None else values.stack(value)

    @field_validator("extra_args")
    @classmethod
    def _options_of_others(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        engine_options.refuse(value)
        engine_options.refuse_word(value)
        return value

    @field_validator("nccl")
    @classmethod
    def _nccl_names(cls, value: dict[str, str]) -> dict[str, str]:
        return {values.variable(name): value[name] for name in sorted(value)}

    @model_validator(mode="after")
    def _together(self) -> Settings:
        _refuse_twice(self.nodes)
        ranks = len(self.active_nodes)
        if self.tensor_parallel is not None and ranks % self.tensor_parallel:
            raise ValueError(
                f"tensorParallel: found {self.tensor_parallel} for {ranks} node{'s' * (ranks > 1)}; "
                f"it may be a divisor of the number of nodes"
            )
        return self

    @property
    def active_nodes(self) -> tuple[NodeConfig, ...]:
        """The nodes that take part: all, or the head alone."""
        return self.nodes[:1] if self.head_only else self.nodes


#: Keys that Pulumi stores as JSON because they are structured.
_STRUCTURED = ("nodes", "nccl", "extraArgs", "weights", "tiktoken")


def load(
    raw: Mapping[str, str],
    project: str = "trtllm-dgx-spark",
    is_secret: Callable[[str], bool] = lambda _key: True,
) -> Settings:
    """Settings from Pulumi's own configuration.

    `raw` maps `project:key` to the value as Pulumi gives it to a program: text, and JSON text for
    structured values; `is_secret` tells whether a key was set with --secret. Raises ConfigError with one
    line per wrong key.
    """
    token = f"{project}:hfToken"
    if raw.get(token) and not is_secret(token):
        raise ConfigError(
            f"{token}: it is stored in clear; set it anew with `pulumi config set --secret hfToken`, and "
            "revoke the old one if the file was shared"
        )
    given: dict[str, Any] = {}
    for full, value in raw.items():
        namespace, _, key = full.partition(":")
        if namespace == project and not _says_default(key, value):
            given[key] = _decoded(key, value)
    words = Sentences(project, Settings, NESTED)
    if problems := list(values.unprintable(given)):
        raise ConfigError("; ".join(words.about(where, given, why) for where, why in problems[:MAX_NODES]))
    try:
        # Keys are known as the stack has them alone: hf_token would go past what is asked of hfToken.
        return Settings.model_validate(given, by_alias=True, by_name=False)
    except ValidationError as error:
        raise ConfigError("; ".join(words.of(error, given))) from None


#: Keys whose values have keys of their own.
NESTED: dict[str, type[BaseModel]] = {
    "nodes": NodeConfig,
    "weights": WeightsConfig,
    "tiktoken": TiktokenConfig,
}


def _says_default(key: str, value: str) -> bool:
    """Pulumi's schema wants a default for every key: `auto`, or nothing at all, stands for ours."""
    fields = {field.alias or name: field for name, field in Settings.model_fields.items()}
    return value in ("auto", "") and key in fields and fields[key].default is None


def _decoded(key: str, value: str) -> Any:
    if key in _STRUCTURED and value.lstrip().startswith(("[", "{")):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):  # no JSON, a number without end, brackets without end
            return value
    return value


def field_names() -> dict[str, str]:
    """Every key as it is written in a stack's configuration, with what it may be."""
    return {(field.alias or name): field.description or "" for name, field in Settings.model_fields.items()}
