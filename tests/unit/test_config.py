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


def test_other_namespaces_are_not_ours():
    assert load({**raw(), "docker:host": "x"}).port == 8355


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"port": "99999"}, [':port: found "99999"', "1 to 65535"]),
        ({"port": "abc"}, [':port: found "abc"']),
        ({"modle": "x/y"}, [":modle: unknown key; did you mean model?"]),
        ({"model": "gpt-oss"}, [':model: found "gpt-oss"', "openai/gpt-oss-120b"]),
        ({"model": None}, [":model: missing", "pulumi config set model"]),
        ({"nodes": []}, [":nodes: found []", "one to eight"]),
        ({"nodes": [{"host": f"s{i}"} for i in range(9)]}, [":nodes", "one to eight"]),
        ({"nodes": [{"host": "a", "prot": 1}]}, [":nodes[0].prot: unknown key; did you mean port?"]),
        ({"nodes": [{"user": "a"}]}, [":nodes[0].host: missing"]),
        ({"nodes": [{"host": "a b"}]}, [':nodes[0].host: found "a b"', "host name"]),
        ({"nodes": [{"host": "a", "fabric": ["x"]}]}, [':nodes[0].fabric[0]: found "x"']),
        ({"nodes": [{"host": "a", "hostKey": "AAAA"}]}, [":nodes[0].hostKey", "ssh-ed25519"]),
        ({"nodes": [{"host": "a"}, {"host": "a"}]}, ["nodes[1].host: a is listed twice"]),
        ({"nodes": "spark-1"}, [':nodes: found "spark-1"']),
        ({"tensorParallel": "3"}, ["tensorParallel: found 3 for 2 node(s)", "divisor"]),
        ({"gpuMemoryFraction": "1.5"}, [':gpuMemoryFraction: found "1.5"', "between 0 and 1"]),
        ({"nccl": {"LD_PRELOAD": "x"}}, [":nccl", "NCCL_"]),
        ({"hfCache": "cache"}, [':hfCache: found "cache"', "absolute"]),
        ({"backend": "tensorrt"}, [':backend: found "tensorrt"', "pytorch"]),
        ({"weights": {"over": "wifi"}}, [':weights.over: found "wifi"', "management link"]),
        ({"weights": {"ovr": "any"}}, [":weights.ovr: unknown key; did you mean over?"]),
        ({"weights": {"streams": 0}}, [":weights.streams: found 0", "1 to 64"]),
        ({"tiktoken": {"pins": {"a": {"sha256": "x", "size": 1}}}}, [":tiktoken.pins.a.sha256"]),
        ({"running": "maybe"}, [':running: found "maybe"', "true or false"]),
    ],
)
def test_errors_name_the_key_what_was_found_and_what_it_may_be(values, parts):
    said = message(**values)
    for part in parts:
        assert part in said
    assert "\n" not in said


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
