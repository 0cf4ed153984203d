"""The Hub's answers and refusals, by the real client and the lab's Hub."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from cluster import fit
from cluster.resolution import HubError, HubUnavailable
from lab import models
from lab.hub import server
from lab.hub.answer import Answer
from lab.hub.content import Given
from lab.hub.tensors import of
from remote import hub
from remote.hub import Hub, Token
from tests import samples

ANYBODY = Token(None, "")
MODEL = "Qwen/Qwen2.5-14B-Instruct"
GATED = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.fixture(scope="module")
def _served() -> Iterator[server.Hub]:
    with server.Hub() as found:
        yield found


@pytest.fixture
def lab(_served, monkeypatch) -> server.Hub:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    _served.faults.clear()
    _served.requests.clear()
    return _served


@pytest.fixture
def member(lab) -> Hub:
    return Hub(lab.url, Token(lab.tokens.granted, "hfToken"))


@pytest.fixture
def newcomer(lab) -> Hub:
    return Hub(lab.url, Token(lab.tokens.newcomer, "hfToken"))


@pytest.fixture
def stranger(lab) -> Hub:
    return Hub(lab.url, ANYBODY)


def refusal(question: Callable[[], object], kind: type[HubError] = HubError) -> str:
    with pytest.raises(HubError) as caught:
        question()
    assert type(caught.value) is kind
    return str(caught.value)


def published(name: str) -> models.Model:
    found = models.find(name)
    assert found is not None
    return found


def test_commit_files_and_checksums_by_one_request(lab, stranger):
    found = stranger.resolve(MODEL, None, trust_remote_code=False)
    assert len(lab.requests) == 1
    assert found.files.commit == models.commit(published(MODEL))
    assert found.files.endpoint == lab.url
    assert not found.gated
    weights = [file for file in found.files.files if file.path.endswith(".safetensors")]
    assert len(weights) == 8
    assert all(file.lfs and len(file.digest) == 64 for file in weights)
    [config] = [file for file in found.files.files if file.path == "config.json"]
    assert (config.lfs, len(config.digest)) == (False, 40)
    assert all(file.size > 0 for file in found.files.files)


def test_what_is_there_twice_is_not_taken_twice(stranger):
    paths = [file.path for file in stranger.resolve("openai/gpt-oss-20b", None, False).files.files]
    assert not [path for path in paths if path.startswith("metal/")]
    mixtral = stranger.resolve("mistralai/Mixtral-8x7B-Instruct-v0.1", None, False).files.files
    assert not [file.path for file in mixtral if file.path.endswith(".bin")]


def test_remote_code_when_trusted(stranger):
    names = {
        trust: {file.path for file in stranger.resolve("deepseek-ai/DeepSeek-V3", None, trust).files.files}
        for trust in (True, False)
    }
    assert names[True] - names[False] == {"configuration_deepseek.py", "modeling_deepseek.py"}


def test_a_revision_by_tag_branch_or_commit(lab, stranger):
    repository = lab.routes.repository(MODEL)
    assert repository is not None
    [(tag, commit), *_] = repository.tags.items()
    assert stranger.resolve(MODEL, tag, False).files.commit == commit
    assert stranger.resolve(MODEL, commit, False).files.commit == commit
    assert stranger.resolve(MODEL, None, False).files.commit != commit


def test_no_such_revision(stranger):
    said = refusal(lambda: stranger.resolve(MODEL, "v9", False))
    assert said.startswith(f"{MODEL} has no revision v9.")


def test_no_such_model_and_the_close_name(lab, member, stranger):
    said = refusal(lambda: member.resolve("openai/gpt-oss-120", None, False))
    assert said.startswith(f"There is no model openai/gpt-oss-120 on {lab.url}")
    assert said.endswith("Did you mean openai/gpt-oss-120b or openai/gpt-oss-20b?")
    said = refusal(lambda: stranger.resolve("lab/private", None, False))
    assert "a private one needs hfToken" in said


def test_gated_without_a_token(lab, stranger):
    assert stranger.resolve(GATED, None, False).gated, "what there is, is told to everybody"
    said = refusal(lambda: stranger.check_access(GATED))
    assert said.startswith(f"{GATED} is gated and there is no token. Accept its licence at {lab.url}/{GATED}")


def test_gated_and_not_accepted(lab, newcomer):
    said = refusal(lambda: newcomer.check_access(GATED))
    assert said.startswith(f"The token of hfToken has no access to {GATED}.")
    assert f"{lab.url}/{GATED}" in said
    found = newcomer.resolve(GATED, None, False).files
    assert "has no access" in refusal(lambda: newcomer.shape(found))


def test_gated_and_accepted(member):
    member.check_access(GATED)
    assert member.shape(member.resolve(GATED, None, False).files)["config"]["model_type"] == "llama"


def test_a_wrong_token_says_where_it_is_from_and_is_not_shown(lab):
    wrong = Hub(lab.url, Token("hf_wrongwrongwrong", "HF_TOKEN"))
    said = refusal(lambda: wrong.resolve(MODEL, None, False))
    assert said.startswith("The Hub does not accept the token of HF_TOKEN.")
    assert "hf_wrong" not in said + repr(wrong.token)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"kind": "status", "status": 503}, "failed with HTTP 503"),
        ({"kind": "rate_limit"}, "too many requests"),
        ({"kind": "status", "status": 500}, "failed with HTTP 500"),
    ],
)
def test_a_hub_in_trouble(lab, stranger, fault, said, monkeypatch):
    monkeypatch.setattr(hub, "LIMIT_MORE_S", 0.0)
    lab.faults.add({**fault, "place": "api"})
    assert said in refusal(lambda: stranger.resolve(MODEL, None, False), HubUnavailable)


@pytest.mark.parametrize(
    "fault", [{"kind": "rate_limit", "seconds": 1.0}, {"kind": "status", "status": 429, "retry_after": 1}]
)
def test_a_hub_that_asks_to_wait_is_asked_again(lab, monkeypatch, fault):
    """The lab refuses until the time is up."""
    monkeypatch.setattr(hub, "LIMIT_MORE_S", 0.1)
    told: list[str] = []
    asker = Hub(lab.url, ANYBODY, on_progress=told.append)
    lab.faults.add({**fault, "place": "api", "times": 1 if fault["kind"] == "status" else None})
    started = time.monotonic()
    assert asker.resolve(MODEL, None, False).files.model == MODEL
    assert time.monotonic() - started >= 1
    assert any("asks to wait 1 s" in line and "hfToken" in line for line in told)


@pytest.mark.parametrize("asked", [86400, "soon"])
def test_a_hub_that_asks_to_wait_too_long_or_not_at_all_is_given_up_at_once(lab, asked):
    lab.faults.add({"kind": "status", "status": 429, "retry_after": asked, "place": "api"})
    started = time.monotonic()
    told: list[str] = []
    asker = Hub(lab.url, ANYBODY, on_progress=told.append)
    said = refusal(lambda: asker.resolve(MODEL, None, False), HubUnavailable)
    assert "too many requests" in said
    assert ("86400" in said) == (asked == 86400)
    assert told == []
    assert time.monotonic() - started < 5


def test_a_silent_hub_is_given_up(lab):
    lab.faults.add({"kind": "silent", "seconds": 30, "place": "api"})
    started = time.monotonic()
    quick = Hub(lab.url, ANYBODY, timeout=0.5)
    said = refusal(lambda: quick.resolve(MODEL, None, False), HubUnavailable)
    assert "did not answer in time" in said
    assert time.monotonic() - started < 10


def test_a_hub_that_is_not_there(lab):
    nobody = Hub("http://127.0.0.1:9", ANYBODY)
    said = refusal(lambda: nobody.resolve(MODEL, None, False), HubUnavailable)
    assert said.startswith("The Hub (http://127.0.0.1:9) cannot be asked:")


def test_a_question_that_hangs_before_the_request_is_given_up():
    """A name service that does not answer is covered by no HTTP time-out."""
    with pytest.raises(TimeoutError):
        hub.within(0.05, lambda: time.sleep(1))


def test_offline_by_the_clients_own_variable(lab, stranger, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "yes")
    said = refusal(lambda: stranger.resolve(MODEL, None, False), HubUnavailable)
    assert said == "The Hub is not asked, as HF_HUB_OFFLINE is set."
    assert not lab.requests


@pytest.mark.parametrize(
    "name", ["openai/gpt-oss-120b", "nvidia/Qwen3-8B-FP4", "deepseek-ai/DeepSeek-V3", "google/gemma-3-1b-it"]
)
def test_shapes_are_what_the_headers_say(member, name):
    """Bytes by the ranged reads of the real client, for each kind of packing."""
    found = member.resolve(name, None, False).files
    known = member.shape(found)
    shards = sum(file.size for file in found.files if file.path.endswith(".safetensors"))
    assert 0 < shards - sum(known["tensors"].values()) < 400_000, "no more than the headers between them"
    assert known["config"]["num_hidden_layers"] == published(name).config["num_hidden_layers"]


def test_the_shape_of_a_model_of_true_size(lab, stranger):
    name = "Qwen/Qwen2.5-72B-Instruct"
    lab.requests.clear()
    found = stranger.resolve(name, None, False)
    known = stranger.shape(found.files)
    assert known["tensors"] == fit.collapse({t.name: t.size for t in of(published(name).config)})
    read = sum(request.get("sent", 0) for request in lab.requests)
    assert 0 < read < found.files.size / 1000, "headers alone"


@pytest.mark.parametrize("value", ["huggingface.co", "ftp://hub", "https://"])
def test_an_endpoint_that_is_none(monkeypatch, value):
    monkeypatch.setenv("HF_ENDPOINT", value)
    assert "HF_ENDPOINT is" in refusal(hub.endpoint)


def test_an_endpoint_with_a_password_is_refused_and_not_shown(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://me:canary@mirror.lan")
    said = refusal(hub.endpoint)
    assert said.startswith("HF_ENDPOINT holds a name or password")
    assert "canary" not in said


@pytest.mark.parametrize("body", ["<html>Please log in to this network</html>", "{}", "[]"])
def test_an_answer_that_is_not_the_hubs(lab, stranger, monkeypatch, body):
    """A portal of a hotel says 200 to everything."""
    text = Answer(200, {"Content-Type": "text/html"}, Given(body.encode()))
    monkeypatch.setattr(lab.routes, "hub", lambda *_args, **_more: text)
    refusal(lambda: stranger.resolve(MODEL, None, False), HubUnavailable)


def test_the_endpoint_of_the_environment(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.lan:8080/")
    assert hub.endpoint() == "http://mirror.lan:8080"
    monkeypatch.delenv("HF_ENDPOINT")
    assert hub.endpoint() == "https://huggingface.co"


def test_whose_token(monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_stored")
    assert hub.token(samples.settings(1, hfToken="hf_stack")).value == "hf_stack"
    assert hub.token(samples.settings(1, hfToken="hf_stack")).source == "hfToken"
    assert hub.token(samples.settings(1)).source == "`hf auth login`"
    monkeypatch.setenv("HF_TOKEN", "hf_stored")
    assert hub.token(samples.settings(1)).source == "HF_TOKEN"
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert hub.token(samples.settings(1)).value is None
    assert "hf_" not in repr(hub.token(samples.settings(1, hfToken="hf_stack")))
