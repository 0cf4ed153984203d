"""How long an operation may take: what the program says, else 20 minutes.

The vendor's plugin is made from a Terraform provider whose resources set no times of their own, and
Terraform's SDK (schema.ResourceData.Timeout) then gives each create, read, update and delete 20 minutes. The
program's customTimeouts reach it with the engine's request; a read has none.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from plugins.provider import Call, Difference, Failure, Resource
from plugins.wire import Properties

if TYPE_CHECKING:
    from plugins.docker.api import Engine

DEFAULT_SECONDS = 20 * 60.0


class Limited:
    """A resource whose operations end with "context deadline exceeded" when their time is over."""

    def __init__(self, inner: Resource, engine: "Callable[[], Engine]") -> None:
        self._inner = inner
        self._engine = engine

    def check(self, name: str, olds: Properties, news: Properties) -> tuple[Properties, list[Failure]]:
        return self._inner.check(name, olds, news)

    def diff(self, old_inputs: Properties, state: Properties, news: Properties) -> Difference:
        return self._inner.diff(old_inputs, state, news)

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        if call.preview:
            return self._inner.create(call, inputs)
        with self._engine().within(_seconds(call)):
            return self._inner.create(call, inputs)

    def read(
        self, call: Call, id_: str, inputs: Properties, state: Properties
    ) -> tuple[str, Properties, Properties] | None:
        with self._engine().within(_seconds(call)):
            return self._inner.read(call, id_, inputs, state)

    def update(
        self, call: Call, id_: str, old_inputs: Properties, state: Properties, inputs: Properties
    ) -> Properties:
        if call.preview:
            return self._inner.update(call, id_, old_inputs, state, inputs)
        with self._engine().within(_seconds(call)):
            return self._inner.update(call, id_, old_inputs, state, inputs)

    def delete(self, call: Call, id_: str, state: Properties) -> None:
        with self._engine().within(_seconds(call)):
            self._inner.delete(call, id_, state)


def _seconds(call: Call) -> float:
    return call.timeout or DEFAULT_SECONDS
