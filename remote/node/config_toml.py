"""The line `swarm-resource` in the NVIDIA runtime's config.toml, as an edit of one line. Pure.

Swarm tells a task its GPU in DOCKER_RESOURCE_NVIDIA_GPU; the runtime looks there when this line names it. The
suggestion in NVIDIA's file, DOCKER_RESOURCE_GPU, never matches, and a line with exactly that value is turned
into a comment again by the toolkit's next update (`nvidia-ctk config --in-place`, which also drops all
comments: it is not used here). Several names may stand in one value, "A,B".
"""

import re

from remote.node import stop

try:
    import tomllib
except ImportError:  # Python 3.10
    tomllib = None  # type: ignore[assignment]

OURS = "DOCKER_RESOURCE_NVIDIA_GPU"
LINE = 'swarm-resource = "%s"' % OURS
_KEY = r"(?:swarm-resource|\"swarm-resource\"|'swarm-resource')"
_SET = re.compile(
    r"(?P<head>[ \t]*%s[ \t]*=[ \t]*)(?P<quote>[\"'])(?P<value>[^\"'\\]*)(?P=quote)(?P<tail>[ \t]*(?:\#.*)?)"
    % _KEY
)
_COMMENTED = re.compile(r"[ \t]*#[ \t#]*%s[ \t]*=.*" % _KEY)
_TABLE = re.compile(r"[ \t]*\[")


def merged(text, path):
    """(the text with our name in its swarm-resource, the line that was there or None)."""
    before = _parsed(text, path)
    if OURS in names(text):
        return text, None
    place = _place(text)
    if place is None:
        newline = "\r\n" if "\r\n" in text else "\n"
        new, was = LINE + newline + text, None
    else:
        was = text[slice(*place)]
        new = text[: place[0]] + _with_ours(was) + text[place[1] :]
    _verify(new, before, path)
    return new, was


def taken_back(text, path, was):
    """The text without our name: the line that `was` there where nothing else is in ours by now."""
    before, place = _parsed(text, path), _place(text)
    line = text[slice(*place)] if place else ""
    # Somebody may have made a comment of it: nobody but us wrote that name there.
    commented = _COMMENTED.fullmatch(line) is not None and OURS in line
    if OURS not in names(text) and not commented:
        return text
    others = [name for name in names(text) if name != OURS]
    if was is not None and (commented or others == _names(was)):
        return text[: place[0]] + was + text[place[1] :]
    found = _SET.fullmatch(line)
    if others and found:
        value = found["quote"] + ",".join(others) + found["quote"]
        new = text[: place[0]] + found["head"] + value + found["tail"] + text[place[1] :]
        _verify(new, before, path, others)
        return new
    end = place[1]
    while end < len(text) and text[end] in "\r\n":
        end += 1
        if text[end - 1] == "\n":
            break
    return text[: place[0]] + text[end:]


def names(text):
    """The variables that the text's swarm-resource names; [] when it is not set."""
    place = _place(text)
    return _names(text[slice(*place)]) if place else []


def _names(line):
    found = _SET.fullmatch(line)
    return [name.strip() for name in found["value"].split(",") if name.strip()] if found else []


def _with_ours(line):
    found = _SET.fullmatch(line)
    if found is None:
        return LINE
    value = ",".join(_names(line) + [OURS])
    return found["head"] + found["quote"] + value + found["quote"] + found["tail"]


def _place(text):
    """(start, end) of the line to edit, without its end: the set one, else the commented one; or None.

    Only what stands before the first table is at the top level.
    """
    commented, at = None, 0
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        if _TABLE.match(bare):
            break
        if _SET.fullmatch(bare):
            return at, at + len(bare)
        if commented is None and _COMMENTED.fullmatch(bare):
            commented = at, at + len(bare)
        at += len(line)
    return commented


def _parsed(text, path):
    if tomllib is None:
        return None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise stop.Stop("%s is not valid TOML (%s). Mend it; it was not touched." % (path, error)) from None


def _verify(new, before, path, wanted=None):
    """The edit says what it should and nothing else: a multi-line value may look like what it is not."""
    if before is None:
        return
    try:
        after = tomllib.loads(new)
    except tomllib.TOMLDecodeError:
        after = {}
    old = [name.strip() for name in str(before.get("swarm-resource", "")).split(",") if name.strip()]
    value = ",".join(wanted if wanted is not None else old + [OURS])
    if after != {**before, "swarm-resource": value}:
        raise stop.Stop(
            "%s has its swarm-resource where it cannot be edited safely. Set it to %r by hand; the file was "
            "not touched." % (path, value)
        )
