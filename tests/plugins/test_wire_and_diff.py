"""Values on the wire, what changed between two sets of inputs, and how a Go program quotes."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.command.gostring import quoted
from plugins.diff import changes, top_level
from plugins.docker.sets import ordered
from plugins.wire import (
    ANY_UNKNOWN,
    SIGNATURE,
    UNKNOWN,
    Secret,
    contains_secret,
    contains_unknown,
    from_json,
    properties,
    revealed,
    struct,
)

ROOT = Path(__file__).resolve().parents[2]
keys = st.text(min_size=1).filter(lambda key: key != SIGNATURE)
leaves = st.none() | st.booleans() | st.floats(allow_nan=False) | st.text() | st.just(UNKNOWN)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(keys, inner.filter(lambda value: value is not None))
        | inner.map(Secret)
    ),
    max_leaves=12,
)
inputs = st.dictionaries(keys, values.filter(lambda value: value is not None), max_size=5)


@given(inputs)
def test_properties_survive_the_wire(value):
    assert properties(struct(value)) == value


@given(inputs)
def test_nothing_changes_between_equals(value):
    assert changes(value, properties(struct(value))) == {}


@given(inputs)
def test_revealed_has_no_secret(value):
    assert not contains_secret(revealed(value))
    assert contains_unknown(revealed(value)) == contains_unknown(value)


def test_json_text_may_hold_marks():
    secret = f'{{"{SIGNATURE}": "1b47061264138c4ac30d75fd1eb44270", "value": ["x"]}}'
    assert from_json(secret) == Secret(["x"])
    assert from_json(f'["{ANY_UNKNOWN}"]') == [UNKNOWN]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, {"b": "ADD"}),
        ({"a": 1}, {}, {"a": "DELETE"}),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, {"a.b": "UPDATE"}),
        ({"a": {"b c": 1}}, {"a": {"b c": 2}}, {'a["b c"]': "UPDATE"}),
        ({"a": [1, 2]}, {"a": [1]}, {"a[1]": "DELETE"}),
        ({"a": [1]}, {"a": [{"b": 1}, 2]}, {"a[0]": "UPDATE", "a[1]": "ADD"}),
        ({"a": Secret({"b": 1})}, {"a": Secret({"b": 2})}, {"a": "UPDATE"}),
        ({"a": Secret("x")}, {"a": "x"}, {}),
        ({"a": "x"}, {"a": UNKNOWN}, {"a": "UPDATE"}),
        ({"a": 1, "__defaults": []}, {"a": 1, "version": "2"}, {}),
    ],
)
def test_paths_of_what_changed(old, new, expected):
    assert changes(old, new) == expected


@pytest.mark.parametrize("path", ["a", "a.b", "a[0]", 'a["b c"].d'])
def test_the_property_a_path_leads_into(path):
    assert top_level(path) == "a"


def test_sets_have_no_order_and_no_doubles():
    assert ordered({"s": ["b", "a", "b"], "l": ["b", "a"]}, "s") == {"s": ["a", "b"], "l": ["b", "a"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("echo hi", '"echo hi"'),
        ('a "b"\n\\c\t', '"a \\"b\\"\\n\\\\c\\t"'),
        ("\x00\x7f", '"\\x00\\x7f"'),
        ("größe …", '"größe …"'),
        ("\u200b\U000e0001", '"\\u200b\\U000e0001"'),
    ],
)
def test_quotation(text, expected):
    assert quoted(text) == expected


@pytest.mark.parametrize("plugin", ["command", "docker"])
def test_a_plugin_starts_without_the_sdk(plugin):
    """Start-up is paid on every `up`, once a provider: the SDK alone takes longer than the rest."""
    site = next((ROOT / ".venv").glob("lib/python3.*/site-packages"))
    script = (
        "import sys, plugins.start as s; s.prepare(sys.argv[1]); import importlib;"
        f"importlib.import_module(s.PLUGINS[{plugin!r}]);"
        "print(*[m for m in sys.modules if m.startswith(('pulumi', 'http', 'tempfile', 'ssl'))])"
    )
    argv = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {script}"]
    shown = subprocess.run([*argv, str(site)], capture_output=True, text=True, check=True).stdout
    loaded = set(shown.split())
    assert "pulumi.runtime.proto.provider_pb2" in loaded
    assert not {"pulumi.resource", "pulumi.runtime.settings", "http.client", "tempfile"} & loaded
