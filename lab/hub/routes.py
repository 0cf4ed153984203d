"""From a request to its answer; no sockets, no faults."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from lab import models
from lab.hub import access, documents, repository
from lab.hub.access import Account, Tokens, refusal
from lab.hub.answer import Answer, Request, as_json, ranged
from lab.hub.content import Given
from lab.hub.repository import File, Repository, Revision

ENCODINGS = "encodings"
_PAGE = 1000
_PAGE_EXPANDED = 50


class Routes:
    """The Hub, its CDN and the vocabularies' store."""

    def __init__(self, tokens: Tokens, link_seconds: float = 3600.0, page_size: int = _PAGE) -> None:
        """`link_seconds`: for how long a link to the CDN is good."""
        self._tokens = tokens
        self._link_seconds = link_seconds
        self._page_size = page_size
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._repositories: dict[str, Repository] = {}
        self.cdn = ""  # its URL, known when its socket is

    def repository(self, name: str) -> Repository | None:
        """The repository of this id; made at its first use."""
        with self._lock:
            if name not in self._repositories:
                model = models.find(name)
                if model is None:
                    return None
                self._repositories[name] = repository.of(model)
            return self._repositories[name]

    def hub(self, request: Request, link_seconds: float | None = None) -> Answer:
        """The answer of the Hub's own address; `link_seconds` for links that expire early or late."""
        words = request.words()
        if words[0] == ENCODINGS:
            return encoding(request, "/".join(words[1:]))
        token = access.bearer(request.headers.get("authorization"))
        account = self._tokens.account(token) if token else None
        if token and account is None:
            return refusal(401, access.BAD_TOKEN)
        if words[:2] == ["api", "whoami-v2"]:
            return as_json(documents.whoami(account)) if account else refusal(401, access.BAD_TOKEN)
        if words[:3] == ["api", "resolve-cache", "models"] and len(words) > 6:
            return self._file(request, account, "/".join(words[3:5]), words[5], "/".join(words[6:]), None)
        if words == ["api", "models"]:
            return self._search(request, account)
        if words[:2] == ["api", "models"]:
            return self._model(request, account, words[2:])
        if len(words) > 4 and words[2] == "resolve":
            seconds = self._link_seconds if link_seconds is None else link_seconds
            return self._file(request, account, "/".join(words[:2]), words[3], "/".join(words[4:]), seconds)
        return refusal(404, "Sorry, we can't find the page you are looking for.")

    def _search(self, request: Request, account: Account | None) -> Answer:
        wanted, author = request.first("search").lower(), request.first("author")
        granted = account is not None and account.granted
        found = [
            {"_id": documents.object_id(m.name), "id": m.name, "modelId": m.name, "private": m.private}
            for m in (*models.MODELS, *models.ON_THE_HUB)
            if wanted in m.name.lower() and m.name.startswith(author) and (granted or not m.private)
        ]
        return as_json(found[: int(request.first("limit", "1000"))])

    def _model(self, request: Request, account: Account | None, words: list[str]) -> Answer:
        name = "/".join(words[:2])
        found = self.repository(name)
        hidden = access.invisible(found, account)
        if hidden or found is None:
            answer = hidden or refusal(404, "Repository not found", "RepoNotFound")
        else:
            answer = self._document(request, account, found, words[2:])
        answer.model = name
        return answer

    def _document(
        self, request: Request, account: Account | None, found: Repository, words: list[str]
    ) -> Answer:
        what = words[0] if words else "revision"
        if what == "auth-check":
            return access.gated(found, account) or as_json({})
        if what == "refs":
            return as_json(documents.refs(found))
        revision = found.revision(words[1] if len(words) > 1 else "main")
        if revision is None:
            return refusal(404, f"Invalid rev id: {words[1]}", "RevisionNotFound")
        if what == "revision":
            expand = request.query.get("expand", []) + request.query.get("expand[]", [])
            return as_json(documents.info(found, revision, blobs=request.flag("blobs"), expand=expand))
        if what == "tree":
            return self._tree(request, revision, "/".join(words[2:]).strip("/"))
        if what == "paths-info" and request.method == "POST":
            wanted, expand_all = _form(request)
            return as_json(documents.paths(revision, wanted, expand=expand_all))
        if what == "commits":
            listed = [{"id": r.commit, "title": r.title, "message": "", "authors": [], "date": r.date}
                      for r in (revision,)]  # fmt: skip
            return as_json(listed)
        return refusal(404, "Sorry, we can't find the page you are looking for.")

    def _tree(self, request: Request, revision: Revision, folder: str) -> Answer:
        expand = request.flag("expand")
        entries = documents.tree(revision, folder, recursive=request.flag("recursive"), expand=expand)
        if entries is None:
            return refusal(404, f"{folder} does not exist on {revision.commit}", "EntryNotFound")
        most = min(self._page_size, _PAGE_EXPANDED) if expand else self._page_size
        size = min(int(request.first("limit") or most), most)
        start = int(base64.urlsafe_b64decode(request.first("cursor") or "MA=="))
        answer = as_json(entries[start : start + size], headers={"X-Repo-Commit": revision.commit})
        if start + size < len(entries):
            cursor = base64.urlsafe_b64encode(str(start + size).encode()).decode()
            query = {key: values[0] for key, values in request.query.items()}
            query |= {"limit": str(size), "cursor": cursor}
            host = request.headers.get("host", "")
            answer.headers["Link"] = f'<http://{host}{request.path}?{urlencode(query)}>; rel="next"'
        return answer

    def _file(
        self,
        request: Request,
        account: Account | None,
        name: str,
        wanted: str,
        path: str,
        link_seconds: float | None,
    ) -> Answer:
        """A file of a repository: refused, sent, or (`link_seconds` given) where to get it."""
        found = self.repository(name)
        refused = access.invisible(found, account) or (access.gated(found, account) if found else None)
        revision = found.revision(wanted) if found else None
        if refused:
            answer = refused
        elif revision is None:
            answer = refusal(404, f"Invalid rev id: {wanted}", "RevisionNotFound")
        elif path not in revision.files:
            answer = refusal(404, "Entry not found", "EntryNotFound")
            answer.headers["X-Repo-Commit"] = revision.commit
        else:
            answer = self._there(request, name, revision, revision.files[path], link_seconds)
        answer.model, answer.file = name, path
        return answer

    def _there(
        self, request: Request, name: str, revision: Revision, file: File, link_seconds: float | None
    ) -> Answer:
        headers = {"X-Repo-Commit": revision.commit, "Accept-Ranges": "bytes"}
        quoted = f"{name}/{revision.commit}/{quote(file.path)}"
        if link_seconds is None:
            if request.headers.get("if-none-match", "").strip() == f'"{file.etag}"':
                return Answer(304, {**headers, "ETag": f'"{file.etag}"'})
            return ranged(request, file.content, {**headers, **_kind(file)}, file.etag)
        if file.lfs:
            status = 302
            location = self._link(f"/repos/{quoted}", link_seconds)
            headers |= {"X-Linked-Size": str(file.size), "X-Linked-Etag": f'"{file.sha256}"'}
        else:
            status = 307
            location = f"/api/resolve-cache/models/{quoted}?{urlencode({'etag': file.etag})}"
        headers |= {"Location": location, "ETag": f'"{file.etag}"', "Content-Type": "text/plain"}
        return Answer(status, headers, Given(f"Found. Redirecting to {location}".encode()))

    def _link(self, path: str, seconds: float) -> str:
        expires = int(time.time() + seconds)
        return f"{self.cdn}{path}?{urlencode({'Expires': expires, 'Signature': self._sign(path, expires)})}"

    def _sign(self, path: str, expires: int) -> str:
        return hmac.new(self._secret, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()

    def store(self, request: Request) -> Answer:
        """The answer of the CDN: it knows links, no tokens."""
        words = request.words()
        name, path = "/".join(words[1:3]), "/".join(words[4:])
        expires = int(request.first("Expires", "0") if request.first("Expires", "0").isdecimal() else "0")
        signature = request.first("Signature")
        revision = self._revision(name, words[3] if len(words) > 4 else "")
        if not hmac.compare_digest(signature.encode(), self._sign(request.path, expires).encode()):
            answer = _denied("The signature does not fit.")
        elif expires <= time.time():
            answer = _denied("Request has expired")
        elif revision is None or path not in revision.files:
            answer = Answer(
                404, {"Content-Type": "application/xml"}, Given(_xml("NoSuchKey", "No such key."))
            )
        else:
            file = revision.files[path]
            base = quote(path.rpartition("/")[2])
            shown = f"inline; filename*=UTF-8''{base}; filename=\"{base}\";"
            headers = {"Content-Type": "binary/octet-stream", "Content-Disposition": shown}
            answer = ranged(request, file.content, headers, file.sha256)
        answer.model, answer.file = name, path
        return answer

    def _revision(self, name: str, commit: str) -> Revision | None:
        found = self.repository(name)
        return found.revisions.get(commit) if found else None

    def change(self, name: str, document: dict[str, Any]) -> Answer:
        """Gate a repository or make it private, or the other way round."""
        found = self.repository(name)
        kinds: dict[str, Callable[[Any], bool]] = {
            "gated": lambda value: value in ("", "auto", "manual"),
            "private": lambda value: isinstance(value, bool),
        }
        if found is None:
            return refusal(404, f"no model {name}")
        for key, value in document.items():
            if key not in kinds or not kinds[key](value):
                return refusal(400, f"{key}: {value!r} cannot be")
        for key, value in document.items():
            setattr(found, key, value)
        return as_json({"id": name, "gated": found.gated, "private": found.private})


def encoding(request: Request, name: str) -> Answer:
    """A vocabulary, as the store of OpenAI's public files sends it."""
    data = models.encodings().get(name)
    if data is None:
        said = _xml("BlobNotFound", "The specified blob does not exist.")
        answer = Answer(404, {"Content-Type": "application/xml"}, Given(said))
    else:
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-MD5": base64.b64encode(md5).decode(),
            "Last-Modified": email.utils.formatdate(1_700_000_000, usegmt=True),
            "x-ms-blob-type": "BlockBlob",
        }
        answer = ranged(request, Given(data), headers, f"0x{md5.hex()[:15].upper()}")
    answer.model, answer.file = ENCODINGS, name
    return answer


def _kind(file: File) -> dict[str, str]:
    text = "application/json" if file.path.endswith(".json") else "text/plain; charset=utf-8"
    return {"Content-Type": text}


def _denied(message: str) -> Answer:
    return Answer(403, {"Content-Type": "application/xml"}, Given(_xml("AccessDenied", message)))


def _xml(code: str, message: str) -> bytes:
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f"{head}<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def _form(request: Request) -> tuple[list[str], bool]:
    """Paths and `expand` of a paths-info request: a form, or JSON."""
    if "json" in request.headers.get("content-type", ""):
        document = json.loads(request.body)
        return list(document["paths"]), bool(document.get("expand"))
    form = parse_qs(request.body.decode())
    return form.get("paths", []), form.get("expand", [""])[0].lower() in ("1", "true")
