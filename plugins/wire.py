"""Property values between the engine's messages and plain Python.

A property is None, bool, float, str, list, dict, `Secret(value)` or `UNKNOWN` (a value that only
the operation itself will know, during a preview).
"""

import json
from dataclasses import dataclass
from typing import Any

from google.protobuf import struct_pb2  # type: ignore[import-untyped]  # no stubs here

# Fixed by the protocol: the key that marks a wrapped value, and what each mark means.
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"
OUTPUT_SIGNATURE = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
UNKNOWN_VALUES = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",  # string
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
    }
)
ANY_UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"

# One property: any of the shapes above, nested; the type checker cannot say more.
Value = Any
Properties = dict[str, Value]


class _Unknown:
    """The type of UNKNOWN."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()


@dataclass(frozen=True)
class Secret:
    """A value that must not be shown, and is encrypted in state."""

    value: Value

    def __repr__(self) -> str:
        return "Secret(…)"


def properties(message: struct_pb2.Struct) -> Properties:
    """The properties in `message`."""
    return {key: _decoded(value) for key, value in message.fields.items()}


def struct(values: Properties) -> struct_pb2.Struct:
    """The message for `values`; a property that is None is left out."""
    return struct_pb2.Struct(
        fields={key: _encoded(value) for key, value in values.items() if value is not None}
    )


def revealed(value: Value) -> Value:
    """`value` without any wrapping of secrets, at any depth."""
    if isinstance(value, Secret):
        return revealed(value.value)
    if isinstance(value, dict):
        return {key: revealed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [revealed(item) for item in value]
    return value


def contains_unknown(value: Value) -> bool:
    """Whether any part of `value` is not known yet."""
    plain = revealed(value)
    if isinstance(plain, dict):
        return any(contains_unknown(item) for item in plain.values())
    if isinstance(plain, list):
        return any(contains_unknown(item) for item in plain)
    return plain is UNKNOWN


def contains_secret(value: Value) -> bool:
    """Whether any part of `value` is a secret."""
    if isinstance(value, dict):
        return any(contains_secret(item) for item in value.values())
    if isinstance(value, list):
        return any(contains_secret(item) for item in value)
    return isinstance(value, Secret)


def from_json(text: str) -> Value:
    """A property that came as JSON text: how values that are no strings travel in configuration."""
    return _from_plain(json.loads(text))


def go_json(value: Value) -> str:
    """JSON text as Go's json.Marshal writes it: no blanks, sorted keys, and HTML's characters escaped."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _decoded(value: struct_pb2.Value) -> Value:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _unwrapped(properties(value.struct_value))
    if kind == "list_value":
        return [_decoded(item) for item in value.list_value.values]
    if kind == "string_value":
        return UNKNOWN if value.string_value in UNKNOWN_VALUES else value.string_value
    if kind == "null_value" or kind is None:
        return None
    return getattr(value, kind)


def _from_plain(value: Value) -> Value:
    if isinstance(value, dict):
        return _unwrapped({key: _from_plain(item) for key, item in value.items()})
    if isinstance(value, list):
        return [_from_plain(item) for item in value]
    if isinstance(value, str) and value in UNKNOWN_VALUES:
        return UNKNOWN
    return value


def _unwrapped(fields: Properties) -> Value:
    signature = fields.get(SIGNATURE)
    if signature == SECRET_SIGNATURE:
        return Secret(fields.get("value"))
    if signature == OUTPUT_SIGNATURE:
        value = fields.get("value", UNKNOWN)
        return Secret(value) if fields.get("secret") else value
    return fields


def _encoded(value: Value) -> struct_pb2.Value:
    if isinstance(value, Secret):
        wrapped = {"value": _encoded(value.value)}
        wrapped[SIGNATURE] = struct_pb2.Value(string_value=SECRET_SIGNATURE)
        return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=wrapped))
    if value is UNKNOWN:
        return struct_pb2.Value(string_value=ANY_UNKNOWN)
    if value is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, int | float):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    if isinstance(value, dict):
        return struct_pb2.Value(struct_value=struct(value))
    return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_encoded(item) for item in value]))
