"""What binds an answer, asked of the server as it runs; the rules are tested in test_constraints."""

import json
import os

import pytest

from tests.lab_engine.test_in_image import CHAT, QWEN, chunks, drive, roots, serve  # noqa: F401  # fixtures

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="chroot and namespaces need root"),
]
RESPONSES = "/v1/responses"


def test_wishes_that_bind_an_answer(drive):  # noqa: F811
    user = {"model": "any", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    tool = {"type": "function", "function": {"name": "look"}}
    stream = {**user, "stream": True}
    asks = [
        ["POST", CHAT, {**user, "response_format": {"type": "json_object"}}],
        ["POST", CHAT, {**user, "response_format": {"type": "json_schema"}}],
        ["POST", CHAT, {**user, "tools": [tool], "tool_choice": tool}],
        ["POST", CHAT, {**user, "tools": [tool], "tool_choice": "required"}],
        ["POST", CHAT, {**stream, "return_token_ids": True}],
        ["POST", CHAT, {**stream, "logprobs": True, "top_logprobs": 2}],
        ["POST", "/v1/completions", {"model": "any", "prompt": "hi", "max_tokens": 3, "logprobs": 1}],
        ["POST", CHAT, {**user, "prompt_token_ids": [5, 6, 7]}],
        ["POST", RESPONSES, {"model": "any", "input": "hi", "stream": True, "max_output_tokens": 4}],
        ["POST", RESPONSES, {"model": "any", "input": "hi", "previous_response_id": "resp_1"}],
        ["POST", RESPONSES, {"model": "any", "input": "hi", "prompt": {"id": "x"}}],
    ]
    seen = drive(serve(QWEN), asks)
    answers = iter(seen["answers"])
    status, _, body = next(answers)
    free = json.loads(body)["choices"][0]["message"]["content"]
    assert (status, free) == (200, "I am Qwen/")  # no decoder: text as ever
    status, _, body = next(answers)
    assert (status, "response_format.json_schema is required" in json.loads(body)["message"]) == (400, True)
    message = json.loads(next(answers)[2])["choices"][0]["message"]
    assert message["tool_calls"][0]["function"] == {"name": "look", "arguments": free}
    for said in ("Input should be 'none' or 'auto'", "('body', 'return_token_ids')"):
        status, _, body = next(answers)
        assert (status, said in json.loads(body)["error"]) == (400, True)
    told = [part["choices"][0]["logprobs"]["content"][0] for part in chunks(next(answers)[2])[1:]]
    assert "".join(entry["token"] for entry in told) == free
    assert {(entry["logprob"], len(entry["top_logprobs"])) for entry in told} == {(0.0, 2)}
    told = json.loads(next(answers)[2])["choices"][0]["logprobs"]
    assert (len(told["tokens"]), len(set(told["token_logprobs"]))) == (3, 1)
    assert json.loads(next(answers)[2])["usage"]["prompt_tokens"] == 3
    _, kind, stream = next(answers)
    assert (kind.split(";")[0], "[DONE]" in stream) == ("text/event-stream", False)
    events = chunks(stream)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert "".join(event["delta"] for event in events if "delta" in event) == free
    done = events[-1]["response"]
    assert (done["output"][0]["content"][0]["text"], done["usage"]["output_tokens"]) == (free, 4)
    assert (done["model"], done["id"]) == (QWEN, events[0]["response"]["id"])
    assert next(answers)[0] == 404
    assert "prompt template is not supported" in next(answers)[2]
