"""The events of a streamed response."""

import json

import pytest

from lab.engine.tensorrt_llm.generation import Token
from lab.engine.tensorrt_llm.serve import answers, body, errors
from lab.engine.tensorrt_llm.serve.response_events import Events, Reply

ASKED = {"model": "any", "input": "hi", "max_output_tokens": 2, "instructions": "Be kind."}


def streamed(*tokens):
    """(kind, document) of each event."""
    events = Events(Reply(ASKED, "the/model", answers.Usage(3, {0: len(tokens)})))
    text = events.first() + "".join(events.token(0, token) for token in tokens) + events.last()
    pairs = [event.split("\n") for event in text.removesuffix("\n\n").split("\n\n")]
    return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in pairs]


def kinds(events):
    return [kind.removeprefix("response.") for kind, _ in events]


def test_an_answer_that_ends_by_itself():
    events = streamed(Token("hi"), Token(" you", "stop"))
    assert kinds(events) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [document["sequence_number"] for _, document in events] == list(range(10))
    assert all(kind == document["type"] for kind, document in events)
    begun, done = events[0][1]["response"], events[-1][1]["response"]
    assert (begun["status"], begun["output"], begun["usage"]) == ("in_progress", [], None)
    assert (done["status"], done["model"], done["instructions"]) == ("completed", "the/model", "Be kind.")
    assert (done["max_output_tokens"], done["top_p"], done["tools"]) == (2, 1.0, [])
    assert done["output"][0]["content"][0]["text"] == events[6][1]["text"] == "hi you"
    assert (done["usage"]["input_tokens"], done["usage"]["output_tokens"]) == (3, 2)
    assert done["id"] == begun["id"]


def test_the_last_piece_of_an_answer_that_is_cut_comes_in_an_item_of_its_own():
    events = streamed(Token("hi"), Token(" you", "length"))
    assert kinds(events)[4:] == [
        "output_text.delta", "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "completed",
    ]  # fmt: skip
    assert [document["output_index"] for _, document in events if "delta" in document] == [0, 1]
    assert events[5][1]["text"] == "hi you"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": {"id": "x"}}, "prompt template is not supported"),
        ({"background": True, "store": False}, "when `store` is true"),
    ],
)
def test_what_a_response_cannot_be_asked(fields, said):
    with pytest.raises(errors.Invalid, match=said):
        body.parse(json.dumps({**ASKED, **fields}).encode(), body.RESPONSES, ("model", "input"))
    tools = {"tools": [], "tool_choice": "auto", "top_logprobs": 2}  # a chat would be refused
    body.parse(json.dumps({**ASKED, **tools}).encode(), body.RESPONSES, ("model", "input"))
