"""What is refused before anything is touched, and in which words."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest

from cluster import checks
from cluster.facts import Disk, Facts, Firewall, GpuProcess, Memory
from tests import samples

MODEL = "openai/gpt-oss-120b"


def findings(context: checks.Context) -> list[checks.Finding]:
    """That Docker restarts on a fresh Spark is no problem: test_docker_checks.py is about it."""
    return [one for one in checks.findings(context) if one.check != "docker.restart"]


def problems(
    nodes: list[Facts] | None = None, caches: list[dict[str, Any]] | None = None, **changes: Any
) -> list[str]:
    nodes = nodes if nodes is not None else samples.facts(2)
    caches = caches if caches is not None else [samples.cache() for _ in nodes]
    context = checks.Context("dgx", samples.settings(len(nodes), **changes), nodes, caches)
    return [str(one) for one in findings(context)]


def head(**changes: Any) -> list[Facts]:
    first, second = samples.facts(2)
    return [dataclasses.replace(first, **changes), second]


def prepared(facts: Facts) -> dict[str, Any]:
    return {
        "daemon_json": {
            "runtimes": {"nvidia": {"path": "nvidia-container-runtime"}},
            "default-runtime": "nvidia",
            "node-generic-resources": [f"NVIDIA_GPU={facts.gpu_uuid}"],
        },
        "container_toolkit": dataclasses.replace(
            facts.container_toolkit, swarm_resource="DOCKER_RESOURCE_NVIDIA_GPU"
        ),
        "docker": dataclasses.replace(
            facts.docker,
            default_runtime="nvidia",
            runtimes=("nvidia", "runc"),
            generic_resources=(f"NVIDIA_GPU={facts.gpu_uuid}",),
        ),
    }


def test_two_sparks_as_they_should_be():
    assert problems() == []


def test_the_same_machine_twice():
    first = samples.facts(1)[0]
    [said] = problems([first, dataclasses.replace(first, node="spark-a.lan")])
    assert said.startswith("spark-a.lan and 10.24.11.11 are the same machine (spark-1, GPU-")


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.24.11.11"])
def test_port_in_use_by_another_program(address):
    [said] = problems(head(listening=((address, 8355),)))
    assert said.startswith("10.24.11.11: port 8355 is in use by another program.")
    assert "pulumi config set port 8356" in said


@pytest.mark.parametrize(
    ("port", "next_free"), [(2377, 2378), (7946, 7947), (4789, 4790), (22, 8355), (65534, 65535)]
)
def test_the_ports_of_swarm_and_sshd_are_refused_before_anything_listens(port, next_free):
    nodes = head(ssh_port=65534, listening=(("10.24.11.11", 2379),))
    [said] = problems(nodes, port=port)
    assert said.startswith(f"10.24.11.11: the API cannot have port {port}: ")
    assert f"pulumi config set port {next_free}`" in said


def test_a_forwarded_login_hides_neither_of_sshds_ports():
    nodes = head(ssh_port=2022)
    for port in (22, 2022):
        assert "sshd" in problems(nodes, port=port)[0]


def test_the_port_that_is_suggested_is_judged_by_the_same_rule():
    taken = tuple(("0.0.0.0", number) for number in (2376, 2378, 2379))
    [said] = problems(head(listening=taken), port=2376)
    assert "pulumi config set port 2380`" in said
    [said] = problems(head(listening=(("::ffff:10.24.11.11", 65535), ("::", 8355))), port=65535)
    assert "pulumi config set port 8356`" in said


@pytest.mark.parametrize("listening", [("127.0.0.1", 8355), ("172.17.0.1", 8355), ("0.0.0.0", 8356)])
def test_listeners_that_are_not_in_the_way(listening):
    assert problems(head(listening=(listening,))) == []


def test_port_in_use_by_ourselves_is_an_update():
    assert problems(head(listening=(("10.24.11.11", 8355),), ranks=(("dgx", "0", "8355"),))) == []


def test_port_in_use_by_another_stack_is_named():
    [said] = problems(head(listening=(("10.24.11.11", 8355),), ranks=(("old", "0", "8355"),)))
    assert "it belongs to stack old." in said


def test_our_rank_on_its_old_port_does_not_excuse_a_stranger_on_the_new_one():
    nodes = head(listening=(("0.0.0.0", 9000),), ranks=(("dgx", "0", "8355"),))
    [said] = problems(nodes, port=9000)
    assert "port 9000 is in use by another program." in said


def test_the_port_matters_on_the_head_only_and_while_running_only():
    first, second = samples.facts(2)
    busy = (("0.0.0.0", 8355),)
    assert problems([first, dataclasses.replace(second, listening=busy)]) == []
    assert problems(head(listening=busy), running=False) == []


def test_with_docker_silent_nobody_can_say_whose_the_port_is():
    docker = dataclasses.replace(samples.facts(1)[0].docker, problem="silent", said="gone")
    [said] = problems(head(docker=docker, listening=(("0.0.0.0", 8355),)))
    assert "Docker does not answer (gone)." in said


def test_live_restore():
    docker = dataclasses.replace(samples.facts(1)[0].docker, live_restore=True)
    [said] = problems(head(docker=docker))
    assert said.startswith("10.24.11.11: Docker runs with live-restore, which Swarm refuses.")


def test_sudo_is_needed_where_docker_is_not_prepared():
    [said] = problems(head(sudo=False))
    assert "sudo asks user nvidia for a password" in said
    assert "docs/preparing.md" in said


def test_sudo_is_not_needed_where_docker_is_prepared():
    assert problems(head(sudo=False, **prepared(samples.facts(1)[0]))) == []


def test_settings_that_the_running_docker_has_not_read_need_sudo_for_the_restart():
    ready = prepared(samples.facts(1)[0]) | {"docker": samples.facts(1)[0].docker}
    assert len(problems(head(sudo=False, **ready))) == 1


def test_another_machines_gpu_in_the_settings_is_not_prepared():
    ready = prepared(samples.facts(2)[1])
    assert len(problems(head(sudo=False, **ready))) == 1


def test_model_missing_with_the_close_name_that_is_there():
    missing = samples.cache(commit=None, models=["openai/gpt-oss-20b"])
    [said] = problems(caches=[samples.cache(), missing], model="openai/gpt-oss-20c", downloadWeights=False)
    assert said.startswith("10.24.11.12: model openai/gpt-oss-20c is not in /home/nvidia/.cache/huggingface.")
    assert "`hf download openai/gpt-oss-20c`" in said
    assert "Did you mean openai/gpt-oss-20b" in said


def test_every_node_without_the_model_is_named():
    said = problems(caches=[samples.cache(commit=None)] * 2, downloadWeights=False)
    assert [text.split(":")[0] for text in said] == ["10.24.11.11", "10.24.11.12"]


def test_model_not_whole():
    broken = samples.cache(problems=["a is missing", "b is missing", "c is missing", "d is missing"])
    [said] = problems(caches=[broken, samples.cache()], downloadWeights=False)
    assert f"10.24.11.11: model {MODEL} is not whole" in said
    assert "a is missing; b is missing; c is missing." in said


def test_revisions_differ():
    [said] = problems(
        caches=[samples.cache(), samples.cache(commit="0123456789abcdef")], downloadWeights=False
    )
    assert "10.24.11.11 has b5c939de8f75, 10.24.11.12 has 0123456789ab" in said


def test_vocabularies_missing():
    without = [samples.cache(tiktoken=False)] * 2
    [said] = problems(caches=without, downloadWeights=False)
    assert "/home/nvidia/.cache/huggingface/tiktoken-encodings lacks them" in said
    assert problems(caches=without, downloadWeights=False, model="microsoft/phi-4") == []


@pytest.mark.parametrize(
    ("model", "config", "needed"),
    [
        ("unsloth/gpt-oss-120b", "", True),
        ("RedHatAI/derived", '{"model_type": "gpt_oss"}', True),
        ("RedHatAI/derived", '{"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss"}', True),
        ("RedHatAI/derived", '{"architectures": ["LlamaForCausalLM"]}', False),
        ("RedHatAI/derived", "{", False),
    ],
)
def test_models_derived_from_gpt_oss_need_the_vocabularies_too(model, config, needed):
    caches = [samples.cache(tiktoken=False, config=config)] * 2
    found = problems(caches=caches, downloadWeights=False, model=model)
    assert any("tiktoken-encodings lacks them" in text for text in found) == needed


def test_weights_that_will_be_fetched_may_be_missing():
    caches = [samples.cache(commit=None, tiktoken=False), samples.cache(commit="f" * 40)]
    assert problems(caches=caches) == []


def test_weights_do_not_matter_while_stopped():
    assert problems(caches=[samples.cache(commit=None)] * 2, running=False, downloadWeights=False) == []


def test_all_problems_at_once():
    docker = dataclasses.replace(samples.facts(1)[0].docker, live_restore=True)
    nodes = head(sudo=False, docker=docker, listening=(("0.0.0.0", 8355),))
    assert len(problems(nodes, [samples.cache(commit=None), samples.cache()], downloadWeights=False)) == 4


def pair(first: dict[str, Any], second: dict[str, Any]) -> list[Facts]:
    one, two = samples.facts(2)
    return [dataclasses.replace(one, **first), dataclasses.replace(two, **second)]


def cabled(facts: Facts, **changes: Any) -> dict[str, Any]:
    return {"hcas": tuple(dataclasses.replace(h, **changes) if h.usable else h for h in facts.hcas)}


def test_every_check_says_what_it_is():
    for check in checks.CHECKS.values():
        assert check.about.endswith("."), check.id
        assert check.fix.endswith("."), check.id
        assert set(check.levels) <= {"FAIL", "WARN", "NOTE"}, check.id
        assert check.run.__doc__, check.id


def test_one_host_name_on_two_machines():
    [said] = problems(pair({}, {"hostname": "spark-1"}))
    assert said.startswith("10.24.11.11, 10.24.11.12 all have the host name spark-1.")
    assert "hostnamectl set-hostname" in said


def test_the_kernels_fault_does_not_matter_without_rdma_or_alone():
    bad = {"ram": Memory(cma_total=0, cma_free=9700000 << 10)}
    assert len(problems(pair(bad, bad))) == 2
    assert not any("CmaFree" in said for said in problems(pair({**bad, "hcas": ()}, {**bad, "hcas": ()})))
    assert problems([dataclasses.replace(samples.facts(1)[0], **bad)]) == []


def test_others_on_the_gpu_are_named_and_counted():
    many = tuple(GpuProcess(pid, f"p{pid}") for pid in range(1, 7))
    [said] = problems(head(gpu_processes=many))
    assert "p1 (process 1), p2 (process 2), p3 (process 3), p4 (process 4) and 2 more." in said
    assert problems(head(gpu_processes=many), running=False) == []
    assert problems(head(gpu_processes=(GpuProcess(1, "python3", "rank", True),))) == []


def test_memory_that_our_own_rank_holds_is_no_warning():
    little = {"ram": Memory(total=120 << 30, available=20 << 30)}
    [said] = problems(head(**little))
    assert "only 20 of its 120 GiB memory are available." in said
    assert problems(head(**little, ranks=(("dgx", "0", "8355"),))) == []


def test_memory_left_behind_is_not_sought_where_a_program_has_the_gpu():
    left = {"ram": Memory(total=120 << 30, available=90 << 30, lost=20 << 30)}
    assert len(problems(head(**left))) == 1
    assert problems(head(**left), running=False) == []
    assert problems(head(**left, gpu_processes=(GpuProcess(1, "python3", "rank", True),))) == []


def test_swap_does_not_matter_while_a_rank_runs():
    used = {"ram": Memory(swap=16 << 30, swap_free=2 << 30)}
    assert len(problems(head(**used))) == 1
    assert problems(head(**used, ranks=(("dgx", "0", "8355"),))) == []


@pytest.mark.parametrize("node", [0, 1])
@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.1.1", "203.0.113.9"])
def test_an_address_that_the_others_cannot_use_is_refused_with_those_they_can(node, address):
    nodes = samples.facts(2)
    own = str(nodes[node].address)
    nodes[node] = dataclasses.replace(nodes[node], address=IPv4Address(address))
    [said] = problems(nodes)
    assert said.startswith(f"{nodes[node].node}: ")
    assert address in said
    assert own in said
    assert "192.168.100" not in said


def test_ipv6_is_told_once_and_with_the_addresses_that_there_are():
    interfaces = {"enP7s7": (), "wlP9s9": (IPv4Interface("192.168.1.5/24"),)}
    [facts] = samples.facts(1)
    there = dataclasses.replace(facts, ipv6="fd00::5", address=IPv4Address(0), interfaces=interfaces)
    [said] = problems([there])
    assert "fd00::5" in said
    assert "192.168.1.5" in said
    assert "0.0.0.0" not in said


def test_a_single_machine_may_be_localhost():
    only = dataclasses.replace(samples.facts(1)[0], address=IPv4Address("127.0.0.1"))
    assert problems([only]) == []


def test_ufw_limit_is_told_with_the_operators_and_the_heads_address():
    limited = {"firewall": Firewall("ufw", True, limited=True)}
    [said] = problems(pair({}, limited))
    assert "10.24.11.1 10.24.11.11" in said
    [said] = problems(head(**limited))
    assert "10.24.11.11 " not in said.partition(": ")[2]


def test_room_for_the_image_matters_until_it_is_there():
    disk = Disk("/var/lib/docker", "/", 1 << 40, 20 << 30, 1_000_000)
    few = {"disks": {"docker": disk, "containerd": disk}}
    [said] = problems(head(**few))
    assert "20.0 GiB" in said
    assert problems(head(**few, ranks=(("dgx", "0", "8355"),))) == []
    full = {"disks": {"docker": disk, "containerd": dataclasses.replace(disk, free=0)}}
    assert "is full" in problems(head(**full, ranks=(("dgx", "0", "8355"),)))[0]


@pytest.mark.parametrize(
    ("offsets", "level", "node", "words"),
    [
        ((0.0, 0.0), None, "", ""),
        ((30.0, -29.0), None, "", ""),
        ((0.0, 61.0), "WARN", "10.24.11.12", "61 s ahead of this machine's, and 61 s from another node's."),
        ((-7200.0, 10.0), "FAIL", "10.24.11.11", "120 min behind this machine's, and 120 min from another"),
        (
            (400.0, 401.0),
            "WARN",
            "",
            "the nodes' clocks are 400 s ahead of this machine's, though they agree",
        ),
        ((None, 5000.0), "WARN", "", "83 min ahead"),
        ((None, None), None, "", ""),
    ],
)
def test_clocks(offsets, level, node, words):
    nodes = pair(*({"clock_offset": offset} for offset in offsets))
    context = checks.Context("dgx", samples.settings(2), nodes, [samples.cache()] * 2)
    found = findings(context)
    assert [(one.level, one.node) for one in found] == ([(level, node)] if level else [])
    assert words in "".join(str(one) for one in found)


def test_the_one_clock_of_three_that_is_wrong_is_named():
    offsets = zip(samples.facts(3), (500.0, 500.0, 0.0), strict=True)
    nodes = [dataclasses.replace(facts, clock_offset=offset) for facts, offset in offsets]
    [said] = problems(nodes)
    assert said.startswith("10.24.11.13: its clock is")


def test_a_clock_that_nothing_keeps():
    [said] = problems(pair({"clock_offset": 0.0}, {"ntp": False, "clock_offset": 100.0}))
    assert "nothing keeps it right now (`sudo timedatectl set-ntp true`)" in said


def test_the_swarms_first_port_is_the_heads():
    listening = (("0.0.0.0", 2377), ("0.0.0.0", 7946))
    first, second = samples.facts(2)
    assert len(problems(pair({"listening": listening}, {}))) == 2
    [said] = problems([first, dataclasses.replace(second, listening=listening)])
    assert said.startswith("10.24.11.12: port 7946/tcp is in use by another program.")


def test_overlay_networks_port_is_only_a_warning():
    context = checks.Context("dgx", samples.settings(2), head(udp=(("::", 4789),)), [samples.cache()] * 2)
    [found] = findings(context)
    assert (found.level, found.check) == ("WARN", "network.ports")


CLOSED = Firewall("ufw", True, ("2377/tcp", "7946/udp", "8355/tcp", "tcp on enp1s0f0np0", "tcp on enP7s7"))


def test_a_closed_firewall_is_told_by_what_the_node_is_for():
    first = problems(pair({"firewall": CLOSED}, {}))
    second = problems(pair({}, {"firewall": CLOSED}))
    assert [line.split()[6].rstrip(":") for line in first] == ["2377/tcp", "7946/udp", "8355/tcp", "tcp"]
    assert [line.split()[6].rstrip(":") for line in second] == ["7946/udp", "tcp"]


def test_a_single_node_needs_only_the_apis_port():
    one = dataclasses.replace(samples.facts(1)[0], firewall=CLOSED)
    [said] = problems([one])
    assert "does not let in 8355/tcp: the API is asked there." in said
    assert problems([one], running=False) == []


def test_ranks_over_sockets_need_the_management_network():
    said = problems(pair({"firewall": CLOSED, "hcas": ()}, {"hcas": ()}))
    assert any("tcp on enP7s7: MPI and NCCL choose their ports." in line for line in said)
    assert not any("enp1s0f0np0" in line for line in said)


def test_a_firewall_that_nobody_can_read_is_a_warning():
    [said] = problems(pair({}, {"firewall": Firewall("nftables")}))
    assert said.startswith("10.24.11.12: nftables is on, and its rules cannot be read.")


def test_mtu_1500_is_one_line_for_the_stack():
    nodes = samples.facts(2)
    [said] = problems(pair(*(cabled(f, mtu=1500) for f in nodes)))
    assert said.startswith("the fabric's interfaces have MTU 1500.")


def test_ends_with_different_mtus_are_told_by_half():
    said = problems(pair({}, cabled(samples.facts(2)[1], mtu=1500)))
    assert len(said) == 2
    ends = "10.24.11.11 enp1s0f0np0 9000, 10.24.11.12 enp1s0f0np0 1500."
    assert f"192.168.100.0/24 have different MTUs: {ends}" in "".join(said)


def test_mtu_of_interfaces_that_meet_nobody_is_nobodys_business():
    alone = [dataclasses.replace(samples.facts(1)[0], **cabled(samples.facts(1)[0], mtu=1500))]
    assert problems(alone) == []


def test_a_slow_link_matters_between_nodes_only():
    slow = cabled(samples.facts(1)[0], rate_gbps=100)
    [said] = problems(pair(slow, {}))
    assert "roceP2p1s0f0 at 100 Gb/s, rocep1s0f0 at 100 Gb/s." in said
    assert problems([dataclasses.replace(samples.facts(1)[0], **slow)]) == []
