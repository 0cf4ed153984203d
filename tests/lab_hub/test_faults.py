"""What the real client (huggingface_hub 2.4) does when something goes wrong. docs/hub-faults.md tells it."""

import time

import httpx2
import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from lab import models
from lab.hub.content import sha256
from tests.lab_hub.conftest import MODEL, SHARD

CDN = {"place": "cdn", "model": MODEL, "file": SHARD}
CHUNK = 50_000
WHOLE = models.files(models.find(MODEL))[SHARD]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """The client's own limit is 10 s, and it writes, and so resumes, in pieces of 10 MiB."""
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)


def downloads(hub):
    return [each for each in hub.requests if each["place"] == "cdn"]


def is_whole(path):
    assert path.read_bytes() == WHOLE.read(0, WHOLE.size)
    assert path.resolve().name == sha256(WHOLE)


def test_a_connection_that_ends_early_is_resumed(hub, client):
    hub.faults.add({"kind": "cut", "after": 100_000, "times": 2, **CDN})
    is_whole(client.file())
    assert [each["range"] for each in downloads(hub)] == [None, "bytes=100000-", "bytes=200000-"]


def test_what_was_not_yet_written_is_fetched_again(hub, client):
    hub.faults.add({"kind": "cut", "after": CHUNK - 1, "times": 1, **CDN})
    is_whole(client.file())
    assert [each["range"] for each in downloads(hub)] == [None, None]


def test_a_connection_that_never_gets_as_far_as_a_chunk_is_given_up(hub, client, monkeypatch):
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
    hub.faults.add({"kind": "cut", "after": CHUNK - 1, **CDN})
    with pytest.raises(httpx2.RemoteProtocolError):
        client.file()
    assert len(downloads(hub)) == 6
    assert client.unfinished() == []


def test_resuming_where_the_server_takes_no_ranges_starts_again(hub, client):
    hub.faults.add({"kind": "cut", "after": 100_000, "times": 1, **CDN})
    hub.faults.add({"kind": "no_range", **CDN})
    is_whole(client.file())
    assert [each["status"] for each in downloads(hub)] == [200, 200]


def test_a_reset_connection_ends_the_download_and_nothing_is_kept(hub, client):
    hub.faults.add({"kind": "reset", "after": 200_000, "times": 1, **CDN})
    with pytest.raises(httpx2.ReadError):
        client.file()
    assert client.unfinished() == []
    is_whole(client.file())
    assert [each["range"] for each in downloads(hub)] == [None, None]


def test_a_silent_server_is_left_and_the_download_resumed(hub, client):
    hub.faults.add({"kind": "hang", "after": 100_000, "seconds": 30, "times": 1, **CDN})
    is_whole(client.file())
    assert downloads(hub)[1]["range"] == "bytes=100000-"


def test_an_expired_link_ends_the_download(hub, client):
    hub.faults.add({"kind": "expire", "seconds": 0, "times": 1, "place": "resolve"})
    with pytest.raises(HfHubHTTPError, match="403 Forbidden"):
        client.file()
    is_whole(client.file())  # the next call asks for a new link


def test_a_server_error_of_the_cdn_ends_the_download(hub, client):
    hub.faults.add({"kind": "status", "status": 503, "times": 1, **CDN})
    with pytest.raises(HfHubHTTPError, match="503"):
        client.file()
    assert len(downloads(hub)) == 1


def test_a_server_error_of_the_hub_looks_like_no_network(hub, client):
    hub.faults.add({"kind": "status", "status": 500, "times": 1, "place": "api"})
    with pytest.raises(LocalEntryNotFoundError, match="500"):
        client.snapshot()


def test_a_server_error_while_a_tree_is_listed_is_tried_again(hub, client):
    hub.faults.add({"kind": "status", "status": 500, "times": 1, "place": "api"})
    assert list(client.api().list_repo_tree(MODEL))


def test_a_server_error_of_a_files_address_is_tried_again(hub, client):
    hub.faults.add({"kind": "status", "status": 502, "times": 1, "place": "resolve", "method": "HEAD"})
    is_whole(client.file())


def test_a_rate_limit_of_the_api_is_not_waited_for(hub, client):
    hub.faults.add({"kind": "rate_limit", "seconds": 1, "times": 1, "place": "api"})
    with pytest.raises(LocalEntryNotFoundError, match="Retry after 1 seconds"):
        client.snapshot()


def test_a_rate_limit_of_the_cdn_is_waited_for(hub, client):
    hub.faults.add({"kind": "status", "status": 429, "retry_after": 0, "times": 1, **CDN})
    begun = time.monotonic()
    is_whole(client.file())
    assert time.monotonic() - begun >= 1  # the client adds a second


def test_fewer_bytes_than_the_hub_said_are_noticed(hub, client):
    hub.faults.add({"kind": "short", "after": 100_000, "times": 1, **CDN})
    with pytest.raises(OSError, match="Consistency check failed"):
        client.file()
    assert client.unfinished() == []


def test_a_wrong_byte_is_not_noticed(hub, client):
    """Nothing but `hf cache verify`, or our own check, sees it."""
    hub.faults.add({"kind": "corrupt", "at": WHOLE.size - 1, "times": 1, **CDN})
    found = client.file()
    assert found.read_bytes() != WHOLE.read(0, WHOLE.size)
    assert client.hf("cache", "verify", MODEL).returncode == 1


def test_a_slow_server(hub, client):
    hub.faults.add({"kind": "slow", "rate": WHOLE.size, **CDN})
    begun = time.monotonic()
    is_whole(client.file())
    assert time.monotonic() - begun > 0.8


def test_one_rate_for_all_connections(hub, client):
    name = "lab/hundred-files"
    size = sum(c.size for n, c in models.files(models.find(name)).items() if n.endswith("ors"))
    hub.faults.add({"kind": "slow", "rate": size, "shared": True, "model": name, "place": "cdn"})
    begun = time.monotonic()
    client.snapshot(name, allow_patterns=["*.safetensors"])
    assert time.monotonic() - begun > 0.8


def test_gated_while_it_is_being_fetched(hub, client):
    client.file("config.json")
    hub.routes.change(MODEL, {"gated": "manual"})
    try:
        with pytest.raises(HfHubHTTPError, match="gated"):
            client.file()
    finally:
        hub.routes.change(MODEL, {"gated": ""})
    is_whole(client.file())


def test_a_process_killed_in_the_middle_leaves_a_file_that_nothing_takes_for_whole(hub, client):
    """Each process has unfinished files of its own name: the next one starts from the first byte."""
    hub.faults.add({"kind": "cut", "after": 100_000, **CDN})
    hub.faults.add({"kind": "hang", "after": 50_000, "seconds": 30, **CDN})
    with pytest.raises(Exception, match="timed out"):
        client.hf("download", MODEL, SHARD, deadline=4)
    assert len(client.unfinished()) == 1
    hub.faults.clear()
    hub.requests.clear()
    assert client.hf("download", MODEL, SHARD).returncode == 0
    assert downloads(hub)[0]["range"] is None
    assert len(client.unfinished()) == 1  # and the old one stays until somebody prunes
