"""Docker's API answers (/info, /version, /containers/json) and its settings file.

Engines leave out what is empty, newer ones more of it: nothing here needs a key to be there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.facts import Container, Docker, Image, SwarmState
from cluster.service_spec import NOTHING, SPEC_LABEL, told

#: The kernel's names of processors, and those of images.
_PROCESSORS = {"aarch64": "arm64", "x86_64": "amd64"}
#: Longer ones are not what NVIDIA's images set, and a name with a digest has 71 letters after its @.
_ENV_LETTERS, _DIGEST_LETTERS, _MOST_DIGESTS = 2000, 512, 64
#: Policies that bring a container back when Docker itself is restarted; on-failure does not.
_COMES_BACK = ("always", "unless-stopped")


_VERSION = re.compile(r"\bversion ([0-9]+(?:\.[0-9]+){0,3})")


def engine(answers: Mapping[str, Any]) -> Docker:
    """The engine, or what keeps the user from it."""
    info, said = answers["info"], answers["info"]["err"].strip()
    if not answers["program"]:
        return _without("missing", said)
    found = _object(info["out"])
    if not found.get("ServerVersion"):
        denied = "permission denied" in said.lower()
        problem = "denied" if denied else "silent"
        return _without(problem, (said.splitlines() or ["no output"])[0], answers.get("installed"))
    version = _object(answers.get("version", {}).get("out", ""))
    swarm = found.get("Swarm") or {}
    state = swarm.get("LocalNodeState") or "inactive"
    return Docker(
        version=found["ServerVersion"],
        runtimes=tuple(sorted(found.get("Runtimes") or {})),
        default_runtime=found.get("DefaultRuntime", ""),
        swarm_state=state,
        live_restore=bool(found.get("LiveRestoreEnabled")),
        api=version.get("ApiVersion", ""),
        min_api=version.get("MinAPIVersion", ""),
        generic_resources=tuple(filter(None, map(_resource, found.get("GenericResources") or []))),
        root=found.get("DockerRootDir") or "/var/lib/docker",
        storage=found.get("Driver", ""),
        cgroup=found.get("CgroupDriver", ""),
        swarm=SwarmState(
            state=state,
            node_id=swarm.get("NodeID") or "",
            manager=bool(swarm.get("ControlAvailable")),
            address=swarm.get("NodeAddr") or "",
            error=(swarm.get("Error") or "").strip(),
            managers=tuple(
                str(one.get("Addr", "")).rpartition(":")[0] for one in swarm.get("RemoteManagers") or []
            ),
            certificate_days=_certificate_days(swarm),
        ),
        containers=tuple(by_id(answers).values()),
        flags=tuple(sorted({word.partition("=")[0] for word in answers.get("options", ())})),
        config_file=_config_file(answers.get("options", ())),
        platform=platform(found.get("OSType", ""), found.get("Architecture", "")),
        image=_image(answers.get("image")),
        image_known=answers.get("image") is not None,
    )


def platform(system: str, processor: str) -> str:
    """linux/arm64 for Docker's own "linux" and "aarch64"; "" where it does not tell them."""
    return f"{system}/{_PROCESSORS.get(processor, processor)}" if system and processor else ""


def _image(raw: Mapping[str, Any] | None) -> Image | None:
    """{} is an image that is not there."""
    if not raw:
        return None
    digests = [str(one) for one in raw["digests"][:_MOST_DIGESTS]]
    return Image(
        tuple(one for one in digests if len(one) <= _DIGEST_LETTERS),
        str(raw["platform"]),
        {str(key): str(value)[:_ENV_LETTERS] for key, value in raw["env"].items()},
    )


def by_id(answers: Mapping[str, Any]) -> dict[str, Container]:
    """The running containers by their whole ids."""
    return {
        raw["Id"]: Container(
            name=(raw.get("Names") or ["/" + raw["Id"][:12]])[0].removeprefix("/"),
            image=raw.get("Image") or "",
            ours="trtspark.rank" in raw["Labels"],
            restarts=bool(raw["Service"]) or raw["RestartPolicy"] in _COMES_BACK,
        )
        for raw in answers.get("containers", ())
    }


def ranks(answers: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """(stack, rank, port) of every running container with our labels."""
    labels = [raw["Labels"] for raw in answers.get("containers", ()) if "trtspark.rank" in raw["Labels"]]
    return tuple(
        (one.get("trtspark.stack", ""), one["trtspark.rank"], one.get("trtspark.port", "")) for one in labels
    )


def specs(answers: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """(stack, rank) -> the label by which a rank's container tells its spec ("" without one), or PAUSED."""
    return {
        (raw["Labels"].get("trtspark.stack", ""), raw["Labels"]["trtspark.rank"]): told(
            raw.get("State"), raw["Labels"]
        )
        for raw in answers.get("containers", ())
        if "trtspark.rank" in raw["Labels"]
    }


def wanted(answers: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """(stack, rank) -> the fingerprint of the spec that the Swarm wants to run, NOTHING of a stopped one."""
    found = {}
    for service in answers.get("services", ()):
        labels = service["labels"]
        key = (labels.get("trtspark.stack", ""), labels.get("trtspark.rank", ""))
        found[key] = labels.get(SPEC_LABEL, "") if service["replicas"] else NOTHING
    return found


def unreadable(text: str | None) -> bool:
    """Whether the probe's user may not read the file."""
    return (text or "").startswith("unreadable: ")


def daemon_json(text: str | None) -> tuple[Mapping[str, Any], str]:
    """Docker's settings file and what is wrong with it, a sentence.

    It is absent on a fresh Spark; Docker takes an empty one for no settings, and so do we.
    """
    if text is None or not text.strip():
        return {}, ""
    if unreadable(text):
        return {}, f"/etc/docker/daemon.json cannot be read ({text.removeprefix('unreadable: ')})."
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg}"
        return {}, f"/etc/docker/daemon.json is not valid JSON ({where})."
    except (ValueError, RecursionError):
        return {}, "/etc/docker/daemon.json is not valid JSON (a number or brackets without end)."
    if not isinstance(found, dict):
        return {}, "/etc/docker/daemon.json is not a JSON object."
    return found, ""


def _without(problem: str, said: str, installed: object = "") -> Docker:
    version = _VERSION.search(str(installed or ""))
    told = version[1] if version else ""
    return Docker("", (), "", "inactive", False, problem=problem, said=said, installed=told)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _certificate_days(swarm: Mapping[str, Any]) -> float | None:
    """Only a manager knows; Docker counts in nanoseconds."""
    spec = (swarm.get("Cluster") or {}).get("Spec") or {}
    expiry = (spec.get("CAConfig") or {}).get("NodeCertExpiry")
    return expiry / 1e9 / 86400 if expiry else None


def _config_file(options: Sequence[str]) -> str:
    for word in options:
        name, _, path = word.partition("=")
        if name == "--config-file" and path != "/etc/docker/daemon.json":
            return path
    return ""


def _resource(raw: Mapping[str, Any]) -> str:
    """KIND=VALUE of {"NamedResourceSpec": {"Kind", "Value"}}, or of a discrete one."""
    spec = raw.get("NamedResourceSpec") or raw.get("DiscreteResourceSpec") or {}
    return f"{spec['Kind']}={spec.get('Value', '')}" if spec.get("Kind") else ""
