"""The graph of resources by Pulumi's mocks: names, inputs, secrets, dependencies."""

from __future__ import annotations

import base64
import dataclasses
import json
import shlex
from typing import Any

import pulumi
import pulumi_docker as docker
import pytest
from typer.testing import CliRunner

from cluster import fabric, fabric_addresses, kernel_cache, least_privilege
from cluster.hub_files import Resolved
from cluster.plain_text import UNSAFE
from cluster.resolution import Found
from cluster.service_spec import SILENT, runs
from cluster.weights_plan import ModelFile, ModelFiles
from components.stack import deploy, weights_of
from remote.preflight import Look
from tests import samples, sparks
from trtspark import cli

SECRET = "4dabf18193072939515e22adb298388d"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n"
ESCAPE = "\x1b]52;c;eA==\x07\u202e"
DIGEST = "registry/release@sha256:" + "a" * 64


class Recorder(pulumi.runtime.Mocks):
    """Remembers every resource and answers as the providers would."""

    def __init__(self) -> None:
        self.seen: list[pulumi.runtime.MockResourceArgs] = []
        self.digests: dict[str, str] = {}
        self.outputs: dict[str, Any] = {}

    def new_resource(self, args):
        assert (args.typ, args.name) not in {(r.typ, r.name) for r in self.seen}, "duplicate name"
        self.seen.append(args)
        outs = dict(args.inputs)
        if args.typ == "docker:index/remoteImage:RemoteImage":
            outs["repoDigest"] = self.digests.get(args.name, DIGEST)
        if args.typ.endswith(":ImagePull"):
            outs["digest"] = self.digests.get(args.name, DIGEST)
        if args.typ.endswith(":MpiKey"):
            outs["public"] = "ssh-ed25519 PUBLIC"
        if args.typ.endswith(":SwarmService"):
            outs["applied"] = str(hash(json.dumps(outs, default=str)))
            outs["provenTransport"] = [f"rank 0: {ESCAPE}mlx5_0"]
        if args.typ.endswith(":Swarm"):
            outs["swarmId"] = "swarm-1"
        return f"{args.name}-id", outs

    def call(self, args):
        return {}

    def inputs(self, name: str) -> dict[str, Any]:
        return next(dict(r.inputs) for r in self.seen if r.name == name)

    def names(self) -> set[str]:
        return {r.name for r in self.seen}


def run(
    count: int = 2,
    preview: bool = False,
    digests: dict[str, str] | None = None,
    look: Look | None = None,
    **changes: Any,
) -> tuple[Recorder, dict[str, Any]]:
    recorder = Recorder()
    recorder.digests = digests or {}
    pulumi.runtime.set_mocks(recorder, project="trtllm-dgx-spark", stack="test", preview=preview)
    outputs: dict[str, Any] = {}
    settings = samples.settings(count, **changes)
    active = len(settings.active_nodes)

    @pulumi.runtime.test
    def program():
        outputs.update(
            deploy("test", settings, samples.connections(active), look or samples.look(active), KEY)
        )
        pulumi.Output.all(**outputs).apply(recorder.outputs.update)

    program()
    return recorder, outputs


def launched(recorder: Recorder) -> dict[str, Any]:
    """What rank 0's program is told."""
    env = recorder.inputs("trtllm-rank-0")["spec"]["TaskTemplate"]["ContainerSpec"]["Env"]
    [found] = [entry.partition("=")[2] for entry in env if entry.startswith("TRTSPARK_LAUNCH=")]
    whole: dict[str, Any] = json.loads(found)
    return whole


PAIR = {
    "head",
    "worker-1",
    "head-probe",
    "worker-1-probe",
    "head-gpu-runtime",
    "worker-1-gpu-runtime",
    "fabric",
    "cluster",
    "cluster-swarm",
    "cluster-mpi-key",
    "cluster-ssh-client",
    "cluster-rank-access-1",
    "trtllm",
    "trtllm-docker-0",
    "trtllm-image-0",
    "trtllm-pull-0",
    "trtllm-pull-1",
    "trtllm-image-check",
    "trtllm-program",
    "trtllm-weights",
    "trtllm-rank-0",
    "trtllm-rank-1",
    "trtllm-endpoint",
}


