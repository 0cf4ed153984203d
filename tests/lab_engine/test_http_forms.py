"""The JSON of requests, answers and stream chunks."""

import json

import pytest

from lab.engine.tensorrt_llm.generation import Token
from lab.engine.tensorrt_llm.serve import answers, body, errors, prompt
from lab.engine.tensorrt_llm.serve.metrics import Metrics

HEAD = answers.Head("chatcmpl-1", 7, "any")
MESSAGES = [{"role": "user", "content": "hi"}]


def parsed(document, fields=body.CHAT, required=("model", "messages")):
    return body.parse(json.dumps(document).encode(), fields, required)


def data(chunk):
    return json.loads(chunk.removeprefix("data: "))


def test_a_request_and_its_nulls():
    given = parsed({"model": "m", "messages": MESSAGES, "max_tokens": 3, "stop": None})
    assert given == {"model": "m", "messages": MESSAGES, "max_tokens": 3}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"messages": MESSAGES}, "'loc': ('body', 'model'), 'msg': 'Field required'"),
        ({"model": "m", "messages": MESSAGES, "parallel_tool_calls": True}, "Extra inputs are not permitted"),
        ({"model": "m", "messages": "hi"}, "Input should be a valid list"),
        ({"model": "m", "messages": MESSAGES, "max_tokens": "3"}, "Input should be a valid integer"),
        ({"model": "m", "messages": MESSAGES, "n": True}, "Input should be a valid integer"),
        ({"model": "m", "messages": MESSAGES, "stream_options": {}}, "can only be set if stream is true"),
        ({"model": "m", "messages": MESSAGES, "tool_choice": "auto"}, "`tools` must be set"),
        ([1], "valid dictionary"),
    ],
)
def test_a_request_that_does_not_fit(document, said):
    with pytest.raises(errors.Invalid) as caught:
        parsed(document)
    assert said in str(caught.value)


def test_not_json():
    with pytest.raises(errors.Invalid, match="JSON decode error"):
        body.parse(b"{", body.CHAT, ("model",))


def test_two_forms_of_refusal(monkeypatch):
    error = errors.Invalid([{"type": "missing"}])
    assert errors.document(error) == {"error": "[{'type': 'missing'}]"}
    flat = {"object": "error", "type": "BadRequestError", "param": None, "code": 400}
    assert errors.document(errors.Refused("no")) == {**flat, "message": "no"}
    monkeypatch.setenv("TRT_LLM_VERSION", "1.2.0rc4")
    assert errors.document(error) == {**flat, "message": "[{'type': 'missing'}]"}


def test_a_chat_answer():
    usage = answers.Usage(4, {0: 2})
    document = answers.chat_answer(HEAD, [answers.Text("hi you", "stop", None)], usage)
    assert (document["object"], document["id"], document["model"]) == ("chat.completion", "chatcmpl-1", "any")
    choice = document["choices"][0]
    assert choice["message"]["content"] == "hi you"
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", None)
    assert document["usage"] == {
        "prompt_tokens": 4,
        "total_tokens": 6,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def test_the_role_comes_alone_with_a_blank_behind():
    chunk = answers.chat_role_chunk(HEAD, 0, None)
    assert chunk.endswith("} \n\n")
    assert data(chunk)["choices"] == [{"index": 0, "delta": {"role": "assistant"}}]
    assert "usage" not in data(chunk)


def test_chunks_leave_nulls_out_and_the_last_has_the_reason():
    first = data(answers.chat_chunk(HEAD, 0, Token("hi"), None))["choices"][0]
    assert (first["delta"], "finish_reason" in first) == ({"content": "hi", "reasoning_content": ""}, False)
    last = data(answers.chat_chunk(HEAD, 0, Token(" x", "stop", "x"), answers.Usage(1, {0: 2})))
    assert (last["choices"][0]["finish_reason"], last["choices"][0]["stop_reason"]) == ("stop", "x")
    assert last["usage"]["completion_tokens"] == 2


def test_completion_chunks_keep_nulls():
    chunk = data(answers.completion_chunk(HEAD, 0, Token("hi"), None))
    assert chunk["object"] == "text_completion"
    assert (chunk["usage"], chunk["choices"][0]["finish_reason"]) == (None, None)


def test_the_totals_before_the_end():
    chunk = data(answers.usage_chunk(HEAD, "text_completion", answers.Usage(1, {0: 2, 1: 3})))
    assert (chunk["choices"], chunk["usage"]["completion_tokens"]) == ([], 5)


@pytest.mark.parametrize(
    ("version", "options", "every_chunk"),
    [
        ("1.3.0rc5", None, False),
        ("1.3.0rc5", {}, False),
        ("1.3.0rc5", {"continuous_usage_stats": True}, True),
        ("1.2.0rc4", {}, True),
        ("1.2.0rc4", None, False),
    ],
)
def test_usage_in_every_chunk(monkeypatch, version, options, every_chunk):
    monkeypatch.setenv("TRT_LLM_VERSION", version)
    assert answers.continuous_usage(options) is every_chunk


def test_the_prompt_of_a_chat():
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    ]
    assert prompt.render(messages) == "system: Be kind.\nuser: hi\nassistant:"
    with pytest.raises(errors.Refused, match="Only text"):
        prompt.render([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])


def test_metrics():
    metrics = Metrics()
    args = {"enable_iter_perf_stats": True, "max_batch_size": 8, "max_num_tokens": 64}
    record = metrics.begin(1)
    record.token(args)
    record.token(args)
    record.finished("length", 5)
    assert [item["iter"] for item in metrics.drain()] == [1, 2]
    assert metrics.drain() == []
    assert metrics.active == 0
    assert 'request_success_total{finished_reason="length"' in metrics.prometheus("m", "trtllm_")
    timings = metrics.drain_timings(10)
    assert timings[0]["perf_metrics"]["last_iter"] == 2
    assert metrics.drain_timings(10) == []
