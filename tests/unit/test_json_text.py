"""Edits of JSON text: what is asked for changes, every other byte stays."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remote.node import json_text

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.text(max_size=6), values, max_size=4)


def written(found, style: int) -> str:
    """A file as people and programs write it."""
    match style:
        case 0:
            return json.dumps(found)
        case 1:
            return json.dumps(found, separators=(",", ":"))
        case 2:
            return json.dumps(found, indent=2) + "\n"
        case _:
            return json.dumps(found, indent="\t").replace("\n", "\r\n") + "\r\n"


styles = st.integers(0, 3)


@settings(deadline=None)
@given(objects, styles, st.text(max_size=5), values)
def test_a_value_is_put_and_all_others_stay_in_their_order(found, style, key, value):
    new = json.loads(json_text.put(written(found, style), [key], value))
    assert new == {**found, key: value}
    assert list(new) == list({**found, key: value})


@settings(deadline=None)
@given(objects, styles, st.lists(st.text(max_size=5), min_size=1, max_size=3), values)
def test_objects_on_the_way_are_made(found, style, path, value):
    inner = found
    for key in path[:-1]:
        if key in inner and not isinstance(inner[key], dict):
            return
        inner = inner.get(key, {})
    new = json.loads(json_text.put(written(found, style), path, value))
    for key in path:
        new = new[key]
    assert new == value


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=6), values, min_size=1, max_size=4), styles, values)
def test_a_new_member_dropped_again_leaves_the_text_as_it_was(found, style, value):
    text = written(found, style)
    key = "".join(found) + "new"
    assert json_text.drop(json_text.put(text, [key], value), [key]) == text


@settings(deadline=None)
@given(objects, styles, st.data())
def test_dropping_takes_one_member(found, style, data):
    key = data.draw(st.sampled_from([*found, "absent"]))
    left = {name: value for name, value in found.items() if name != key}
    assert json.loads(json_text.drop(written(found, style), [key])) == left


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ('{\n  "debug": true\n}\n', '{\n  "debug": true,\n  "a": ["x"]\n}\n'),
        ('{"debug":true}', '{"debug":true,"a":["x"]}'),
        ('{"debug": true}', '{"debug": true, "a": ["x"]}'),
        ('{\n\t"b" : 1,\n\n\t"c" : 2 }', '{\n\t"b" : 1,\n\n\t"c" : 2,\n\n\t"a" : [\n\t\t"x"\n\t] }'),
        ("{}\n", '{\n    "a": [\n        "x"\n    ]\n}\n'),
    ],
)
def test_the_owners_style_is_kept(text, new):
    got = json_text.put(text, ["a"], ["x"])
    assert json.loads(got) == json.loads(new)
    assert got.replace('[\n    "x"\n  ]', '["x"]') == new


def test_of_a_repeated_key_the_last_counts():
    text = '{"a": 1, "a": 2}'
    assert json_text.put(text, ["a"], 3) == '{"a": 1, "a": 3}'


def test_nested_members_are_indented_as_their_neighbours():
    text = '{\n  "runtimes": {\n    "kata": {\n      "path": "/kata"\n    }\n  }\n}\n'
    assert json_text.put(text, ["runtimes", "nvidia"], {"path": "n"}) == (
        '{\n  "runtimes": {\n    "kata": {\n      "path": "/kata"\n    },\n'
        '    "nvidia": {\n      "path": "n"\n    }\n  }\n}\n'
    )
