"""Asking an image's registry what it has: from the operator's machine, and through one node's Docker.

The node's Docker asks with the login that its user has, this machine without one. A public registry such as
nvcr.io gives an anonymous token.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import requests

from cluster import image_name
from cluster import registry as answers
from cluster.config import Settings
from cluster.errors import TrtSparkError
from cluster.facts import Facts
from cluster.image_name import ImageName
from cluster.registry import Answer, Answers
from remote import node
from remote.node import untrusted
from remote.ssh import Connection, Shell

#: How long each side is waited for, seconds. A registry answers in less than one.
DEADLINE_S = 8
#: What is read at most, bytes: an index has some kilobytes, an image's configuration some tens of them.
MANIFEST_BYTES, CONFIG_BYTES, TOKEN_BYTES = 4 << 20, 4 << 20, 64 << 10
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT = ", ".join((*_INDEXES, *_MANIFESTS))
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")


def ask(
    settings: Settings,
    facts: Sequence[Facts],
    connections: Sequence[Connection],
    shell: Callable[[Connection], Shell],
) -> Answers | None:
    """Both answers, side by side; None where there is nothing to pull. `facts` in the order of
    `connections`. The node that is asked is the first without the image.
    """
    lacking = [
        index for index, one in enumerate(facts) if one.docker.image_known and one.docker.image is None
    ]
    if not settings.pull_image or not lacking:
        return None
    first = lacking[0]
    name = image_name.parsed(settings.image)
    with ThreadPoolExecutor(2) as pool:
        theirs = pool.submit(_of_node, settings.image, shell(connections[first]))
        ours = pool.submit(of_operator, name, facts[first].docker.platform)
        return Answers(
            tuple(facts[index].node for index in lacking), facts[first].node, theirs.result(), ours.result()
        )


def _of_node(image: str, session: Shell) -> Answer:
    args = {"registry": {"image": image, "seconds": DEADLINE_S}}
    script = node.program(registry="look")
    try:
        result = session.run(node.command(args), stdin=script, timeout=3 * DEADLINE_S)
        return answers.of_docker(node.answer(result.out)["registry"])
    except TrtSparkError as error:
        return Answer("unknown", answers.one_line(str(error)))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Answer("unknown", answers.one_line(result.err) or "the node gave no answer")


def of_operator(name: ImageName, platform: str, seconds: float = DEADLINE_S) -> Answer:
    """The registry's answer to this machine, with the environment of the image for `platform`."""
    with requests.Session() as session:
        # Without this requests would send what ~/.netrc has for the host.
        session.auth = lambda request: request
        try:
            return _Registry(session, name, time.monotonic() + seconds).answer(platform)
        except _Refused as error:
            return error.answer
        except requests.exceptions.SSLError as error:
            return Answer("untrusted", answers.one_line(str(error)))
        except requests.exceptions.Timeout:
            return Answer("silent", "no answer in time")
        except requests.exceptions.ConnectionError as error:
            return Answer("unreachable", answers.one_line(_innermost(error)))
        except (requests.RequestException, ValueError, LookupError, TypeError, AttributeError):
            return Answer("unknown", "its answer is not that of a registry")


class _Refused(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.said)
        self.answer = answer