@pytest.mark.parametrize("preview", [False, True])
def test_a_pair(preview):
    recorder, outputs = run(preview=preview)
    assert recorder.names() == PAIR
    assert outputs["endpoint"] == "http://10.24.11.11:8355"


def test_no_output_of_the_stack_acts_on_a_terminal():
    """A host's name and a rank's log are a machine's own words."""
    look = samples.look(2)
    head = dataclasses.replace(look.facts[0], hostname=f"spark{ESCAPE}")
    recorder, outputs = run(look=dataclasses.replace(look, facts=(head, *look.facts[1:])))
    assert recorder.names() == PAIR
    assert outputs["nodes"][0].startswith("10.24.11.11 (spark, ")
    assert recorder.outputs["transport"] == ["rank 0: mlx5_0"]
    assert not UNSAFE.search("".join(map(str, recorder.outputs["nodes"])))


def test_one_node_needs_no_way_into_workers():
    recorder, _ = run(1)
    workers = {n for n in PAIR if "worker" in n or n.endswith("-1")}
    assert recorder.names() == PAIR - workers - {"cluster-mpi-key", "cluster-ssh-client", "fabric"}
    assert "--tp_size" in recorder.inputs("trtllm-rank-0")["spec"]["TaskTemplate"]["ContainerSpec"]["Args"]


def test_four_nodes_are_the_same_list_longer():
    recorder, _ = run(4)
    assert {f"trtllm-rank-{i}" for i in range(4)} <= recorder.names()
    assert {f"cluster-rank-access-{i}" for i in (1, 2, 3)} <= recorder.names()
    spec = recorder.inputs("trtllm-rank-0")["spec"]["TaskTemplate"]["ContainerSpec"]
    assert spec["Args"][spec["Args"].index("--tp_size") + 1] == "4"
    launch = launched(recorder)
    assert [r["address"] for r in launch["ranks"]] == [f"192.168.100.{11 + i}" for i in range(4)]


def test_head_only_is_a_list_of_one():
    assert run(2, headOnly=True)[0].names() == run(1)[0].names()


def test_compiled_kernels_belong_to_the_model_its_commit_and_its_split():
    commit = samples.look(2).revision
    for changes, split in (({}, (2, 1)), ({"tensorParallel": 1}, (1, 2))):
        key = launched(run(**changes)[0])["kernels"]["key"]
        assert key == kernel_cache.key("openai/gpt-oss-120b", commit, *split)
        assert key.startswith("openai-gpt-oss-120b-tp")


def test_a_model_switch_touches_only_what_depends_on_the_model():
    before, after = run()[0], run(model="openai/gpt-oss-20b")[0]
    changed = {r.name for r in before.seen if dict(r.inputs) != after.inputs(r.name)}
    # The image's check is told the model, and looks again only where the image is another one.
    check = {"trtllm-image-check"}
    assert changed == {"trtllm", "trtllm-weights", "trtllm-rank-0", "trtllm-endpoint"} | check


def test_memory_fraction_changes_rank_0_alone():
    before, after = run()[0], run(gpuMemoryFraction=0.5)[0]
    changed = {r.name for r in before.seen if dict(r.inputs) != after.inputs(r.name)}
    assert changed == {"trtllm-rank-0", "trtllm-endpoint"}


def test_not_running_keeps_the_services_without_tasks_and_without_a_gate():
    recorder, _ = run(running=False)
    assert recorder.names() == PAIR - {"trtllm-endpoint"}
    for rank in (0, 1):
        assert recorder.inputs(f"trtllm-rank-{rank}")["spec"]["Mode"] == {"Replicated": {"Replicas": 0}}


