"""The Hugging Face Hub, asked with its own client: a commit, its files, and the model's shape.

Nothing here retries for long: a preview without a network must say so in seconds.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    NotASafetensorsRepoError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    SafetensorsParsingError,
)
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import get_session, hf_raise_for_status

from cluster import fit, hub_files, values
from cluster.config import Settings
from cluster.hub_files import Resolved
from cluster.resolution import HubError, HubUnavailable, no_such_model
from cluster.weights_plan import ModelFile, ModelFiles
from remote import hub_token
from remote.hub_token import TRUE
from remote.hub_token import Token as Token
from remote.node import hub_names, hub_wait

DEFAULT_ENDPOINT = "https://huggingface.co"
DEFAULT_REVISION = "main"
#: Seconds for one answer of the Hub; the client's own default for a byte to arrive.
REQUEST_TIMEOUT_S = 10.0
#: Seconds for a question as a whole, name service included, which no HTTP time-out covers.
DEADLINE_S = 12.0
#: Of one answer: the header of a weight file is the longest. One that is packed may grow a thousand times.
ANSWER_BYTES, PACKED_BYTES = 64 << 20, 2 << 20
#: Seconds for the headers of all shards: 160 of them for the largest models.
HEADERS_DEADLINE_S = 60.0
#: All that is waited because the Hub asks for it (429), and how often in a row: its quotas are for 300 s.
LIMIT_S = 600.0
LIMIT_TRIES = 4
#: What is waited beyond what it asks: its clock and ours are not one.
LIMIT_MORE_S = 1.0
_PARALLEL = 8
T = TypeVar("T")


def endpoint() -> str:
    """The Hub's address: HF_ENDPOINT, the client's own variable, else huggingface.co. Raises HubError."""
    found = (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).strip().rstrip("/")
    try:
        parts = urlsplit(found)
        named = bool(parts.username or parts.password)
        if not named:
            values.web_address(found)
    except ValueError as error:
        raise HubError(
            f"HF_ENDPOINT is {found!r}, which is no address of a Hub ({error}). Set it like "
            f"{DEFAULT_ENDPOINT}."
        ) from None
    if named:
        raise HubError(
            "HF_ENDPOINT holds a name or password, which would be shown and kept. Put a token into hfToken."
        )
    return found


def offline() -> bool:
    """Whether HF_HUB_OFFLINE says that the Hub must not be asked."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in TRUE


def token(settings: Settings) -> Token:
    """The token to ask with; see remote/hub_token.py. Raises HubError."""
    return hub_token.find(settings.hf_token.get_secret_value() if settings.hf_token else None)


