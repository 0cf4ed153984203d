"""Inputs that are sets: a list without order."""

import json

from plugins.wire import Properties, Value, contains_unknown, revealed


def ordered(values: Properties, *names: str) -> Properties:
    """`values` with the lists of those names in one fixed order, and without doubles."""
    return {
        name: _sorted(value) if name in names and isinstance(value, list) else value
        for name, value in values.items()
    }


def _sorted(items: list[Value]) -> list[Value]:
    if contains_unknown(items):
        return items
    by_text = {json.dumps(revealed(item), sort_keys=True): item for item in items}
    return [by_text[text] for text in sorted(by_text)]
