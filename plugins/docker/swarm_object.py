"""docker:index/serviceConfig:ServiceConfig and docker:index/secret:Secret.

Both are immutable in a Swarm: any changed input replaces. Like the vendor's: without a `name` one is
made from the resource's name, and the new object comes before the old one goes; with a `name` of
the program's own the old one goes first (unless the program says otherwise).
"""

import base64
import binascii
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plugins.diff import changes
from plugins.docker.sets import ordered
from plugins.provider import Call, Difference, Failure, OperationError
from plugins.wire import UNKNOWN, Properties, Secret, contains_unknown, revealed

if TYPE_CHECKING:
    from plugins.docker.api import Engine

# The inputs that defaults were found for: kept in state by the vendor's plugin, and so here.
DEFAULTS = "__defaults"
SUFFIX_DIGITS = 7


@dataclass(frozen=True)
class SwarmObject:
    """One of the two types: `path` of the API, and the inputs that carry the content."""

    engine: "Callable[[], Engine]"
    path: str
    contents: tuple[str, ...]
    secret: bool

    def check(self, name: str, olds: Properties, news: Properties) -> tuple[Properties, list[Failure]]:
        """Exactly one content, in base64 where it must be; fills in the name."""
        inputs = {**news, DEFAULTS: []}
        if news.get("name") is None:
            known = olds.get("name") if "name" in (olds.get(DEFAULTS) or []) else None
            digits = secrets.token_hex(SUFFIX_DIGITS)[:SUFFIX_DIGITS]
            inputs |= {"name": known or f"{name}-{digits}", DEFAULTS: ["name"]}
        if self.secret and inputs.get("data") is not None:
            inputs["data"] = Secret(revealed(inputs["data"]))
        return inputs, self._failures(inputs)

    def diff(self, old_inputs: Properties, state: Properties, news: Properties) -> Difference:
        changed = changes(ordered(old_inputs, "labels"), ordered(news, "labels"))
        named_by_program = "name" not in news.get(DEFAULTS, ["name"])
        return Difference(changed, frozenset(changed), bool(changed) and named_by_program)

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        if call.preview:
            return "", inputs
        plain = revealed(inputs)
        if contains_unknown(plain):
            raise OperationError(f"{call.name}: an input is not known yet")
        spec = {"Name": plain["name"], "Data": _content(plain)}
        if labels := plain.get("labels"):
            spec["Labels"] = {item["label"]: item["value"] for item in labels}
        created = self.engine().post(f"{self.path}/create", spec)
        return str(created["ID"]), inputs

    def read(
        self, call: Call, id_: str, inputs: Properties, state: Properties
    ) -> tuple[str, Properties, Properties] | None:
        """As in the Swarm; a secret's content cannot be read back and stays as it was."""
        from plugins.docker.api import ApiError

        try:
            spec = self.engine().get(f"{self.path}/{id_}")["Spec"]
        except ApiError:
            return None  # gone, or the machine is in no Swarm any more
        seen: Properties = {"name": spec["Name"]}
        if not self.secret:
            data = base64.b64decode(spec.get("Data") or "")
            if state.get("dataRaw") is not None:
                seen["dataRaw"] = data.decode(errors="replace")
            else:
                seen["data"] = base64.b64encode(data).decode()
            labels = spec.get("Labels") or {}
            if labels or state.get("labels"):
                seen["labels"] = [{"label": key, "value": labels[key]} for key in sorted(labels)]
        kept = {key: value for key, value in seen.items() if revealed(state.get(key)) != value}
        return id_, {DEFAULTS: [], **inputs, **kept}, {**state, **kept}

    def update(
        self, call: Call, id_: str, old_inputs: Properties, state: Properties, inputs: Properties
    ) -> Properties:
        return inputs  # every change replaces: the engine does not come here

    def delete(self, call: Call, id_: str, state: Properties) -> None:
        self.engine().delete(f"{self.path}/{id_}")

    def _failures(self, inputs: Properties) -> list[Failure]:
        given = [name for name in self.contents if inputs.get(name) is not None]
        if len(given) != 1:
            one = ",".join(self.contents)
            return [Failure("data", f"exactly one of `{one}` must be specified")]
        data = revealed(inputs.get("data"))
        if data is None or data is UNKNOWN or _is_base64(data):
            return []
        shown = "the data" if self.secret else f"'{data}'"
        return [Failure("data", f"{shown} is not base64 decodeable")]


def _content(inputs: Properties) -> str:
    """The content in base64, as the API wants it."""
    raw = inputs.get("dataRaw")
    return str(inputs["data"]) if raw is None else base64.b64encode(str(raw).encode()).decode()


def _is_base64(text: str) -> bool:
    try:
        # As the vendor's plugin decodes: line breaks do not count.
        base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