def test_the_docker_plugin_has_a_day_and_finds_the_image_there(monkeypatch):
    options = {}
    real = docker.RemoteImage.__init__

    def remembered(self, resource_name, *args, **more):
        options[resource_name] = more["opts"]
        real(self, resource_name, *args, **more)

    monkeypatch.setattr(docker.RemoteImage, "__init__", remembered)
    run()
    limits = options["trtllm-image-0"].custom_timeouts
    assert (limits.create, limits.update) == ("24h", "24h")
    assert [one._name for one in options["trtllm-image-0"].depends_on] == ["trtllm-pull-0"]


def test_an_image_that_the_preview_does_not_find_is_pulled_again():
    look = samples.look(2)
    gone = dataclasses.replace(look.facts[1].docker, image_known=True, image=None)
    facts = (look.facts[0], dataclasses.replace(look.facts[1], docker=gone))
    recorder, _ = run(look=dataclasses.replace(look, facts=facts), image="r.lab/engine:1")
    assert recorder.inputs("trtllm-pull-0")["missing"] == ""
    assert recorder.inputs("trtllm-pull-1")["missing"] == "r.lab/engine:1 is not there"


def test_a_second_name_of_the_head_image_does_not_matter():
    other = DIGEST.replace("registry/", "registry:5001/")
    recorder, _ = run(digests={"trtllm-image-0": other})
    assert recorder.inputs("trtllm-rank-0")["image"] == DIGEST


def test_two_nodes_with_two_digests_are_refused():
    with pytest.raises(Exception, match="not one image on all nodes"):
        run(digests={"trtllm-pull-1": DIGEST.replace("a" * 64, "b" * 64)})


def test_without_pulling_the_image_is_used_by_name():
    recorder, _ = run(pullImage=False, image="mine:1")
    assert {n for n in recorder.names() if "image" in n} == {"trtllm-image-check"}
    assert recorder.inputs("trtllm-rank-0")["image"] == "mine:1"


def test_services_use_the_pulled_digest():
    assert run()[0].inputs("trtllm-rank-1")["image"] == DIGEST


def test_a_clock_cap_is_a_resource_for_each_node_where_it_is_asked_for():
    recorder, _ = run(gpuClockLimit="2200")
    assert recorder.names() == PAIR | {"head-gpu-clock", "worker-1-gpu-clock"}
    inputs = recorder.inputs("worker-1-gpu-clock")
    assert inputs["limit"] == 2200
    assert inputs["steps"] == ["GPU clock cap: none -> 2200 MHz"]


def test_a_fresh_sparks_preview_says_what_preparing_will_do():
    inputs = run(dockerGroup=True)[0].inputs("head-gpu-runtime")
    assert inputs["gpu"] == samples.facts(1)[0].gpu_uuid
    assert inputs["group"] is True
    assert inputs["connection"]["hostKey"] == samples.HOST_KEY
    assert "Docker restarts" in inputs["steps"]
    assert "daemon.json default-runtime: none -> nvidia" in inputs["steps"]
    assert inputs["things"]["daemon.json default-runtime"] == "nvidia"


def test_placement_does_not_rely_on_host_names():
    """Nodes are told apart by labels on their Swarm ids: two may have one name."""
    for rank in (0, 1):
        spec = run()[0].inputs(f"trtllm-rank-{rank}")["spec"]["TaskTemplate"]
        assert not [c for c in spec["Placement"]["Constraints"] if "hostname" in c]
        assert "node.labels.trtspark.rank==" + str(rank) in [
            c.replace(" ", "") for c in spec["Placement"]["Constraints"]
        ]


def test_a_task_gets_its_gpu_whatever_the_toolkit_makes_of_swarm_resource():
    """1.18 ignores swarm-resource in mode auto, and takes this variable then."""
    env = run()[0].inputs("trtllm-rank-1")["spec"]["TaskTemplate"]["ContainerSpec"]["Env"]
    assert "NVIDIA_VISIBLE_DEVICES=all" in env


