"""Configuration: what is accepted, and the sentence for what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.config import Settings, field_names, load
from cluster.errors import ConfigError

ROOT = Path(__file__).parents[2]
PROJECT = "trtllm-dgx-spark"
NODES = [{"host": "spark-1"}, {"host": "spark-2", "user": "nick", "port": 2222}]


def raw(**values: Any) -> dict[str, str]:
    """As Pulumi hands configuration to a program: text, and JSON text for structured values."""
    base = {"nodes": NODES, "model": "openai/gpt-oss-120b"}
    return {
        f"{PROJECT}:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in {**base, **values}.items()
        if value is not None
    }


def message(**values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(raw(**values))
    return str(caught.value)


def test_defaults():
    settings = load(raw())
    assert [n.user for n in settings.nodes] == ["nvidia", "nick"]
    assert (settings.port, settings.running, settings.max_batch_size) == (8355, True, None)


def test_text_becomes_numbers_and_booleans():
    settings = load(raw(port="9000", headOnly="true", gpuMemoryFraction="0.85", maxBatchSize="auto"))
    assert (settings.port, settings.head_only, settings.gpu_memory_fraction) == (9000, True, 0.85)
    assert settings.max_batch_size is None
    assert len(settings.active_nodes) == 1


def test_extra_args_as_typed_in_a_shell():
    assert load(raw(extraArgs="--reasoning_parser 'a b'")).extra_args == ("--reasoning_parser", "a b")


@pytest.mark.parametrize(
    ("stored", "meant"),
    [(22, "22"), (True, "1"), (False, "0"), ("22", "22"), (0.5, "0.5"), (1e3, "1000"), (-1, "-1"), ("", "")],
)
def test_variables_that_pulumi_stores_as_numbers_and_booleans(stored, meant):
    """`pulumi config set --path nccl.NCCL_IB_TIMEOUT 22` stores a number."""
    assert load(raw(nccl={"NCCL_IB_TIMEOUT": stored})).nccl == {"NCCL_IB_TIMEOUT": meant}


def test_options_that_pulumi_stores_as_numbers_and_booleans():
    stored = ["--num_postprocess_workers", 4, "--telemetry", False, "--ratio", 0.5]
    meant = ("--num_postprocess_workers", "4", "--telemetry", "false", "--ratio", "0.5")
    assert load(raw(extraArgs=stored)).extra_args == meant


def test_what_is_neither_text_nor_number_is_no_variable():
    for wrong in (None, ["x"], {"a": 1}, float("nan")):
        assert ":nccl.NCCL_A: found" in message(nccl={"NCCL_A": wrong})


@pytest.mark.parametrize("user", ["nick", "nick.p", "Nick", "_svc", "svc$", "nick-p_1"])
def test_users_that_are_taken(user):
    assert load(raw(nodes=[{"host": "spark-1", "user": user}])).nodes[0].user == user


def test_white_space_around_a_value_is_taken_off():
    settings = load(raw(model="\u00a0a/b\n", hfCache=" /mnt/my models\u2028", hfToken="hf_canary\r\n"))
    assert (settings.model, settings.hf_cache) == ("a/b", "/mnt/my models")
    assert settings.hf_token is not None
    assert settings.hf_token.get_secret_value() == "hf_canary"


@pytest.mark.parametrize(
    "wrong", [{"nodes": [{"host": "me:canary@spark-1"}]}, {"image": "me:canary@nvcr.io/a/b:1"}]
)
def test_a_password_before_a_host_is_not_shown(wrong):
    assert "me:[removed]@" in message(**wrong)
    assert "canary" not in message(**wrong)


@pytest.mark.parametrize("image", ["a/b:1.3@sha256:AB", "trt:1.3@sha256:AB"])
def test_a_tag_before_a_digest_is_shown(image):
    assert f'"{image}"' in message(image=image)


def test_other_namespaces_are_not_ours():
    assert load({**raw(), "docker:host": "x"}).port == 8355


def test_a_token_is_never_shown():
    settings = load(raw(hfToken="hf_canary"))
    assert "hf_canary" not in repr(settings)
    assert "hf_canary" not in message(hfToken="hf_canary", port="x")


def test_a_token_in_clear_is_refused_without_showing_it():
    with pytest.raises(ConfigError, match="stored in clear") as caught:
        load(raw(hfToken="hf_canary"), is_secret=lambda _key: False)
    assert "hf_canary" not in str(caught.value)
    assert load(raw(hfToken=""), is_secret=lambda _key: False).hf_token is None


def test_every_problem_is_listed_once():
    said = message(port="0", modle="x/y")
    assert said.count(":port:") == 1
    assert said.count(":modle:") == 1


def test_pulumi_yaml_says_the_same():
    """Keys and descriptions stand in two files; they may not differ."""
    schema = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert {key: entry["description"] for key, entry in schema.items()} == field_names()


def test_pulumi_yaml_defaults_are_the_programs_defaults():
    schema = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    text = {
        key: entry["default"] if isinstance(entry["default"], str) else json.dumps(entry["default"])
        for key, entry in schema.items()
        if "default" in entry
    }
    assert load({**{f"{PROJECT}:{k}": v for k, v in text.items()}, **raw()}) == load(raw())


def test_the_example_stack_is_valid():
    config = yaml.safe_load((ROOT / "Pulumi.dgx.yaml").read_text())["config"]
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    assert isinstance(load(text), Settings)