class _Registry:
    """One question: manifest, and where there is one for the platform its configuration."""

    def __init__(self, session: requests.Session, name: ImageName, deadline: float) -> None:
        self._session, self._deadline = session, deadline
        self._base = f"https://{name.api}/v2/{name.repository}"
        self._reference, self._scope = name.reference, f"repository:{name.repository}:pull"
        self._login: dict[str, str] = {}

    def answer(self, platform: str) -> Answer:
        """`there`, or _Refused."""
        digest, found = self._manifest(self._reference)
        if "manifests" not in found:
            config = self._config(found)
            return Answer("there", "", digest, answers.platforms([config]), _env(config))
        listed = [one for one in found["manifests"] if isinstance(one, Mapping)]
        known = answers.platforms([one.get("platform") for one in listed])
        for one in listed:
            if answers.platforms([one.get("platform")]) == (platform,):
                _, manifest = self._manifest(answers.checked_digest(one.get("digest")))
                return Answer("there", "", digest, known, _env(self._config(manifest)))
        return Answer("there", "", digest, known)

    def _manifest(self, reference: str) -> tuple[str, dict[str, Any]]:
        return self._get(f"manifests/{reference}", MANIFEST_BYTES)

    def _config(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        digest = answers.checked_digest(manifest["config"]["digest"])
        return self._get(f"blobs/{digest}", CONFIG_BYTES)[1]

    def _get(self, path: str, most: int) -> tuple[str, dict[str, Any]]:
        """A JSON object and its digest, which is the asked one; one 401 is answered by an anonymous token."""
        url = f"{self._base}/{path}"
        answer, text = self._read(url, most, {"Accept": _ACCEPT, **self._login})
        challenge = answer.headers.get("WWW-Authenticate", "")
        if answer.status_code == requests.codes.unauthorized and challenge.lower().startswith("bearer "):
            self._login = {"Authorization": f"Bearer {self._token(challenge)}"}
            answer, text = self._read(url, most, {"Accept": _ACCEPT, **self._login})
        if answer.status_code != requests.codes.ok:
            raise _Refused(_refusal(answer.status_code, text))
        digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
        if answers.checked_digest(path.rpartition("/")[2]) not in ("", digest):
            raise ValueError("the content is not what its digest says")
        return digest, _object(text)

    def _token(self, challenge: str) -> str:
        """An anonymous token from the server that the registry names."""
        parts = dict(_CHALLENGE.findall(challenge))
        realm = parts.get("realm", "")
        if urlsplit(realm).scheme != "https":
            raise _Refused(Answer("denied", "its login server does not use HTTPS"))
        asked = {"service": parts.get("service", ""), "scope": self._scope}
        answer, text = self._read(realm, TOKEN_BYTES, {}, asked)
        if answer.status_code != requests.codes.ok:
            raise _Refused(_refusal(answer.status_code, text))
        found = _object(text)
        token = str(found.get("token") or found.get("access_token") or "")
        if not _TOKEN.fullmatch(token):
            raise _Refused(Answer("denied", "its login server gives no anonymous token"))
        return token

    def _read(
        self, url: str, most: int, headers: Mapping[str, str], params: Mapping[str, str] | None = None
    ) -> tuple[requests.Response, bytes]:
        with self._session.get(
            url, headers=headers, params=params, timeout=self._left(), stream=True
        ) as answer:
            pieces, size = [], 0
            for piece in answer.iter_content(1 << 16):
                size += len(piece)
                if size > most:
                    raise ValueError("the answer is too long")
                pieces.append(piece)
                self._left()
            return answer, b"".join(pieces)

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise requests.exceptions.Timeout
        return left


def _refusal(status: int, text: bytes) -> Answer:
    """What a status means; the text of the registry's first error, if it tells one."""
    try:
        first = untrusted.load(text)["errors"][0]
        said = f"{first.get('code', '')}: {first.get('message', '')}"
    except (ValueError, LookupError, TypeError, AttributeError):
        said = f"HTTP status {status}"
    said = answers.one_line(said)
    if status == requests.codes.not_found:
        return Answer("missing", said)
    if status in (requests.codes.unauthorized, requests.codes.forbidden):
        return Answer("denied", said)
    if status == requests.codes.too_many_requests or status >= requests.codes.server_error:
        return Answer("busy", said)
    return Answer("unknown", said)


def _object(text: bytes) -> dict[str, Any]:
    found = untrusted.load(text)
    if not isinstance(found, dict):
        raise TypeError("not a JSON object")
    return found


def _env(config: Mapping[str, Any]) -> dict[str, str]:
    inside = config.get("config")
    return answers.env_of(inside.get("Env")) if isinstance(inside, Mapping) else {}


def _innermost(error: BaseException) -> str:
    """urllib3's own sentence, without the class names and addresses in memory around it."""
    text = str(error)
    found = re.search(r"\[Errno -?\d+\] ([^'\")]+)", text)
    return found[1] if found else "no connection"