def test_the_private_key_is_a_secret_wherever_it_goes():
    recorder, _ = run()
    for resource in recorder.seen:
        rest = {**resource.inputs}
        if resource.typ == "command:remote:Command":
            connection = rest.pop("connection")
            assert SECRET in connection
            assert "canary" in json.dumps(connection, default=str)
        assert "canary" not in json.dumps(rest, default=str)


def test_host_keys_are_pinned_for_every_command():
    recorder, _ = run()
    commands = [r for r in recorder.seen if r.typ == "command:remote:Command"]
    assert len(commands) == 2  # two probes
    assert all(r.inputs["connection"]["value"]["hostKey"] == samples.HOST_KEY for r in commands)
    opts = str(recorder.inputs("trtllm-docker-0")["sshOpts"])
    assert "StrictHostKeyChecking=yes" in opts
    assert samples.HOST_KEY in opts


def test_providers_are_in_the_state_by_reference():
    recorder, _ = run()
    payloads = [r.inputs["__provider"] for r in recorder.seen if "__provider" in r.inputs]
    assert len(payloads) == 15
    assert all(len(base64.b64decode(payload)) < 100 for payload in payloads)


def configured() -> Look:
    """A pair whose fabric has no addresses yet, as looked at with `fabric: configure`."""
    nodes = [sparks.spark(i, [0]) for i in range(2)]
    choice = fabric_addresses.choose("test", nodes, sparks.looks(nodes), [[], []])
    facts = [
        fabric_addresses.applied(one, part.addresses) for one, part in zip(nodes, choice.nodes, strict=True)
    ]
    return dataclasses.replace(samples.look(2), facts=tuple(facts), fabric=choice)


def test_fabric_addresses_come_first_and_the_plan_has_them(monkeypatch):
    found = configured()
    monkeypatch.setattr(samples, "look", lambda _count: found)
    recorder, _ = run(preview=True)
    assert recorder.names() == PAIR | {"head-fabric-addresses", "worker-1-fabric-addresses"}
    inputs = recorder.inputs("worker-1-fabric-addresses")
    assert inputs["addresses"] == {"enP2p1s0f0np0": "172.16.101.12/24", "enp1s0f0np0": "172.16.100.12/24"}
    assert inputs["gids"] == ["enP2p1s0f0np0", "enp1s0f0np0"]
    env = recorder.inputs("trtllm-rank-1")["spec"]["TaskTemplate"]["ContainerSpec"]["Env"]
    assert "NCCL_IB_ROCE_VERSION_NUM=2" in env
    assert not any(word.startswith("NCCL_IB_GID_INDEX") for word in env)
    launch = launched(recorder)
    assert [rank["address"] for rank in launch["ranks"]] == ["172.16.100.11", "172.16.100.12"]


def test_a_rank_that_swarm_is_about_to_replace_is_not_taken_for_the_configured_one(monkeypatch):
    look = samples.look(2)
    head = dataclasses.replace(
        look.facts[0], specs={("test", "0"): "0123456789"}, wanted={("test", "0"): "9876543210"}
    )
    found = dataclasses.replace(look, facts=(head, *look.facts[1:]))
    monkeypatch.setattr(samples, "look", lambda _count: found)
    recorder, _ = run()
    assert recorder.inputs("trtllm-rank-0")["found"] == "0123456789, to become 9876543210"
    assert recorder.inputs("trtllm-rank-1")["found"] == "no service"


