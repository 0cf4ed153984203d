"""Taking out of text and data what must not leave the owner's hands: secrets, keys, serial numbers.

Three nets: the values that are known to be secret are replaced wherever they stand, in the forms in which
URLs and JSON hold them too; everything that stands under a secret's name or after an option of one is
replaced whatever its value; and so is everything that has a secret's form. What tells machines apart without
naming them (a GPU's UUID, a MAC address) becomes a word that is the same all over a report.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

from cluster.secret_forms import FORMS, headers
from cluster.secret_forms import REMOVED as REMOVED
from cluster.secret_names import is_secret, takes_numbers

#: Shorter values would take ordinary words apart.
_MIN_SECRET_CHARS = 4
#: What stands in the place of a secret.
_NOTHING = frozenset(
    {
        *(
            "none",
            "null",
            "true",
            "false",
            "{",
            "[",
            "[]",
            "{}",
            "=",
            "unset",
            "missing",
            "no",
            "not",
            "yes",
            "is",
        ),
        *("required", "needed", "invalid", "expired", "refused", "unknown", "empty"),
    }
)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
#: A special token of a vocabulary, which is in every log of an engine: <|endoftext|>, </s>.
_SPECIAL = re.compile(r"<[^<>\s]*>")
#: NAME=value, "name": "value", \"name\": \"value\" in JSON in JSON, name%3Dvalue in a URL.
_NAME = re.compile(
    r"(?<![\w.-])-{0,3}(?P<name>[A-Za-z_\d][\w.-]*(?:[ ](?:[Nn]umber|[Kk]ey|[Tt]oken))?)"
    r"""(?P<sep>(?:\\*["']|%22)?\s*(?:[=:]|=>|%3[AaDd](?:%22)?)\s*)"""
)
_VALUE = re.compile(
    r"""\[[^\[\]\n]{1,2000}\]|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'"""
    r"""|(?P<quote>\\+["'])(?:(?!\\+["']|\n).)*(?P=quote)|[^\s,;&"'\\]+"""
)
#: hf_token value, hfToken value: a value that looks like a secret after a variable's name.
_LOOSE = re.compile(
    r"(?<![\w.-])(?P<name>[a-z][A-Za-z0-9]{0,40}[A-Z][A-Za-z0-9]{0,40}|[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)+"
    r"|password|passwd)(?P<sep>[ \t]+)"
)
_LIKELY = re.compile(r"(?P<mark>[\"']?)(?=[^\s\"']*\d)[^\s\"',;:]{8,}(?P=mark)(?![\w:])")
#: --name value, -name value
_OPTION = re.compile(r"(?<![\w-])(?P<name>--?[A-Za-z][\w.-]*)(?P<sep>\s+)")
_ARGUMENT = re.compile(r""""(?:\\.|[^"\\\n])*"|'[^'\n]*'|(?!--)[^\s"']+""")
#: In the arguments of a program that logs in, these hide what comes after them: a password, name:password.
_SHORT = ("-p", "-u", "--user", "-a")
_LOGS_IN = re.compile(r"(?:^|/)(?:sshpass|curl|login|mysql\w*|redis-cli)$")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_FLAG = re.compile(r"--?[A-Za-z][\w.-]*")
_WHOLE = re.compile(r"(?P<name>-{0,2}[A-Za-z_][\w.-]*)=(?P<value>.+)", re.S)
_GPU = re.compile(r"\bGPU-[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b")
_MAC = re.compile(r"\b(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b")


class Redaction:
    """What to take out. `secrets`: values that are known, of the configuration say."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        """A secret that is structured (JSON) is every text in it."""
        found = {form for secret in secrets for leaf in _leaves(secret) for form in _written(leaf)}
        # Longer ones first: one may be a part of another.
        ordered = sorted((one for one in found if len(one) >= _MIN_SECRET_CHARS), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        """`text` without secrets."""
        if self._known:
            text = self._known.sub(REMOVED, text)
        text = headers(text)
        for pattern, instead in FORMS:
            text = pattern.sub(instead, text)
        for names, values in ((_NAME, _VALUE), (_OPTION, _ARGUMENT), (_LOOSE, _LIKELY)):
            text = _every(names, values, text)
        text = _GPU.sub(lambda found: f"GPU-{_alias(found[0])}", text)
        return _MAC.sub(lambda found: f"MAC-{_alias(found[0])}", text)

    def data(self, value: Any) -> Any:
        """Plain data likewise: every string, keys too, and all that stands under a secret's name."""
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._entry(str(key), entry) for key, entry in _pairs(value)}
        if isinstance(value, list | tuple | set | frozenset):
            return self._list(list(value))
        return self._string(value) if isinstance(value, str) else value

    def _entry(self, name: str, value: Any) -> Any:
        return _blank(name, value) if is_secret(name) else self.data(value)

    def _list(self, values: list[Any]) -> list[Any]:
        """An option of a secret hides the value after it, and so does a name in a pair."""
        found, name = [], ""
        logs_in = any(isinstance(one, str) and _LOGS_IN.search(one) for one in values)
        for value in values:
            if name and not (isinstance(value, str) and value.startswith("--")):
                found.append(_blank(name, value))
                name = ""
                continue
            found.append(self.data(value))
            name = _announced(value, len(values) == 2, logs_in)
        return found

    def _string(self, text: str) -> str:
        """A string that is one assignment as a whole may have spaces in its value."""
        whole = _WHOLE.fullmatch(text)
        if whole and is_secret(whole["name"]):
            return self.text(f"{whole['name']}=") + _hidden(whole["name"], "=", whole["value"])
        return self.text(text)


def _announced(value: Any, pair: bool, logs_in: bool) -> str:
    """The name under which the next element of a list stands, when that is a secret's; else ""."""
    if not isinstance(value, str):
        return ""
    if logs_in and value in _SHORT:
        return "password"
    names = pair or _FLAG.fullmatch(value) or _VARIABLE.fullmatch(value)
    return value if names and is_secret(value) else ""


def _every(names: re.Pattern[str], values: re.Pattern[str], text: str) -> str:
    """`text` without the values after secrets' names; what no secret's name precedes is searched as well."""
    parts, place = [], 0
    while found := names.search(text, place):
        parts.append(text[place : found.end()])
        place = found.end()
        if is_secret(found["name"]) and (value := values.match(text, place)):
            parts.append(_hidden(found["name"], found["sep"], value[0]))
            place = value.end()
    return "".join([*parts, text[place:]])


def _hidden(name: str, separator: str, value: str) -> str:
    """What is shown in the place of a value that stands under a secret's name."""
    if value[0] == "[":
        return value if _harmless(name, value, separator) else REMOVED
    bare = value.strip("\"'\\")
    if not bare or _harmless(name, bare, separator):
        return value
    mark = re.match(r"\\*[\"']", value)
    if mark:
        return f"{mark[0]}{REMOVED}{mark[0]}"
    tail = value[len(value.rstrip(")]}")) :]  # of the bracket around it
    return value if value == REMOVED else REMOVED + tail


def _harmless(name: str, value: str, separator: str) -> bool:
    """Whether what stands there is no secret for all its name: a count, or a vocabulary's special token."""
    if value.lower() in _NOTHING:
        return True
    if "=" not in separator and name.lower() == "pass" and not _LIKELY.fullmatch(value):
        return True  # a verdict, or one of several passes
    if value[0] == "[" and value != REMOVED:
        items = [one.strip().strip("\"'") for one in value.strip("[]").split(",")]
        return all(_harmless(name, one, separator) for one in items if one)
    return bool(_SPECIAL.fullmatch(value) or (_NUMBER.fullmatch(value) and not takes_numbers(name)))


def _blank(name: str, value: Any) -> Any:
    """What stands under a secret's name: every text in it goes, numbers where they may be one."""
    if value is None or isinstance(value, bool) or value in ("", [], {}):
        return value
    if isinstance(value, int | float):
        return REMOVED if takes_numbers(name) else value
    if isinstance(value, Mapping):
        return {str(key): _blank(name, entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_blank(name, entry) for entry in value]
    return value if isinstance(value, str) and _harmless(name, value, "=") else REMOVED


def _pairs(value: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """The entries; of {"name": "HF_TOKEN", "value": …} the value under that name."""
    named = next(
        (v for k, v in value.items() if str(k).lower() in ("name", "key") and isinstance(v, str)), ""
    )
    for key, entry in value.items():
        hides = str(key).lower() == "value" and named and is_secret(named)
        yield key, _blank(named, entry) if hides else entry


def _leaves(secret: str) -> Iterator[str]:
    """The secret itself and, where it is a JSON document, each text in it."""
    yield secret
    try:
        document = json.loads(secret)
    except (ValueError, RecursionError):
        return
    todo = [document]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            todo += one.values()
        elif isinstance(one, list):
            todo += one


def _written(secret: str) -> Iterator[str]:
    """The ways in which a text is written: plain, in a URL, in JSON, in base64, each of its lines."""
    yield from (secret, secret.strip())
    data = secret.encode("utf-8", "surrogatepass")
    for one in (secret, secret.strip()):
        raw = one.encode("utf-8", "surrogatepass")
        yield from (quote(raw, safe=""), quote(raw), quote_plus(raw))
        for ascii_only in (True, False):
            inner = json.dumps(one, ensure_ascii=ascii_only)[1:-1]
            yield from (inner, inner.replace("/", "\\/"), json.dumps(inner)[1:-1])
    yield base64.b64encode(data).decode().rstrip("=")
    # A log breaks lines: a key's are long enough to be known by themselves.
    yield from (line.strip() for line in secret.splitlines() if len(line.strip()) >= 16)


def _alias(text: str) -> str:
    """The same word for the same thing, which cannot be turned back into it by guessing a few."""
    return hashlib.sha256(b"trtspark report " + text.lower().encode()).hexdigest()[:8]
