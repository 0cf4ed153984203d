"""A client of the registry's HTTP API (version 2), enough to push one image."""

import http.client
import json
import ssl
from pathlib import Path
from types import TracebackType
from typing import Self

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
TIMEOUT = 60.0
"""Seconds for one answer of the registry."""

Blob = bytes | Path


class Registry:
    """One TLS connection to a registry, used as a context manager.

    Raises, from every method, RuntimeError with the registry's own words when it refuses, and
    OSError when it cannot be reached.
    """

    def __init__(self, host: str, ca: Path) -> None:
        """`host` is HOST:PORT, `ca` the PEM file its certificate is checked with."""
        self._host = host
        context = ssl.create_default_context(cafile=str(ca))
        self._connection = http.client.HTTPSConnection(host, timeout=TIMEOUT, context=context)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def push_blob(self, repository: str, digest: str, content: Blob) -> bool:
        """Upload a layer or a config; False when the registry had it already."""
        if self._ask("HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200:
            return False
        status, headers, body = self._ask("POST", f"/v2/{repository}/blobs/uploads/")
        self._expect(202, status, body)
        place = headers["location"].removeprefix(f"https://{self._host}")
        place += ("&" if "?" in place else "?") + f"digest={digest}"
        kind = {"Content-Type": "application/octet-stream"}
        if isinstance(content, Path):
            kind["Content-Length"] = str(content.stat().st_size)
            with content.open("rb") as file:
                self._connection.request("PUT", place, body=file, headers=kind)
                status, _, body = self._answer()
        else:
            status, _, body = self._ask("PUT", place, content, kind)
        self._expect(201, status, body)
        return True

    def push_manifest(self, repository: str, tag: str, manifest: bytes) -> None:
        """Upload a manifest under a tag, when the tag does not already name it."""
        path = f"/v2/{repository}/manifests/{tag}"
        status, _, body = self._ask("GET", path, headers={"Accept": MANIFEST_TYPE})
        if status == 200 and body == manifest:
            return
        status, _, body = self._ask("PUT", path, manifest, {"Content-Type": MANIFEST_TYPE})
        self._expect(201, status, body)

    def _ask(
        self, verb: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        self._connection.request(verb, path, body=body, headers=headers or {})
        return self._answer()

    def _answer(self) -> tuple[int, dict[str, str], bytes]:
        answer = self._connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    def _expect(self, wanted: int, status: int, body: bytes) -> None:
        if status != wanted:
            said = body.decode(errors="replace")[:300]
            raise RuntimeError(f"Registry {self._host} answered {status} instead of {wanted}: {said}")


def manifest_of(config: bytes, config_digest: str, layers: list[tuple[str, int]]) -> bytes:
    """The Docker schema 2 manifest; `layers` are (digest, bytes) from the base upwards."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "size": len(config), "digest": config_digest},
            "layers": [{"mediaType": LAYER_TYPE, "size": size, "digest": digest} for digest, size in layers],
        },
        separators=(",", ":"),
    ).encode()
