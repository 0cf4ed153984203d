"""What is refused before anything is touched, and in which words."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cluster import checks
from cluster.facts import Facts
from tests import samples

MODEL = "openai/gpt-oss-120b"


def problems(
    nodes: list[Facts] | None = None, caches: list[dict[str, Any]] | None = None, **changes: Any
) -> list[str]:
    nodes = nodes if nodes is not None else samples.facts(2)
    caches = caches if caches is not None else [samples.cache() for _ in nodes]
    context = checks.Context("dgx", samples.settings(len(nodes), **changes), nodes, caches)
    return [str(one) for one in checks.findings(context)]


def head(**changes: Any) -> list[Facts]:
    first, second = samples.facts(2)
    return [dataclasses.replace(first, **changes), second]


def prepared(facts: Facts) -> dict[str, Any]:
    return {
        "daemon_json": {
            "default-runtime": "nvidia",
            "node-generic-resources": [f"NVIDIA_GPU={facts.gpu_uuid}"],
        },
        "docker": dataclasses.replace(facts.docker, default_runtime="nvidia"),
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


@pytest.mark.parametrize("listening", [("127.0.0.1", 8355), ("172.17.0.1", 8355), ("0.0.0.0", 8356)])
def test_listeners_that_are_not_in_the_way(listening):
    assert problems(head(listening=(listening,))) == []


def test_port_in_use_by_ourselves_is_an_update():
    assert problems(head(listening=(("10.24.11.11", 8355),), ranks=(("dgx", "0", "8355"),))) == []


def test_port_in_use_by_another_stack_is_named():
    [said] = problems(head(listening=(("10.24.11.11", 8355),), ranks=(("old", "0", "8355"),)))
    assert "port 8355 is in use by stack old." in said


def test_our_rank_on_its_old_port_does_not_excuse_a_stranger_on_the_new_one():
    nodes = head(listening=(("0.0.0.0", 9000),), ranks=(("dgx", "0", "8355"),))
    [said] = problems(nodes, port=9000)
    assert "port 9000 is in use by another program." in said


def test_the_port_matters_on_the_head_only_and_while_running_only():
    first, second = samples.facts(2)
    busy = (("0.0.0.0", 8355),)
    assert problems([first, dataclasses.replace(second, listening=busy)]) == []
    assert problems(head(listening=busy), running=False) == []


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


def test_weights_that_will_be_fetched_may_be_missing():
    caches = [samples.cache(commit=None, tiktoken=False), samples.cache(commit="f" * 40)]
    assert problems(caches=caches) == []


def test_weights_do_not_matter_while_stopped():
    assert problems(caches=[samples.cache(commit=None)] * 2, running=False, downloadWeights=False) == []


def test_all_problems_at_once():
    docker = dataclasses.replace(samples.facts(1)[0].docker, live_restore=True)
    nodes = head(sudo=False, docker=docker, listening=(("0.0.0.0", 8355),))
    assert len(problems(nodes, [samples.cache(commit=None), samples.cache()], downloadWeights=False)) == 4