def test_a_server_without_an_answer_is_a_change_of_rank_0_alone(monkeypatch):
    def found(specs: dict[tuple[str, str], str]) -> list[str]:
        look = samples.look(2)
        head = dataclasses.replace(look.facts[0], specs=specs, wanted=right)
        worker = dataclasses.replace(look.facts[1], specs={("test", "1"): right[("test", "1")]})
        made = dataclasses.replace(look, facts=(head, worker))
        monkeypatch.setattr(samples, "look", lambda _count: made)
        recorder, _ = run()
        monkeypatch.undo()
        return [str(recorder.inputs(f"trtllm-rank-{n}")["found"]) for n in range(2)]

    recorder, _ = run()
    right = {("test", str(n)): runs(recorder.inputs(f"trtllm-rank-{n}")["spec"]) for n in range(2)}
    assert found({("test", "0"): right[("test", "0")]}) == list(right.values())
    silent, worker = found({("test", "0"): SILENT})
    assert silent == f"without an answer, to become {right[('test', '0')]}"
    assert worker == right[("test", "1")]


@pytest.mark.parametrize("state", ["inactive", "active"])
def test_a_worker_that_the_look_found_in_no_swarm_is_told(monkeypatch, state):
    look = samples.look(2)
    head, worker = (
        dataclasses.replace(
            facts,
            docker=dataclasses.replace(
                facts.docker,
                swarm=dataclasses.replace(
                    facts.docker.swarm, state=word, node_id="id" if word == "active" else ""
                ),
            ),
        )
        for facts, word in zip(look.facts, ("active", state), strict=True)
    )
    found = dataclasses.replace(look, facts=(head, worker))
    monkeypatch.setattr(samples, "look", lambda _count: found)
    recorder, _ = run()
    wanted = [samples.connections(2)[1].host] if state == "inactive" else []
    assert recorder.inputs("cluster-swarm")["outside"] == wanted


def test_environment_is_each_ranks_own_and_the_users_word_is_last():
    recorder, _ = run(nccl={"NCCL_IB_GID_INDEX": "5"})
    env = recorder.inputs("trtllm-rank-1")["spec"]["TaskTemplate"]["ContainerSpec"]["Env"]
    assert "NCCL_SOCKET_IFNAME==enP2p1s0f0np0" in env or "NCCL_SOCKET_IFNAME==enp1s0f0np0" in env
    assert "NCCL_IB_GID_INDEX=5" in env


def test_weights_know_the_files_their_ways_and_what_is_missing():
    files = (ModelFile("config.json", 100, "", False), ModelFile("model.safetensors", 2000, "", False))
    found = Found(Resolved(ModelFiles("openai/gpt-oss-120b", samples.COMMIT, "", files), gated=False))
    look = dataclasses.replace(samples.look(2), found=found)
    network = fabric.plan(look.facts, [(), ()])
    weights = weights_of(samples.settings(2, hfToken="hf_canary"), network, look)
    assert [sorted(half[1] for half in mine) for mine in weights["halves"]] == [
        ["192.168.100.11", "192.168.101.11"],
        ["192.168.100.12", "192.168.101.12"],
    ]
    assert {file["path"] for file in weights["files"]} == {"config.json", "model.safetensors"}
    assert {file["digest"] for file in weights["files"]} == {"c" * 40, "d" * 64}
    lacks = "model.safetensors (0.0 GB)"
    assert weights["missing"] == {"10.24.11.11": lacks, "10.24.11.12": lacks}
    assert len(weights["extras"]) == 2
    assert "hf_canary" not in json.dumps(weights, default=str)


@pytest.mark.parametrize("there", [True, False])
def test_the_program_is_looked_for_in_the_swarm_not_in_the_state(monkeypatch, there):
    """A run was killed after it had made it, the state is lost, or the Swarm was left and made anew."""
    recorder, _ = run()
    name = recorder.inputs("trtllm-program")["name"]
    look = samples.look(2)
    configs = {name: "id-of-it"} if there else {}
    head = dataclasses.replace(look.facts[0], configs={**configs, "trtspark-other": "not-it"})
    monkeypatch.setattr(
        samples, "look", lambda _count: dataclasses.replace(look, facts=(head, look.facts[1]))
    )
    recorder, _ = run()
    assert recorder.inputs("trtllm-program")["found"] == ("id-of-it" if there else "")


