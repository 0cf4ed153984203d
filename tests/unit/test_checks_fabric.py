"""What is known to be wrong with the cables, or with the split of the model, before anything is touched."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cluster import checks, model_shape
from cluster.checks.table import Finding
from cluster.facts import SPARK_PCIE, Facts, Pcie
from cluster.model_shape import Heads
from tests import samples

NO_LINK = {"active": False, "address": None, "has_gid": False}


def found(id: str, nodes: list[Facts], config: str = "", **changes: Any) -> list[Finding]:
    caches = [samples.cache(config=config) for _ in nodes]
    context = checks.Context("dgx", samples.settings(len(nodes), **changes), nodes, caches)
    return checks.CHECKS[id](context)


def pair(**changes: Any) -> list[Facts]:
    """A pair of which the worker's HCAs of that name are changed."""
    head, worker = samples.facts(2)
    hcas = tuple(dataclasses.replace(hca, **changes.get(hca.name, {})) for hca in worker.hcas)
    return [head, dataclasses.replace(worker, hcas=hcas)]


def test_rdma_that_must_be_is_refused_with_the_way_out():
    nodes = pair(rocep1s0f0=NO_LINK, roceP2p1s0f0=NO_LINK)
    [one] = found("fabric.transport", nodes, transport="rdma")
    assert one.level == "FAIL"
    assert str(one).startswith("10.24.11.12: no RDMA device with an active link")
    assert str(one).endswith("`pulumi config set transport any`.")
    [one] = found("fabric.transport", nodes)
    assert (one.level, one.node) == ("WARN", "10.24.11.12")
    assert "over sockets on the management network, many times slower" in str(one)


def test_rdma_that_must_be_and_is_turned_off_is_a_contradiction():
    [one] = found("fabric.transport", pair(), transport="rdma", nccl={"NCCL_IB_DISABLE": "1"})
    assert "turns RDMA off" in str(one)


@pytest.mark.parametrize(("index", "warned"), [("3", True), ("-1", False), ("", False)])
def test_an_index_that_the_user_pins_is_a_warning(index, warned):
    said = found("fabric.transport", pair(), nccl={"NCCL_IB_GID_INDEX": index})
    assert [one.level for one in said] == ["WARN"] * warned
    for one in said:
        assert "NCCL_IB_GID_INDEX=3 in `nccl` applies to every RDMA device at every start" in str(one)
        assert str(one).endswith("Remove it: NCCL finds the index itself.")


def test_the_half_without_a_link_is_a_warning():
    [one] = found("fabric.halves", pair(roceP2p1s0f0=NO_LINK))
    assert (one.level, one.node) == ("WARN", "10.24.11.12")
    assert "(enP2p1s0f0np0, roceP2p1s0f0) has no link" in str(one)


def test_a_narrow_pcie_link_is_named_with_what_it_costs():
    """As reported of an ASUS GX10: the functions in domain 0002 have two lanes, the adapter has four."""
    [one] = found("fabric.pcie", pair(roceP2p1s0f0={"pcie": Pcie(2, 32.0, 4, 32.0)}))
    assert (one.level, one.node) == ("WARN", "10.24.11.12")
    assert one.found == (
        "roceP2p1s0f0 (enP2p1s0f0np0, PCI 0002:01:00.0) has a PCIe link of x2 at 32 GT/s, where a Spark has "
        "x4 at 32; the adapter itself can do x4 at 32 GT/s. It carries 63 Gb/s at most instead of 126."
    )
    assert "`sudo lspci -vv -s 0002:01:00.0`" in one.todo


def test_a_pcie_link_that_came_up_slower_is_a_warning_only_where_it_carries_something():
    slow = {"pcie": Pcie(4, 16.0, 4, 32.0)}
    [one] = found("fabric.pcie", pair(roceP2p1s0f0=slow))
    assert "x4 at 16 GT/s" in one.found
    assert found("fabric.pcie", pair(roceP2p1s0f0={**NO_LINK, **slow})) == []
    assert found("fabric.pcie", pair(roceP2p1s0f0={"pcie": SPARK_PCIE})) == []
    assert found("fabric.pcie", pair(roceP2p1s0f0={"pcie": None})) == []


@pytest.mark.parametrize(
    ("config", "heads"),
    [
        ('{"num_attention_heads": 64, "num_key_value_heads": 8}', Heads(64, 8)),
        ('{"num_attention_heads": 28}', Heads(28, 28)),
        ('{"num_attention_heads": 64, "architectures": ["GptOssForCausalLM"]}', Heads(64, 64, False)),
        ('{"num_attention_heads": 64, "model_type": "gpt_oss"}', Heads(64, 64, False)),
        ('{"text_config": {"num_attention_heads": 40, "num_key_value_heads": 8}}', Heads(40, 8)),
        ('{"num_attention_heads": 32, "num_key_value_heads": null}', Heads(32, 32)),
        ('{"num_attention_heads": "many"}', None),
        ('{"num_attention_heads": true}', None),
        ("[1, 2]", None),
        ("{", None),
        ("", None),
        ("{}", None),
    ],
)
def test_heads_of_a_model(config, heads):
    assert model_shape.heads(config) == heads


@pytest.mark.parametrize(
    ("heads", "nodes", "split"),
    [
        (Heads(64, 8), 3, (1, 3)),
        (Heads(64, 8), 6, (2, 3)),
        (Heads(28, 4), 8, (4, 2)),
        (Heads(40, 10), 4, (2, 2)),
        (Heads(64, 1), 4, (4, 1)),
        (Heads(7, 7), 5, (1, 5)),
    ],
)
def test_the_best_split(heads, nodes, split):
    assert heads.best_split(nodes) == split


SIXTY_FOUR = '{"num_attention_heads": 64, "num_key_value_heads": 8}'


def test_heads_that_do_not_divide_are_refused_with_a_split_that_does():
    [one] = found("model.heads", samples.facts(6), SIXTY_FOUR)
    assert str(one) == (
        "openai/gpt-oss-120b has 64 attention heads (8 for keys and values), which 6 nodes cannot share out "
        "evenly. `pulumi config set tensorParallel 2` gives tensor 2 x pipeline 3."
    )
    assert found("model.heads", samples.facts(6), SIXTY_FOUR, tensorParallel=2) == []


def test_a_model_without_a_pipeline_is_never_told_to_use_one():
    text = '{"num_attention_heads": 64, "num_key_value_heads": 8, "architectures": ["GptOssForCausalLM"]}'
    [one] = found("model.heads", samples.facts(3), text)
    assert "It cannot be split by layers either: use 2 nodes." in str(one)
    [one] = found("model.heads", samples.facts(3), text.replace("64", "15").replace("8", "5"))
    assert "use one node (`pulumi config set headOnly true`)" in str(one)


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_heads_that_divide(count):
    assert found("model.heads", samples.facts(count), SIXTY_FOUR) == []


def test_heads_do_not_matter_without_a_config_or_while_stopped():
    assert found("model.heads", samples.facts(3), "") == []
    assert found("model.heads", samples.facts(3), SIXTY_FOUR, running=False) == []
