"""Our keys in Docker's settings: put in, taken back, and everything else as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remote.node import daemon_json, stop

PATH = "/etc/docker/daemon.json"
GPU = "GPU-8a4f3c6e-5d2b-4e8a-9c1f-000000000001"
OURS = ("runtimes", "default-runtime", "node-generic-resources")

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
daemons = st.fixed_dictionaries(
    {},
    optional={
        "log-opts": values,
        "runtimes": st.dictionaries(
            st.sampled_from(["nvidia", "kata"]), st.fixed_dictionaries({"path": st.text(max_size=5)})
        ),
        "default-runtime": st.sampled_from(["runc", "nvidia"]),
        "node-generic-resources": st.lists(
            st.sampled_from(["FPGA=1", "NVIDIA_GPU=GPU-old"]), max_size=2, unique=True
        ),
        "live-restore": st.booleans(),
    },
)
texts = st.builds(
    lambda found, indent: json.dumps(found, indent=indent), daemons, st.sampled_from([None, 2, 4, "\t"])
)


@settings(deadline=None)
@given(texts)
def test_everything_else_stays_and_in_its_place(text):
    before, after = json.loads(text), json.loads(daemon_json.merged(text, PATH, GPU)[0])
    assert [(k, v) for k, v in after.items() if k not in OURS] == [
        (k, v) for k, v in before.items() if k not in OURS
    ]
    assert before.get("runtimes", {}).items() <= after["runtimes"].items()
    assert "nvidia" in after["runtimes"]
    assert after["default-runtime"] == "nvidia"
    others = [one for one in before.get("node-generic-resources", []) if not one.startswith("NVIDIA_GPU=")]
    assert after["node-generic-resources"] == [*others, f"NVIDIA_GPU={GPU}"]


@settings(deadline=None)
@given(texts)
def test_merging_twice_is_merging_once(text):
    once = daemon_json.merged(text, PATH, GPU)[0]
    assert daemon_json.merged(once, PATH, GPU) == (once, {})


@settings(deadline=None)
@given(texts)
def test_taken_back_by_keys_the_settings_are_what_they_were(text):
    after, changes = daemon_json.merged(text, PATH, GPU)
    found, back = json.loads(text), json.loads(daemon_json.taken_back(after, PATH, changes))
    assert sorted(back.pop("node-generic-resources", [])) == sorted(found.pop("node-generic-resources", []))
    assert back == found


@settings(deadline=None)
@given(texts, values)
def test_a_setting_made_in_between_survives(text, value):
    after, changes = daemon_json.merged(text, PATH, GPU)
    edited = json.dumps({**json.loads(after), "mine": value})
    assert json.loads(daemon_json.taken_back(edited, PATH, changes))["mine"] == value


def test_a_value_of_ours_that_the_owner_changed_stays_theirs():
    after, changes = daemon_json.merged(None, PATH, GPU)
    edited = json.loads(after) | {
        "default-runtime": "runc",
        "runtimes": {"nvidia": {"path": "/mine"}},
        "node-generic-resources": [f"NVIDIA_GPU={GPU}", "FPGA=1"],
    }
    assert json.loads(daemon_json.taken_back(json.dumps(edited), PATH, changes)) == {
        "runtimes": {"nvidia": {"path": "/mine"}},
        "default-runtime": "runc",
        "node-generic-resources": ["FPGA=1"],
    }


def test_the_owners_own_entry_of_the_runtime_stays():
    text = '{"runtimes": {"nvidia": {"path": "/opt/nvidia", "args": []}}}'
    after, changes = daemon_json.merged(text, PATH, GPU)
    assert json.loads(after)["runtimes"] == json.loads(text)["runtimes"]
    assert "runtime" not in changes


@pytest.mark.parametrize("text", ["", "\n", None])
def test_an_empty_file_is_no_settings(text):
    after, _ = daemon_json.merged(text, PATH, GPU)
    assert set(json.loads(after)) == set(OURS)


@pytest.mark.parametrize(
    "text",
    [
        '{"debug": true,}',
        "[]",
        '"text"',
        '{"max-concurrent-downloads": NaN}',
        '{"runtimes": []}',
        '{"node-generic-resources": "NVIDIA_GPU=x"}',
    ],
)
def test_what_cannot_be_understood_is_refused(text):
    with pytest.raises(stop.Stop, match="it was not touched"):
        daemon_json.merged(text, PATH, GPU)


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["dockerd", "-H", "fd://", "--containerd=/run/containerd/containerd.sock"], []),
        (["dockerd", "--default-runtime=nvidia"], ["default-runtime"]),
        (
            ["dockerd", "--node-generic-resource", "NVIDIA_GPU=x", "--default-runtime", "nvidia"],
            ["default-runtime", "node-generic-resources"],
        ),
        (["dockerd", "--add-runtime", "nvidia=/usr/bin/nvidia-container-runtime"], []),
    ],
)
def test_keys_on_the_command_line(words, keys):
    assert daemon_json.clashes(words) == keys


def test_what_a_reload_does_not_set_back_is_said_outright():
    _, changes = daemon_json.merged('{"debug": true}', PATH, GPU)
    assert json.loads(daemon_json.said_outright('{"debug": true}', changes)) == {
        "debug": True,
        "default-runtime": "runc",
        "runtimes": {},
    }
    owners = '{"default-runtime": "kata", "runtimes": {"kata": {"path": "/kata"}}}'
    assert daemon_json.said_outright(owners, daemon_json.merged(owners, PATH, GPU)[1]) == owners
