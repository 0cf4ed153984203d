"""What binds an answer, by release: formats, tools, logprobs; and what llama-benchy sends."""

import json
import math
from types import SimpleNamespace

import pytest

from lab.engine.tensorrt_llm.generation import Token
from lab.engine.tensorrt_llm.serve import answers, body, constraints, errors, logprobs

HEAD = answers.Head("chatcmpl-1", 7, "any")
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
NAMED = {"type": "function", "function": {"name": "look"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
BENCHY = {**CHAT, "max_tokens": 32, "stream": True, "stream_options": {"include_usage": True}}
"""The body of every measured request of llama-benchy 0.3.0 to 0.3.5; later ones add return_token_ids."""


def model(harmony=False, **args):
    return SimpleNamespace(
        args=args,
        harmony=harmony,
        opening="I am simulated",
        tokenizer=SimpleNamespace(words=["red", "green", "blue", "grey"]),
    )


def parsed(**fields):
    return body.parse(json.dumps({**CHAT, **fields}).encode(), body.CHAT, ("model", "messages"))


@pytest.mark.parametrize("version", ["1.2.0rc4", "1.2.1", "1.3.0rc5", "1.3.0rc13", "1.3.0rc22", "1.4.0rc1"])
def test_llama_benchy(monkeypatch, version):
    """No release knows return_token_ids, not even as null; --no-cache's cache_prompt neither."""
    monkeypatch.setenv("TRT_LLM_VERSION", version)
    assert parsed(**BENCHY)["max_tokens"] == 32
    assert parsed(**BENCHY, min_tokens=32, ignore_eos=True)["ignore_eos"] is True  # --exact-tg
    for extra in ({"return_token_ids": True}, {"return_token_ids": None}, {"cache_prompt": False}):
        with pytest.raises(errors.Invalid, match="Extra inputs are not permitted") as caught:
            parsed(**BENCHY, **extra)
        assert f"('body', '{next(iter(extra))}')" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"response_format": {"type": "yaml"}}, "Input should be 'text', 'json', 'json_schema'"),
        ({"response_format": {}}, "('body', 'response_format', 'type'), 'msg': 'Field required'"),
        ({"response_format": {"type": "text", "strict": True}}, "('body', 'response_format', 'strict')"),
        ({"tools": [TOOL], "tool_choice": "required"}, "Input should be 'none' or 'auto'"),
        ({"tools": [TOOL], "tool_choice": {"function": {}}}, "'function', 'name')"),
        ({"tools": [TOOL], "tool_choice": {"name": "look"}}, "'function'), 'msg': 'Field required'"),
        ({"tools": [{"type": "web"}]}, "Input should be 'function'"),
        ({"tools": ["look"]}, "valid dictionary or object"),
        ({"tools": [{"function": {"name": "look", "strict": True}}]}, "'function', 'strict')"),
        ({"logprobs": True, "top_logprobs": -1}, "top_logprobs must be positive or zero"),
        ({"top_logprobs": 2}, "logprobs must be true"),
    ],
)
def test_a_wish_that_does_not_fit(fields, said):
    with pytest.raises(errors.Invalid) as caught:
        parsed(**fields)
    assert said in str(caught.value)


@pytest.mark.parametrize("wanted", [{"type": "json_object"}, SCHEMA, {"type": "regex", "regex": "a+"}])
@pytest.mark.parametrize("version", ["1.2.1", "1.3.0rc5", "1.3.0rc9"])
def test_without_a_guided_decoder_a_format_is_dropped(monkeypatch, version, wanted):
    monkeypatch.setenv("TRT_LLM_VERSION", version)
    constraints.check_format(model(), parsed(response_format=wanted)["response_format"])


@pytest.mark.parametrize(
    ("version", "args", "wanted", "said"),
    [
        (
            "1.3.0rc5",
            {"guided_decoding_backend": "xgrammar"},
            {"type": "json_object"},
            "guided decoder const",
        ),
        ("1.3.0rc13", {}, SCHEMA, "without a guided decoder"),
        ("1.3.0rc5", {}, {"type": "json_schema"}, r"response_format\.json_schema is required"),
        ("1.3.0rc5", {}, {"type": "json"}, r"schema is required for response_format\.type == 'json'"),
    ],
)
def test_a_format_that_is_refused(monkeypatch, version, args, wanted, said):
    monkeypatch.setenv("TRT_LLM_VERSION", version)
    with pytest.raises(errors.Refused, match=said):
        constraints.check_format(model(**args), parsed(response_format=wanted)["response_format"])
    constraints.check_format(model(**args), {"type": "text"})
    constraints.check_format(model(**args), None)


