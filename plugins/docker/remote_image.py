"""docker:index/remoteImage:RemoteImage: an image on a Docker host, pulled or built.

As the vendor's: an image that is there already is not pulled again; `name`, `platform`,
`pullTriggers`, `triggers` and `build` replace; `keepLocally` leaves the image when the resource goes.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from plugins.diff import changes, top_level
from plugins.docker.names import parsed, repo_digest
from plugins.docker.sets import ordered
from plugins.provider import Call, Difference, Failure, OperationError
from plugins.wire import UNKNOWN, Properties, contains_unknown, revealed

if TYPE_CHECKING:
    from plugins.docker.api import Engine
    from plugins.docker.registry_auth import Credentials

INPUT_PROPERTIES = frozenset(
    {"build", "forceRemove", "keepLocally", "name", "platform", "pullTriggers", "triggers"}
)
OUTPUT_PROPERTIES = frozenset({"imageId", "repoDigest"})
REPLACING = frozenset({"build", "name", "platform", "pullTriggers", "triggers"})


class RemoteImage:
    """The resource."""

    def __init__(self, engine: "Callable[[], Engine]", auths: "Callable[[], dict[str, Credentials]]") -> None:
        self._engine = engine
        self._auths = auths

    def check(self, name: str, olds: Properties, news: Properties) -> tuple[Properties, list[Failure]]:
        failures = []
        if news.get("name") is None:
            failures.append(Failure("name", "missing required property 'name'"))
        if news.get("build") is not None:
            from plugins.docker.build import unsupported

            failures += unsupported(news["build"])
            if news.get("pullTriggers") is not None:
                failures.append(Failure("build", '"build": conflicts with pull_triggers'))
        return {**news, "__defaults": []}, failures

    def diff(self, old_inputs: Properties, state: Properties, news: Properties) -> Difference:
        changed = changes(ordered(old_inputs, "pullTriggers"), ordered(news, "pullTriggers"))
        return Difference(changed, frozenset(p for p in changed if top_level(p) in REPLACING))

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Build it, else find it, else pull it."""
        if call.preview:
            return "", {**inputs, **dict.fromkeys(OUTPUT_PROPERTIES, UNKNOWN)}
        plain = revealed(inputs)
        if contains_unknown(plain):
            raise OperationError(f"{call.name}: an input is not known yet")
        if plain.get("build"):
            from plugins.docker.build import build

            build(call, self._engine(), plain)
        outputs = self._found_or_pulled(plain)
        return outputs["imageId"] + plain["name"], {**inputs, **outputs}

    def read(
        self, call: Call, id_: str, inputs: Properties, state: Properties
    ) -> tuple[str, Properties, Properties] | None:
        name = revealed(state["name"])
        found = self._found(name)
        return (found["imageId"] + name, inputs, {**state, **found}) if found else None

    def update(
        self, call: Call, id_: str, old_inputs: Properties, state: Properties, inputs: Properties
    ) -> Properties:
        if call.preview:
            return {**inputs, **{name: state.get(name) for name in OUTPUT_PROPERTIES}}
        return {**inputs, **self._found_or_pulled(revealed(inputs))}

    def delete(self, call: Call, id_: str, state: Properties) -> None:
        plain = revealed(state)
        if plain.get("keepLocally") or not self._found(plain["name"]):
            return
        force = "1" if plain.get("forceRemove") else "0"
        try:
            self._engine().delete(f"/images/{plain['name']}", force=force)
        except OperationError as error:
            raise OperationError(f"Unable to remove Docker image: {error}") from None

    def _found(self, name: str) -> Properties:
        """The outputs for a local image; empty when there is none."""
        from plugins.docker.api import ApiError

        try:
            image = self._engine().get(f"/images/{name}/json")
        except ApiError as error:
            if error.status == 404:
                return {}
            raise OperationError(f"unable to inspect image {name}: {error}") from None
        digest = repo_digest(name, image.get("RepoDigests") or [])
        return {"imageId": image["Id"], "repoDigest": digest}

    def _found_or_pulled(self, inputs: Properties) -> Properties:
        name = inputs["name"]
        if found := self._found(name):
            return found
        self._pull(name, inputs.get("platform") or "")
        if found := self._found(name):
            return found
        raise OperationError(
            f"Unable to read Docker image into resource: unable to find or pull image {name}"
        )

    def _pull(self, name: str, platform: str) -> None:
        """Pull. As the vendor's: without a word of how far it is, nor of what went wrong half-way."""
        from plugins.docker.api import ApiError, DeadlineError, registry_header

        image = parsed(name)
        query = {"fromImage": image.repository, "tag": image.reference}
        if platform:
            query["platform"] = platform
        headers = {"X-Registry-Auth": registry_header(self._auths().get(image.registry, {}))}
        try:
            with self._engine().stream("/images/create", query, headers) as messages:
                for _ in messages:
                    pass
        except DeadlineError as error:
            raise OperationError(
                f"Unable to read Docker image into resource: unable to pull image {name}: {error}"
            ) from None
        except ApiError as error:
            raise OperationError(
                f"Unable to read Docker image into resource: unable to pull image {name}: "
                f"error pulling image {name}: {error}"
            ) from None
