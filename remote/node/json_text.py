"""Edits of a JSON object's text by key: everything else of the text stays as it is, byte for byte.

A path is a list of keys from the outermost object inwards. Of a repeated key the last one counts, as
for Docker and for Python. The text must be valid JSON with an object at its top.
"""

import json

_SPACE = " \t\r\n"


def members(text, start):
    """[(key, its start, its value's start, the value's end), …] of the object that begins at `start`."""
    found = []
    at = _skip(text, start + 1)
    while text[at] == '"':
        key, end = json.JSONDecoder().raw_decode(text, at)
        value = _skip(text, _skip(text, end) + 1)
        _, after = json.JSONDecoder().raw_decode(text, value)
        found.append((key, at, value, after))
        at = _skip(text, after)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def put(text, path, value):
    """The text with `value` at `path`; objects on the way are made where they are missing."""
    start = _skip(text, 0)
    for depth, key in enumerate(path):
        there = _last(members(text, start), key)
        if there is None:
            for name in reversed(path[depth + 1 :]):
                value = {name: value}
            return _inserted(text, start, key, value, depth)
        start = there[2]
    line = text[text.rfind("\n", 0, there[1]) + 1 : there[1]]
    indent = line if not line.strip() else ""
    shown = _dumped(value, text[start : there[3]], indent, len(path))
    return text[:start] + shown + text[there[3] :]


def drop(text, path):
    """The text without the member at `path`, with the comma and the space that belong to it."""
    start = _skip(text, 0)
    for key in path[:-1]:
        there = _last(members(text, start), key)
        if there is None:
            return text
        start = there[2]
    listed = members(text, start)
    place = next((n for n in reversed(range(len(listed))) if listed[n][0] == path[-1]), None)
    if place is None:
        return text
    if place:
        return text[: listed[place - 1][3]] + text[listed[place][3] :]
    if len(listed) > 1:
        return text[: listed[0][1]] + text[listed[1][1] :]
    return text[: start + 1] + text[_skip(text, listed[0][3]) :]


def _inserted(text, start, key, value, depth):
    """The text with a new member at the end of the object at `start`, in the style of its others."""
    listed = members(text, start)
    if not listed:
        close = _skip(text, start + 1)
        if depth:
            return text[: start + 1] + json.dumps(key) + ": " + json.dumps(value) + text[close:]
        shown = json.dumps(key) + ": " + _dumped(value, "\n", "    ", 1)
        return text[: start + 1] + "\n    " + shown + "\n" + text[close:]
    _, first, _, _ = listed[0]
    _, last, last_value, last_end = listed[-1]
    if len(listed) > 1:
        between = text[text.index(",", listed[-2][3]) + 1 : last]
    else:
        between = text[start + 1 : first]
        if "\n" not in between:
            between = " " if text[last_value - 1] == " " else ""
    colon = text[json.JSONDecoder().raw_decode(text, last)[1] : last_value]
    shown = _dumped(value, between, between.rpartition("\n")[2], depth + 1)
    return text[:last_end] + "," + between + json.dumps(key) + colon + shown + text[last_end:]


def _dumped(value, like, indent, depth):
    """JSON of `value`, on several lines where the text `like` has several: `indent` is its line's, which
    stands `depth` objects deep.
    """
    if "\n" not in like:
        return json.dumps(value)
    unit = indent[: len(indent) // depth] or "    "
    newline = "\r\n" if "\r\n" in like else "\n"
    return json.dumps(value, indent=unit).replace("\n", newline + indent)


def _last(listed, key):
    return next((one for one in reversed(listed) if one[0] == key), None)


def _skip(text, at):
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at