def test_a_named_function_gets_the_whole_text():
    name = constraints.named_function(model(), parsed(tools=[TOOL], tool_choice=NAMED))
    assert name == "look"
    form = answers.Form(function=name)
    document = answers.chat_answer(HEAD, [answers.Text("hi you", "stop", None)], answers.Usage(4), form)
    choice = document["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "stop")
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "look", "arguments": "hi you"}
    chunk = json.loads(answers.chat_chunk(HEAD, 0, Token("hi"), None, form)[6:])
    call = {"type": "function", "index": 0, "function": {"name": "look", "arguments": "hi"}}
    assert chunk["choices"][0]["delta"] == {"tool_calls": [call]}


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_a_tool_that_later_releases_would_force(monkeypatch, choice):
    monkeypatch.setenv("TRT_LLM_VERSION", "1.3.0rc22")
    with pytest.raises(errors.Refused, match="not simulated: "):
        constraints.named_function(model(), parsed(tools=[TOOL], tool_choice=choice))


def test_tools_that_bind_nothing():
    for choice in ({}, {"tool_choice": "none"}, {"tool_choice": "auto"}):
        assert constraints.named_function(model(harmony=True), parsed(tools=[TOOL], **choice)) is None
    with pytest.raises(errors.Refused, match="gpt-oss"):
        constraints.named_function(model(harmony=True), parsed(tools=[TOOL], tool_choice=NAMED))


def test_logprobs_of_a_chat():
    assert logprobs.of_chat(model(), parsed()) is None
    odds = logprobs.of_chat(model(), parsed(logprobs=True))
    form = answers.Form(odds)
    text = answers.Text("I am simulated red", "length", None, ("I", " am", " simulated", " red"))
    whole = answers.chat_answer(HEAD, [text], answers.Usage(4), form)["choices"][0]["logprobs"]["content"]
    assert [entry["logprob"] for entry in whole] == [0.0, 0.0, 0.0, -math.log(4)]
    assert whole[3] == {"token": " red", "logprob": -math.log(4), "bytes": [32, 114, 101, 100],
                        "top_logprobs": None}  # fmt: skip
    last = json.loads(answers.chat_chunk(HEAD, 0, Token(" red", "length"), None, form, 3)[6:])
    assert [{**entry, "top_logprobs": None} for entry in last["choices"][0]["logprobs"]["content"]] == whole[
        3:
    ]


def test_the_likeliest_others():
    odds = logprobs.of_chat(model(), parsed(logprobs=True, top_logprobs=3))
    sure, drawn = odds.chat(2, [" simulated", " green"])["content"]
    assert [(entry["token"], entry["logprob"]) for entry in sure["top_logprobs"]] == [
        (" simulated", 0.0),
        (" red", logprobs.NEVER),
        (" green", logprobs.NEVER),
    ]
    assert [entry["token"] for entry in drawn["top_logprobs"]] == [" green", " red", " blue"]
    assert {entry["logprob"] for entry in drawn["top_logprobs"]} == {-math.log(4)}


def test_logprobs_of_a_completion(monkeypatch):
    odds = logprobs.of_completion(model(), {"logprobs": 2})
    document = odds.completion(0, [" red", " green"], 5)
    assert (document["tokens"], document["text_offset"]) == ([" red", " green"], [5, 11])
    assert document["token_logprobs"] == [-math.log(4)] * 2
    assert [set(entry) for entry in document["top_logprobs"]] == [{" red", " green"}, {" red", " green"}]
    assert logprobs.of_completion(model(), {"logprobs": 0}) is None
    monkeypatch.setenv("TRT_LLM_VERSION", "1.2.0rc4")
    with pytest.raises(errors.Refused, match="logprobs is not supported"):
        logprobs.of_completion(model(), {"logprobs": 1})
    with pytest.raises(errors.Refused, match="top_logprobs"):
        logprobs.of_chat(model(), {"logprobs": True, "top_logprobs": 2})


def test_logprobs_of_gpt_oss():
    assert logprobs.of_chat(model(harmony=True), {"logprobs": True}) is None
    with pytest.raises(errors.Refused, match="gather_generation_logits"):
        logprobs.of_chat(model(harmony=True), {"logprobs": True, "top_logprobs": 1})