class Hub:
    """One Hub, for one run. `requests` counts questions about models, for tests and measurements."""

    def __init__(
        self,
        address: str,
        token: Token,
        timeout: float = REQUEST_TIMEOUT_S,
        on_progress: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ) -> None:
        """`address` as `endpoint` gives it; `on_progress` is told when the Hub asks to wait."""
        self._on_progress = on_progress
        self.address, self.token, self.timeout = address, token, timeout
        self._secret = token.value or False
        self._api = HfApi(endpoint=address, token=self._secret)

    def resolve(self, model: str, revision: str | None, trust_remote_code: bool) -> Resolved:
        """The commit of `revision` (None: main) and the needed files of it. One request.

        Raises HubError with what is wrong, HubUnavailable when there was no answer, PlanError for a
        repository that the engine cannot load.
        """
        commit, gated, files = self._ask(model, revision, lambda: self._listed(model, revision))
        if not commit:
            raise HubUnavailable(f"The Hub ({self.address}) names no commit of {model}.")
        if len(files) > hub_names.MOST_FILES:
            raise self._untrusted(model, f"it has more than {hub_names.MOST_FILES:,} files")
        for file in files:
            if not hub_names.is_path(file.path):
                shown = hub_names.shown(file.path)
                raise self._untrusted(model, f"the file name {shown} is not a plain relative path")
        chosen = hub_files.needed(model, files, trust_remote_code)
        if problem := hub_names.wrong(commit, [asdict(file) for file in chosen]):
            raise self._untrusted(model, problem)
        if unknown := [file.path for file in chosen if not file.digest]:
            raise self._untrusted(model, f"there is no checksum of {unknown[0]}")
        return Resolved(ModelFiles(model, commit, self.address, chosen), gated)

    def check_access(self, model: str) -> None:
        """Raises HubError unless the token may download the gated `model`. One request."""
        self._ask(model, None, lambda: self._get(f"{self.address}/api/models/{model}/auth-check"))

    def shape(self, found: ModelFiles) -> dict[str, Any]:
        """`config`, `quantisation` (or None) and `tensors` (bytes by name, experts of a layer together).

        A request for each small file and each weight file's header. Raises as `resolve`.
        """
        paths = [file.path for file in found.files]
        shards = [path for path in paths if path.endswith(".safetensors")]

        def everything() -> dict[str, Any]:
            quantised = "hf_quant_config.json"
            with ThreadPoolExecutor(_PARALLEL) as pool:
                config = pool.submit(self._json, found, "config.json")
                extra = pool.submit(self._json, found, quantised) if quantised in paths else None
                headers = list(pool.map(lambda path: self._header(found, path), shards))
            tensors = {name: size for header in headers for name, size in header.items()}
            return {
                "config": config.result(),
                "quantisation": extra.result() if extra else None,
                "tensors": fit.collapse(tensors),
            }

        return self._ask(found.model, found.commit, everything, HEADERS_DEADLINE_S)

    def _listed(self, model: str, revision: str | None) -> tuple[str, bool, list[ModelFile]]:
        """The commit, whether it is gated, and every file, as the Hub says."""
        info = self._api.model_info(
            model, revision=revision or DEFAULT_REVISION, files_metadata=True, timeout=self.timeout
        )
        return info.sha or "", bool(info.gated), [_file(one) for one in info.siblings or []]

    def _untrusted(self, model: str, problem: str) -> HubError:
        return HubError(
            f"The Hub ({self.address}) describes {model} as no model is: {problem}. Nothing was fetched. "
            "Check HF_ENDPOINT and any proxy in between, or choose another repository."
        )

    def _header(self, found: ModelFiles, path: str) -> dict[str, int]:
        header = self._api.parse_safetensors_file_metadata(found.model, path, revision=found.commit)
        return {name: one.data_offsets[1] - one.data_offsets[0] for name, one in header.tensors.items()}

    def _json(self, found: ModelFiles, path: str) -> Any:
        url = hf_hub_url(found.model, path, revision=found.commit, endpoint=self.address)
        return self._get(url).json()

    def _get(self, url: str) -> Any:
        headers = build_hf_headers(token=self._secret)
        response = _session().get(url, headers=headers, timeout=self.timeout)
        hf_raise_for_status(response)
        return response

    def _ask(
        self, model: str, revision: str | None, question: Callable[[], T], deadline: float = DEADLINE_S
    ) -> T:
        if offline():
            raise HubUnavailable("The Hub is not asked, as HF_HUB_OFFLINE is set.")
        try:
            _session()
            return self._patiently(deadline, question)
        except HfHubHTTPError as error:
            raise self._refused(model, revision, error) from None
        except OfflineModeIsEnabled:
            raise HubUnavailable("The Hub is not asked, as HF_HUB_OFFLINE was set.") from None
        except (TimeoutError, httpx2.TimeoutException):
            raise HubUnavailable(f"The Hub ({self.address}) did not answer in time.") from None
        except (SafetensorsParsingError, NotASafetensorsRepoError):
            raise HubError(
                f"A weight file of {model} on {self.address} has no valid safetensors header. "
                "Choose another revision, or tell its owner."
            ) from None
        except (httpx2.HTTPError, OSError) as error:
            said = str(error).strip().split("\n")[0] or type(error).__name__
            if (
                self.token.value and self.token.value.strip() in said
            ):  # a header that cannot be sent is quoted
                said = type(error).__name__
            raise HubUnavailable(f"The Hub ({self.address}) cannot be asked: {said}.") from None
        except Exception as error:  # whatever the client makes of an answer that is not the Hub's
            raise HubUnavailable(
                f"The Hub ({self.address}) gave an answer that cannot be read ({type(error).__name__}). "
                "Is a proxy or a login page in between?"
            ) from None

    def _patiently(self, deadline: float, question: Callable[[], T]) -> T:
        """The answer. Where the Hub has had too many requests and says for how long, wait and ask again."""
        waited = 0.0
        for left in reversed(range(LIMIT_TRIES)):
            try:
                return within(deadline, question)
            except HfHubHTTPError as error:
                limited = error.response.status_code == 429
                asked = hub_wait.seconds(error.response.headers) if limited else None
                if asked is None or not left or waited + asked > LIMIT_S:
                    raise
            self._on_progress(
                f"The Hub ({self.address}) has had too many requests from here and asks to wait "
                f"{asked:.0f} s. A token raises the limit: `pulumi config set --secret hfToken`."
            )
            time.sleep(asked + LIMIT_MORE_S)
            waited += asked
        raise AssertionError

    def _refused(self, model: str, revision: str | None, error: HfHubHTTPError) -> HubError:
        """The sentence for an answer that is no success. The Hub says 401 for what a stranger may not
        know of, and for a token that is not valid; 404 to those it knows.
        """
        status, page = error.response.status_code, f"{self.address}/{model}"
        sent = self.token.value is not None
        if status == 401 and sent:
            return HubError(
                f"The Hub does not accept the token of {self.token.source}. Make a new one at "
                f"{self.address}/settings/tokens and set it with `pulumi config set --secret hfToken`."
            )
        if isinstance(error, GatedRepoError) and not sent:
            return HubError(
                f"{model} is gated and there is no token. Accept its licence at {page}, then set a token "
                "with `pulumi config set --secret hfToken`."
            )
        if isinstance(error, GatedRepoError) or status == 403:
            return HubError(
                f"The token of {self.token.source} has no access to {model}. Accept its licence at {page} "
                "with the token's account, and let the token read gated repositories."
            )
        if isinstance(error, RevisionNotFoundError):
            return HubError(
                f"{model} has no revision {revision or DEFAULT_REVISION}. {page}/tree/main lists its "
                "branches and tags; set one with `pulumi config set revision`."
            )
        if isinstance(error, RepositoryNotFoundError) or status in (401, 404):
            private = "it may be private to others" if sent else "a private one needs hfToken"
            return HubError(f"There is no model {model} on {self.address} ({private}).{no_such_model(model)}")
        if status == 429:
            asked = hub_wait.seconds(error.response.headers)
            later = f" It asks to wait {asked:.0f} s." if asked else ""
            return HubUnavailable(
                f"The Hub ({self.address}) has had too many requests from here.{later} A token raises the "
                "limit: `pulumi config set --secret hfToken`."
            )
        return HubUnavailable(f"The Hub ({self.address}) failed with HTTP {status}.")


