"""What changed between two sets of inputs, as paths ("triggers[0]", "connection.host")."""

import re
from typing import Literal

from plugins.wire import Properties, Secret, Value, revealed

Kind = Literal["ADD", "DELETE", "UPDATE"]
PLAIN_NAME = re.compile(r"[A-Za-z_$][\w$]*")


def changes(old: Properties, new: Properties, secrecy: bool = False) -> dict[str, Kind]:
    """The leaves that differ, by path; the engine's own keys (`__…`, `version`) do not count.

    `secrecy`: whether a value that only became secret, or is no longer, counts as changed.
    """
    return dict(_object_changes("", _own(old), _own(new), secrecy))


def top_level(path: str) -> str:
    """The name of the property that `path` leads into."""
    found = PLAIN_NAME.match(path)
    return found[0] if found else path


def _own(values: Properties) -> Properties:
    return {
        key: value
        for key, value in values.items()
        if not key.startswith("__") and key != "version" and value is not None
    }


def _object_changes(path: str, old: Properties, new: Properties, secrecy: bool) -> list[tuple[str, Kind]]:
    found: list[tuple[str, Kind]] = []
    for key in sorted({*old, *new}):
        name = key if PLAIN_NAME.fullmatch(key) else f'["{key}"]'
        inner = f"{path}.{name}" if path and name == key else f"{path}{name}"
        if key not in new:
            found.append((inner, "DELETE"))
        elif key not in old:
            found.append((inner, "ADD"))
        else:
            found += _value_changes(inner, old[key], new[key], secrecy)
    return found


def _value_changes(path: str, old: Value, new: Value, secrecy: bool) -> list[tuple[str, Kind]]:
    if isinstance(old, Secret) or isinstance(new, Secret):
        # A path into a secret would tell which part of it changed.
        same = old == new if secrecy else revealed(old) == revealed(new)
        return [] if same else [(path, "UPDATE")]
    if isinstance(old, dict) and isinstance(new, dict):
        return _object_changes(path, old, new, secrecy)
    if isinstance(old, list) and isinstance(new, list):
        return _list_changes(path, old, new, secrecy)
    return [] if old == new else [(path, "UPDATE")]


def _list_changes(path: str, old: list[Value], new: list[Value], secrecy: bool) -> list[tuple[str, Kind]]:
    found: list[tuple[str, Kind]] = []
    for index in range(max(len(old), len(new))):
        inner = f"{path}[{index}]"
        if index >= len(new):
            found.append((inner, "DELETE"))
        elif index >= len(old):
            found.append((inner, "ADD"))
        else:
            found += _value_changes(inner, old[index], new[index], secrecy)
    return found
