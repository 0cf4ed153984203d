"""HTTP as such: ranges, links, the vocabularies, the lab's own addresses, the program on its own."""

import hashlib
import json
import subprocess
import sys
import threading

import pytest
import requests

from lab import models
from lab.engine.tensorrt_llm.serve import harmony
from lab.hub.access import stored_tokens
from tests.lab_hub.conftest import MODEL, SHARD

WHOLE = models.files(models.find(MODEL))[SHARD]
DATA = WHOLE.read(0, WHOLE.size)


@pytest.fixture
def link(hub):
    answer = requests.head(f"{hub.url}/{MODEL}/resolve/main/{SHARD}", timeout=5)
    assert answer.status_code == 302
    assert answer.headers["X-Linked-Size"] == str(WHOLE.size)
    assert answer.headers["X-Linked-Etag"] == f'"{hashlib.sha256(DATA).hexdigest()}"'
    assert answer.headers["X-Repo-Commit"] == models.commit(models.find(MODEL))
    assert not any(name.lower().startswith("x-xet") for name in answer.headers)
    return answer.headers["Location"]


@pytest.mark.parametrize(
    ("wanted", "status", "body"),
    [
        (None, 200, DATA),
        ("bytes=0-99", 206, DATA[:100]),
        ("bytes=100-", 206, DATA[100:]),
        ("bytes=-7", 206, DATA[-7:]),
        (f"bytes=5-{10**12}", 206, DATA[5:]),
        (f"bytes={len(DATA)}-", 416, b""),
        ("bytes=9-3", 416, b""),
        ("bytes=0-1,4-5", 200, DATA),
        ("lines=1-2", 200, DATA),
    ],
)
def test_ranges(link, wanted, status, body):
    answer = requests.get(link, headers={"Range": wanted} if wanted else {}, timeout=5)
    assert (answer.status_code, answer.content) == (status, body)
    assert answer.headers["Accept-Ranges"] == "bytes"
    if status == 206:
        assert answer.headers["Content-Range"].endswith(f"/{len(DATA)}")
    if status == 416:
        assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"


def test_a_range_under_a_condition(link):
    etag = requests.head(link, timeout=5).headers["ETag"]
    for condition, status in ((etag, 206), ('"other"', 200)):
        headers = {"Range": "bytes=1-2", "If-Range": condition}
        assert requests.get(link, headers=headers, timeout=5).status_code == status


def test_links_are_signed(hub, link):
    assert requests.get(link[:-1] + ("0" if link[-1] != "0" else "1"), timeout=5).status_code == 403
    assert requests.get(link.replace("Expires=1", "Expires=2"), timeout=5).status_code == 403
    assert requests.get(link.replace("00001-of", "00002-of"), timeout=5).status_code == 403
    hub.faults.add({"kind": "expire", "seconds": 0, "times": 1})
    old = requests.head(f"{hub.url}/{MODEL}/resolve/main/{SHARD}", timeout=5).headers["Location"]
    expired = requests.get(old, timeout=5)
    assert expired.status_code == 403
    assert "Request has expired" in expired.text


def test_a_small_file_is_sent_from_the_hubs_own_address(hub):
    answer = requests.get(f"{hub.url}/{MODEL}/resolve/main/config.json", timeout=5)
    assert answer.history[0].status_code == 307
    assert answer.json()["model_type"] == "qwen2"
    etag = answer.headers["ETag"]
    again = requests.get(answer.url, headers={"If-None-Match": etag}, timeout=5)
    assert (again.status_code, again.content) == (304, b"")


def test_the_vocabularies(hub):
    for name, checksum in harmony.CHECKSUMS.items():
        answer = requests.get(f"{hub.encodings}/{name}", timeout=5)
        assert hashlib.sha256(answer.content).hexdigest() == checksum
    assert requests.get(f"{hub.encodings}/p50k_base.tiktoken", timeout=5).status_code == 404
    hub.faults.add({"kind": "corrupt", "at": 3, "place": "encodings", "file": "o200k*"})
    wrong = requests.get(f"{hub.encodings}/o200k_base.tiktoken", timeout=5).content
    assert hashlib.sha256(wrong).hexdigest() != harmony.CHECKSUMS["o200k_base.tiktoken"]


def test_faults_over_the_wire(hub):
    faults = f"{hub.url}/-/faults"
    added = requests.post(faults, json={"kind": "status", "place": "api", "times": 1}, timeout=5).json()
    assert requests.get(f"{hub.url}/api/models/{MODEL}", timeout=5).status_code == 503
    assert requests.get(f"{hub.url}/api/models/{MODEL}", timeout=5).status_code == 200
    assert requests.get(faults, timeout=5).json()[0]["hits"] == 1
    requests.delete(f"{faults}/{added[0]['id']}", timeout=5)
    assert requests.get(faults, timeout=5).json() == []
    seen = requests.get(f"{hub.url}/-/requests", timeout=5).json()
    assert [each["status"] for each in seen] == [503, 200]


@pytest.mark.parametrize(
    "document",
    [{}, {"kind": "none"}, {"kind": "slow"}, {"kind": "hang"}, {"kind": "cut", "place": "moon"},
     {"kind": "cut", "afer": 3}],
)  # fmt: skip
def test_a_fault_that_cannot_be_is_refused(hub, document):
    assert requests.post(f"{hub.url}/-/faults", json=document, timeout=5).status_code == 400
    assert hub.faults.listed() == []


def test_access_changes_while_it_runs(hub):
    address = f"{hub.url}/-/models/{MODEL}"
    assert requests.patch(address, json={"gated": "perhaps"}, timeout=5).status_code == 400
    assert requests.patch(address, json={"gated": "manual"}, timeout=5).json()["gated"] == "manual"
    assert requests.get(f"{hub.url}/{MODEL}/resolve/main/config.json", timeout=5).status_code == 401
    requests.patch(address, json={"gated": ""}, timeout=5)
    assert requests.get(f"{hub.url}/{MODEL}/resolve/main/config.json", timeout=5).ok


def test_what_is_not_there(hub):
    for path in ("/", "/none", "/api/none", "/api/models/a", "/-/none", "/a/b/c/d"):
        assert requests.get(hub.url + path, timeout=5).status_code in (401, 404), path


def test_the_same_bytes_whoever_asks_at_the_same_time(link):
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(requests.get(link, timeout=10).content))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [DATA] * 8


def test_tokens_are_kept(tmp_path):
    tokens = stored_tokens(tmp_path)
    assert stored_tokens(tmp_path) == tokens
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert tokens.granted.startswith("hf_")


def test_the_program_on_its_own(tmp_path):
    command = [sys.executable, "-m", "lab.hub", "--port", "0", "--tokens", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        where = json.loads(program.stdout.readline())
        token = (tmp_path / "token").read_text().strip()
        assert "token" not in where
        headers = {"Authorization": f"Bearer {token}"}
        who = requests.get(f"{where['hub']}/api/whoami-v2", headers=headers, timeout=5).json()
        assert who["name"] == "lab-member"
        program.terminate()
        assert program.wait(10) == 0


def test_a_port_that_is_taken(hub):
    port = hub.url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "lab.hub", "--port", port], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert "cannot be had: Address already in use" in done.stderr