class _Limited(httpx2.SyncByteStream):
    """An answer's bytes, as far as the longest one goes."""

    def __init__(self, stream: httpx2.SyncByteStream, most: int) -> None:
        self._stream, self._most = stream, most

    def __iter__(self) -> Iterator[bytes]:
        left = self._most
        for piece in self._stream:
            left -= len(piece)
            if left < 0:
                raise httpx2.ReadError(f"its answer is longer than {self._most >> 20} MB")
            yield piece

    def close(self) -> None:
        self._stream.close()


def _limit(response: httpx2.Response) -> None:
    if isinstance(response.stream, httpx2.SyncByteStream):
        packed = response.headers.get("Content-Encoding", "identity") != "identity"
        response.stream = _Limited(response.stream, PACKED_BYTES if packed else ANSWER_BYTES)


def _session() -> httpx2.Client:
    """The Hub client's own HTTP client, which it shares between all its questions; and limits."""
    client = get_session()
    hooks = client.event_hooks
    if _limit not in hooks["response"]:
        client.event_hooks = {**hooks, "response": [*hooks["response"], _limit]}
    return client


def _file(sibling: Any) -> ModelFile:
    if sibling.lfs is not None:
        return ModelFile(sibling.rfilename, int(sibling.lfs.size), sibling.lfs.sha256, lfs=True)
    return ModelFile(sibling.rfilename, int(sibling.size or 0), sibling.blob_id or "", lfs=False)


def within(seconds: float, question: Callable[[], T]) -> T:
    """The answer, or TimeoutError. The asking thread is left behind then, and keeps nobody waiting."""
    answer: Future[T] = Future()

    def ask() -> None:
        try:
            answer.set_result(question())
        except BaseException as error:  # handed over to whoever waits
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return answer.result(timeout=seconds)
