"""The sentences for a configuration that is not valid: the key, what was found, and what it may be."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from cluster.redaction import Redaction

#: Characters of a value or a key that an error shows.
SHOWN_CHARS = 120
#: Its value is never shown, whatever is wrong with it.
_SECRET = "hfToken"  # the key's name
#: NAME:PASSWORD@ as somebody pastes it into a host's or an image's name; a tag before a digest is none.
_LOGIN = re.compile(r"(?<![\w./-])([\w.-]+):[^\s:/@\"]+@(?!sha256:)")
Where = tuple[str | int, ...]


@dataclass(frozen=True)
class Sentences:
    """Of one project's keys. `nested`: the models of the keys that have keys of their own."""

    project: str
    settings: type[BaseModel]
    nested: Mapping[str, type[BaseModel]]

    def of(self, error: ValidationError, given: Mapping[str, Any]) -> list[str]:
        """One sentence for each thing that is wrong with `given`, without repeating any.

        What is wrong with an entry is not said of its list again.
        """
        errors = error.errors()
        # pydantic adds a word of its own to the place of a map's key.
        places = [tuple(part for part in one["loc"] if part != "[key]") for one in errors]
        inner = {place[:length] for place in places for length in range(1, len(place))}
        kept = [(one, place) for one, place in zip(errors, places, strict=True) if place not in inner]
        return list(dict.fromkeys(self._sentence(one, place, given) for one, place in kept))

    def about(self, where: Where, given: Mapping[str, Any], why: str = "") -> str:
        """The sentence for the value at `where`; `why`: what is wrong with it."""
        may = self._described(where)
        reason = f" ({why})" if why else ""
        return f"{self._key(where)}: found {_shown(where, given)}{reason}; it may be {may}"

    def _sentence(self, error: Any, where: Where, given: Mapping[str, Any]) -> str:
        if not where:  # a check over several keys: the text names the key already
            return f"{self.project}:{str(error['ctx']['error']) if 'ctx' in error else error['msg']}"
        kind, key = error["type"], self._key(where)
        if kind == "extra_forbidden":
            return f"{key}: unknown key{self._did_you_mean(where)}"
        if kind == "missing":
            hint = (
                "" if where[0] != "model" else "; set it with `pulumi config set model openai/gpt-oss-120b`"
            )
            return f"{key}: missing; it must be {self._described(where)}{hint}"
        if kind == "too_long":
            most, what = error["ctx"]["max_length"], "nodes" if where[-1] == "nodes" else "entries"
            found = _length(where, given) or error["ctx"]["actual_length"]
            return f"{key}: found {found} {what}, at most {most}; it may be {self._described(where)}"
        if kind == "value_error":
            return self.about(where, given, str(error["ctx"]["error"]))
        if where[0] == "nodes" and len(where) == 2:
            return self.about(where, given, 'an entry is a map, like {"host": "spark-1"}')
        return self.about(where, given)

    def _key(self, where: Where) -> str:
        text = ""
        for part in where:
            text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
        return f"{self.project}:{_printable(text)}"

    def _described(self, where: Where) -> str:
        names = [part for part in where if isinstance(part, str)]
        inner = self.nested.get(names[0])
        if inner is not None and len(names) > 1:
            for name, field in inner.model_fields.items():
                if names[1] in (name, field.alias):
                    return field.description or ""
        return next(
            (
                field.description or ""
                for name, field in self.settings.model_fields.items()
                if names[0] in (name, field.alias)
            ),
            "one of the keys in docs/configuration.md",
        )

    def _did_you_mean(self, where: Where) -> str:
        model = self.nested.get(str(where[0]), self.settings) if len(where) > 1 else self.settings
        keys = [field.alias or name for name, field in model.model_fields.items()]
        last = str(where[-1])
        first = re.split(r"[.\[]", last)[0]
        if first != last and first in keys:
            return f"; set what is inside {first} with `pulumi config set --path`"
        close = difflib.get_close_matches(last[:SHOWN_CHARS], keys, n=1)
        return f"; did you mean {close[0]}?" if close else f"; the keys are {', '.join(keys)}"


def _length(where: Where, given: Mapping[str, Any]) -> int:
    """How many there are of what is a list in the configuration."""
    found: Any = given
    for part in where:
        found = found[part]
    return len(found) if isinstance(found, list) else 0


def _shown(where: Where, given: Mapping[str, Any]) -> str:
    if where[0] == _SECRET:
        return "a value that is not shown"
    found: Any = given
    try:
        for part in where:
            found = found[part]
    except (KeyError, IndexError, TypeError):
        found = given.get(str(where[0]))
    text = Redaction().text(json.dumps(found, ensure_ascii=False, default=str))
    return _printable(_LOGIN.sub(r"\1:[removed]@", text))


def _printable(text: str) -> str:
    """`text` on one line, cut where it is long."""
    escaped = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[: SHOWN_CHARS + 1])
    return escaped if len(text) <= SHOWN_CHARS else escaped[:SHOWN_CHARS] + "…"
