"""What to do about files that cannot be had is decided by codes, not by words in the message."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cluster.weights_failure import ADVICE, AGAIN, FOLLOWS, failure
from remote.node import stop, weights_hub

PROGRAMS = sorted((Path(__file__).parents[2] / "remote" / "node").glob("weights_*.py"))


def failed(error, code=""):
    return {"state": "failed", "error": error, "code": code}


@pytest.mark.parametrize(
    "error",
    ["tokenizer.json is not at http://hub/x", "the line is token-ring", "freedom.bin: no space-time"],
)
def test_words_in_a_message_choose_no_advice(error):
    found = failure(["a"], "m/m", {0: failed(error)})
    assert found.todo == AGAIN
    assert "hfToken" not in found.todo


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("token-missing", "hfToken"),
        ("token-refused", "hfToken"),
        ("no-access", "licence"),
        ("disk-full", "hfCache"),
        ("not-writable", "chown"),
        ("no-vocabulary", "tiktoken"),
        ("not-found", "pulumi preview"),
    ],
)
def test_each_code_has_its_advice(code, says):
    assert says in failure(["a"], "m/m", {0: failed("whatever", code)}).todo


def test_the_node_that_only_lost_another_one_is_not_reported():
    statuses = {0: failed("gone", "peer-silent"), 1: failed("full", "disk-full"), 2: {"state": "running"}}
    assert failure(["a", "b", "c"], "m/m", statuses).node == "b"
    assert failure(["a"], "m/m", {0: failed("gone", "peer-silent")}).node == "a"
    assert failure(["a"], "m/m", {0: {"state": "done"}}) is None


def test_every_code_that_has_advice_is_one_that_the_programs_end_with():
    text = "".join(path.read_text() for path in PROGRAMS)
    ends = set(re.findall(r'"([a-z]+-[a-z]+|certificate|checksum|stopped)"', text))
    assert set(ADVICE) | set(FOLLOWS) <= ends


@pytest.mark.parametrize(
    ("status", "token", "file", "code"),
    [
        (401, "", {"path": "tokenizer.json"}, "token-missing"),
        (401, "hf_x", {"path": "tokenizer.json"}, "token-refused"),
        (403, "hf_x", {"path": "tokenizer.json"}, "no-access"),
        (404, "hf_x", {"path": "tokenizer.json"}, "not-found"),
        (404, "", {"path": "o200k_base.tiktoken", "url": "http://files/o200k"}, "no-vocabulary"),
    ],
)
def test_the_hubs_answers_become_codes(status, token, file, code):
    hub = weights_hub.Hub("http://hub", "m/m", "c", token)
    with pytest.raises(stop.Stop) as caught:
        hub._refused(status, None, file, hub.address(file))
    assert caught.value.code == code


def test_a_storage_link_that_expired_is_tried_again():
    hub = weights_hub.Hub("http://hub", "m/m", "c", "")
    with pytest.raises(weights_hub.Broken):
        hub._refused(403, None, {"path": "a"}, "http://storage/x")