def test_the_full_test_of_the_cables_runs_between_the_image_and_the_ranks():
    recorder, _ = run(2, fabric_test="full")
    assert recorder.names() == PAIR
    names = [one.name for one in recorder.seen]
    assert names.index("trtllm-image-check") < names.index("fabric") < names.index("trtllm-rank-0")
    inputs = recorder.inputs("fabric")
    assert inputs["mode"] == "full"
    assert len(inputs["nccl"]["environments"]) == 2
    assert inputs["image"]


def test_the_quick_test_of_the_cables_is_the_default():
    recorder, _ = run(2)
    assert recorder.inputs("fabric")["mode"] == "quick"
    assert "nccl" not in recorder.inputs("fabric")


@pytest.mark.parametrize(
    ("configured", "folder"),
    [("/mnt/a~b", "/mnt/a~b"), ("~/a~b//", "/home/nvidia/a~b"), ("~", "/home/nvidia")],
)
def test_the_container_mounts_the_cache_where_the_weights_are(configured, folder):
    recorder, _ = run(1, hf_cache=configured)
    mounts = recorder.inputs("trtllm-rank-0")["spec"]["TaskTemplate"]["ContainerSpec"]["Mounts"]
    sources = [mount.get("Source") for mount in mounts]
    assert f"{folder}/hub" in sources
    assert folder not in sources


def test_what_up_says_to_try_is_a_command_without_quotes():
    """Pulumi prints a string's quotes with backslashes, which a shell would take literally."""
    _, outputs = run()
    program, *words = shlex.split(outputs["tryIt"])
    assert program == "trtspark"
    assert not set(outputs["tryIt"]) & set("'\"\\")
    assert len(outputs["tryIt"]) < 60
    assert CliRunner().invoke(cli.app, [*words, "--help"]).exit_code == 0


def test_the_vocabularies_are_rank_0s_and_only_where_the_model_needs_them():
    def folders(recorder: Recorder, rank: int) -> set[str]:
        mounts = recorder.inputs(f"trtllm-rank-{rank}")["spec"]["TaskTemplate"]["ContainerSpec"]["Mounts"]
        return {mount["Target"].rpartition("/")[2] for mount in mounts if "huggingface" in mount["Target"]}

    def found(model: str) -> Recorder:
        files = ModelFiles(model, samples.COMMIT, "", (ModelFile("config.json", 100, "", False),))
        look = dataclasses.replace(samples.look(2), found=Found(Resolved(files, gated=False)))
        return run(model=model, look=look)[0]

    gpt_oss, other = found("openai/gpt-oss-120b"), found("nvidia/Qwen3-30B-A3B-FP4")
    assert [folders(gpt_oss, rank) for rank in (0, 1)] == [{"hub", "tiktoken-encodings"}, {"hub"}]
    assert [folders(other, rank) for rank in (0, 1)] == [{"hub"}, {"hub"}]


def test_a_port_of_roots_is_a_right_of_rank_0_alone_and_one_key_lifts_every_restriction():
    def dropped(recorder: Recorder, rank: int) -> list[str] | None:
        container = recorder.inputs(f"trtllm-rank-{rank}")["spec"]["TaskTemplate"]["ContainerSpec"]
        found: list[str] | None = container.get("CapabilityDrop")
        return found

    low = run(port=443)[0]
    assert [least_privilege.BIND in (dropped(low, rank) or []) for rank in (0, 1)] == [False, True]
    free = run(restrictContainers=False)[0]
    assert [dropped(free, rank) for rank in (0, 1)] == [None, None]


def test_the_workers_accept_mpis_key_from_the_heads_addresses_alone():
    sources = run()[0].inputs("cluster-rank-access-1")["sources"].split(",")
    head, worker = samples.look(2).facts
    assert {str(head.address), "192.168.100.11"} <= set(sources)
    assert str(worker.address) not in sources
