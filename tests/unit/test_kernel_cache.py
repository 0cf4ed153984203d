"""Compiled kernels: whose they are, when they are reused, and when they have to go."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cluster import kernel_cache
from remote.rank0 import codes, files, kernel_folder, kernels, main
from remote.rank0.kernel_folder import ANEW, REUSE, WITHOUT

COMMIT, OTHER_COMMIT = "a" * 40, "b" * 40
IMAGE = "registry/release@sha256:" + "1" * 64
MODEL = "openai/gpt-oss-120b"
KEY = kernel_cache.key(MODEL, COMMIT, 2, 1)


# the key


def test_a_key_names_its_model_and_split_for_people():
    assert re.fullmatch(r"openai-gpt-oss-120b-tp2-pp1-[0-9a-f]{12}", KEY)


def test_model_revision_and_split_have_keys_of_their_own():
    keys = {
        KEY,
        kernel_cache.key("openai/gpt-oss-20b", COMMIT, 2, 1),
        kernel_cache.key("openai/gpt-oss-120b", OTHER_COMMIT, 2, 1),
        kernel_cache.key("openai/gpt-oss-120b", COMMIT, 1, 2),
        kernel_cache.key("openai/gpt-oss-120b", COMMIT, 1, 1),
        kernel_cache.key("openai-gpt-oss-120b", COMMIT, 2, 1),
    }
    assert len(keys) == 6


@pytest.mark.parametrize("revision", ["", "main", "A" * 40, "a" * 39])
def test_a_model_without_a_commit_has_no_key(revision):
    assert kernel_cache.key("a/b", revision, 1, 1) == ""


@pytest.mark.parametrize("model", ["../../etc/passwd", "a b;c\n", "x" * 200, "/models/mine"])
def test_every_model_gives_a_plain_folder_name(model, monkeypatch):
    monkeypatch.delenv("TRT_LLM_VERSION", raising=False)
    name, _ = kernels.folder_name(IMAGE, kernel_cache.key(model, COMMIT, 2, 1), MODEL)
    assert kernel_folder.KEY.fullmatch(name + "-rank-1")
    assert len(name) < 120


def test_another_image_or_release_is_another_folder(monkeypatch):
    monkeypatch.setenv("TRT_LLM_VERSION", "1.3.0rc5")
    first, _ = kernels.folder_name(IMAGE, KEY, MODEL)
    assert kernels.folder_name(IMAGE[:-1] + "2", KEY, MODEL)[0] != first
    assert kernels.folder_name(IMAGE.replace("registry", "mirror"), KEY, MODEL)[0] == first
    # Somebody may have put another model into the service by hand.
    assert kernels.folder_name(IMAGE, KEY, "openai/gpt-oss-20b")[0] != first
    monkeypatch.setenv("TRT_LLM_VERSION", "1.3.0rc13")
    assert kernels.folder_name(IMAGE, KEY, MODEL)[0] != first


def test_without_a_digest_or_a_revision_there_is_no_folder():
    assert kernels.folder_name("release:1", KEY, MODEL) == ("", "the image has no digest (pullImage: false)")
    assert kernels.folder_name("", KEY, MODEL)[0] == ""
    assert kernels.folder_name(IMAGE, "", MODEL) == ("", "the model's revision is not known")


@pytest.mark.parametrize(
    ("seals", "how"),
    [
        (["x"], REUSE),
        (["x", "x"], REUSE),
        ([""], ANEW),
        (["", ""], ANEW),
        (["x", ""], ANEW),
        (["x", "y"], ANEW),
    ],
)
def test_reused_only_when_all_ranks_have_those_of_one_start(seals, how):
    assert kernels.choose([{"sealed": seal, "trouble": ""} for seal in seals]) == (how, "")


def test_one_rank_that_cannot_keep_any_is_enough_to_do_without():
    seen = [{"sealed": "x", "trouble": ""}, {"sealed": "x", "trouble": "No space left on device"}]
    assert kernels.choose(seen) == (WITHOUT, "rank 1: No space left on device")


# a pair of nodes, whose second is reached by a stand-in for ssh


class Pair:
    """Two containers: folder N is the root of rank N's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for rank in (0, 1):
            (root / str(rank) / "volume").mkdir(parents=True)
        self.launch: dict[str, Any] = {
            "ranks": [{"rank": rank, "address": f"10.0.0.{rank}"} for rank in (0, 1)],
            "kernels": {"key": KEY, "volume": f"{root}/0/volume", "link": f"{root}/0/opt/kernels"},
        }

    def ssh(self, _address: str, *words: str) -> list[str]:
        command = " ".join(words).replace(f"{self.root}/0/", f"{self.root}/1/")
        return ["bash", "-c", command.replace("python3", sys.executable, 1)]

    def files(self, rank: int) -> Path:
        """What the engine of this rank sees."""
        return self.root / str(rank) / "opt" / "kernels"

    def folders(self, rank: int) -> list[str]:
        return sorted(os.listdir(self.root / str(rank) / "volume"))

    def compiled(self) -> list[bool]:
        """Whether each rank has what `work` leaves."""
        return [(self.files(rank) / "autotuner.json").exists() for rank in (0, 1)]

    def work(self) -> None:
        for rank in (0, 1):
            (self.files(rank) / "autotuner.json").write_text("{}")

    def start(self) -> kernels.Kernels:
        return kernels.prepare(self.launch, MODEL)

    def served(self) -> kernels.Kernels:
        """A start that compiled and answered."""
        one = self.start()
        self.work()
        one.answered = time.monotonic()
        if one.kept:
            one.seal()
        return one


@pytest.fixture
def pair(tmp_path, monkeypatch):
    made = Pair(tmp_path)
    monkeypatch.setattr(files, "ssh", made.ssh)
    monkeypatch.setattr(kernel_folder, "_PRIVATE", str(tmp_path / "private"))
    monkeypatch.setenv("TRTSPARK_IMAGE", IMAGE)
    monkeypatch.delenv("TRT_LLM_VERSION", raising=False)
    # Rank 0's is this machine's /tmp otherwise; both ranks run the same source.
    source = Path(kernel_folder.__file__).read_text()
    source = source.replace("/tmp/trtspark-kernels", f"{tmp_path}/0/private")
    monkeypatch.setattr(kernels, "_program", lambda *words: ["python3", "-c", source, *words])
    return made


def test_the_second_start_finds_what_the_first_compiled(pair, capfd):
    pair.served()
    assert "no compiled kernels for this image, model and split yet" in capfd.readouterr().out
    pair.start()
    assert pair.compiled() == [True, True]
    assert "reusing the kernels" in capfd.readouterr().out


def test_each_rank_has_its_own_folder(pair):
    pair.served()
    assert [pair.folders(rank)[0].rpartition("-rank-")[2] for rank in (0, 1)] == ["0", "1"]


def test_another_model_does_not_see_them_and_the_first_finds_them_again(pair):
    pair.served()
    pair.launch["kernels"]["key"] = kernel_cache.key("a/b", COMMIT, 2, 1)
    pair.start()
    assert pair.compiled() == [False, False]
    pair.launch["kernels"]["key"] = KEY
    pair.start()
    assert pair.compiled() == [True, True]


def test_what_a_start_left_that_never_answered_is_not_used(pair):
    pair.start()
    pair.work()
    pair.start()
    assert pair.compiled() == [False, False]


def test_a_start_that_fails_with_reused_ones_is_followed_by_one_without(pair):
    """A half-written file would otherwise end every start."""
    pair.served()
    pair.start()
    assert pair.compiled() == [True, True]
    pair.start()
    assert pair.compiled() == [False, False]


@pytest.mark.parametrize(
    ("name", "content", "used_again"),
    [
        ("autotuner.json", '{"rank_0": {', False),
        ("autotuner.rank1.json", "", False),
        ("flashinfer/x.so", "", False),
        ("triton/x/x.cubin", "", False),
        ("triton/x/x.cubin", "code", True),
        ("triton/x/x.lock", "", True),
    ],
)
def test_a_file_that_is_half_written_on_one_node_makes_all_compile_anew(pair, name, content, used_again):
    """The rank that read it would end its start, and the others would wait for it."""
    pair.served()
    path = pair.files(1) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    (pair.files(0) / "kept").write_text("")
    pair.start()
    assert (pair.files(0) / "kept").exists() == used_again


def test_a_rank_whose_volume_is_new_makes_all_compile_anew(pair):
    """A rank that has tactics would not wait for the one that has none."""
    pair.served()
    [own] = pair.folders(1)
    subprocess.run(["rm", "-r", str(pair.root / "1/volume" / own)], check=True)
    pair.start()
    assert pair.compiled() == [False, False]


def test_seals_of_different_starts_are_not_mixed(pair):
    pair.served()
    [own] = pair.folders(1)
    (pair.root / "1/volume" / own / "sealed").write_text("of another start")
    pair.start()
    assert pair.compiled() == [False, False]


def test_without_a_known_image_nothing_is_kept(pair, monkeypatch, capfd):
    monkeypatch.setenv("TRTSPARK_IMAGE", "release:1")
    assert not pair.served().kept
    assert "every start compiles again: the image has no digest" in capfd.readouterr().out
    assert pair.folders(0) == []
    pair.start()
    assert pair.compiled() == [False, False]


def test_a_volume_that_is_gone_stops_no_start(pair, capfd):
    (pair.root / "1/volume").rmdir()
    assert not pair.served().kept
    assert "every start compiles again: rank 1: [Errno 2] No such file or directory" in capfd.readouterr().out
    assert pair.files(0).resolve() == pair.root / "0/private"


def test_a_disk_that_is_nearly_full_stops_no_start(pair, monkeypatch, capfd):
    source = kernels._program()[2].replace("LEAST_FREE_BYTES = 2 << 30", "LEAST_FREE_BYTES = 1 << 60")
    monkeypatch.setattr(kernels, "_program", lambda *words: ["python3", "-c", source, *words])
    pair.start()
    assert re.search(r"rank 0: only \d+\.\d GiB are free on Docker's disk", capfd.readouterr().out)


def test_a_rank_that_does_not_answer_ends_the_launch(pair, monkeypatch):
    monkeypatch.setattr(files, "ssh", lambda *_: ["bash", "-c", "echo Connection refused >&2; exit 255"])
    with pytest.raises(codes.Ended, match=r"kernels of rank 1 cannot .* Connection refused") as caught:
        pair.start()
    assert caught.value.code == codes.UNREACHABLE


def test_a_folder_that_an_engine_made_in_place_of_the_link_goes(pair):
    pair.files(0).mkdir(parents=True)
    (pair.files(0) / "triton").mkdir()
    pair.start()
    assert pair.files(0).is_symlink()


def test_nothing_happens_without_a_plan(capfd):
    assert not kernels.prepare({"ranks": [{"rank": 0}]}, MODEL).kept
    assert capfd.readouterr().out == ""


# sealing, and taking it back


def test_sealed_once_the_first_completion_has_come(pair):
    one = pair.start()
    pair.work()
    one.check(False)
    assert not one.answered
    one.check(True)
    [own] = pair.folders(0)
    deadline = time.monotonic() + 20
    while not (pair.root / "0/volume" / own / "sealed").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pair.start()
    assert pair.compiled() == [True, True]


@pytest.mark.parametrize(
    ("code", "after_s", "used_again"),
    [
        (codes.HUNG, 5000, False),
        (codes.UNHEALTHY, 5000, False),
        (codes.FAILING, 5000, False),
        (139, 5, False),
        (139, 5000, True),
        (codes.RANK_DIED, 5000, True),
        (codes.UNREACHABLE, 5, True),
    ],
)
def test_kernels_that_may_have_ended_the_engine_are_not_used_again(pair, code, after_s, used_again):
    one = pair.served()
    one.answered = time.monotonic() - after_s
    one.ended(code)
    pair.start()
    assert pair.compiled() == [used_again, used_again]


def test_a_worker_that_cannot_seal_leaves_rank_0_unsealed(pair, monkeypatch, capfd):
    one = pair.start()
    pair.work()
    monkeypatch.setattr(files, "ssh", lambda *_: ["bash", "-c", "echo No route to host >&2; exit 255"])
    one.seal()
    assert "kernels of rank 1 cannot be kept: No route to host" in capfd.readouterr().out
    [own] = pair.folders(0)
    assert "sealed" not in os.listdir(pair.root / "0/volume" / own)


# room


@pytest.fixture
def volume(tmp_path, monkeypatch):
    """Three folders of 1 MiB, the first used longest ago; of other things two."""
    monkeypatch.setattr(kernel_folder, "LEAST_FREE_BYTES", 0)
    for age, letter in ((300, "a"), (200, "b"), (100, "c")):
        folder = tmp_path / name(letter)
        folder.mkdir()
        (folder / "data").write_bytes(b"\1" * (1 << 20))
        (folder / "used").write_text("")
        os.utime(folder / "used", (time.time() - age,) * 2)
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "theirs").write_bytes(b"\1" * (4 << 20))
    return tmp_path


def name(letter: str) -> str:
    return f"{letter * 12}-model-rank-0"


@pytest.mark.parametrize(
    ("mib", "own", "left"),
    [(5, "d", "abc"), (2.5, "d", "bc"), (1.5, "d", "c"), (0.5, "d", ""), (1.5, "a", "a"), (2.5, "a", "ac")],
)
def test_the_folders_unused_for_longest_go_when_the_limit_is_passed(volume, monkeypatch, mib, own, left):
    monkeypatch.setattr(kernel_folder, "LIMIT_BYTES", int(mib * (1 << 20)))
    found = kernel_folder.look(str(volume), name(own))
    kept = {entry for entry in os.listdir(volume) if kernel_folder.KEY.fullmatch(entry)} - {name("d")}
    assert kept == {name(letter) for letter in left}
    assert found["removed"] == 3 - len(left)
    assert {"lost+found", "theirs"} <= set(os.listdir(volume))


def test_one_that_is_larger_than_the_limit_begins_anew(volume, monkeypatch):
    monkeypatch.setattr(kernel_folder, "LIMIT_BYTES", 1 << 19)
    kernel_folder.seal(str(volume), name("a"), "x")
    assert kernel_folder.look(str(volume), name("a"))["sealed"] == ""


def test_opening_a_folder_counts_as_use(volume):
    kernel_folder.open_(str(volume), str(volume / "opt/link"), name("a"), REUSE)
    assert kernel_folder._age(str(volume))(name("a")) > kernel_folder._age(str(volume))(name("c"))


def test_all_that_is_sent_is_one_program():
    done = subprocess.run(
        [sys.executable, kernel_folder.__file__, "serve", "/nowhere", "/nowhere/link", "x"],
        input="", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "No such file" in json.loads(done.stdout)["trouble"]


def test_the_variables_lead_through_the_link():
    assert all(value.startswith(kernel_cache.CURRENT + "/") for value in kernel_cache.VARIABLES.values())


# the launch tells the folders how it ended


class Recorder:
    """In place of the launch's folders: the codes it was told."""

    def __init__(self) -> None:
        self.codes: list[int] = []

    def check(self, _ready: bool) -> None:
        """Nothing to seal."""

    def ended(self, code: int) -> None:
        self.codes.append(code)


def launched(monkeypatch, script: str, asked: threading.Event, watch: Any = None) -> list[int]:
    """The codes that a launch of one rank hands on when `script` is its server."""
    recorder = Recorder()
    monkeypatch.setattr(kernels, "prepare", lambda _launch, _model: recorder)
    monkeypatch.setattr(main.sys, "executable", "/bin/sh")
    monkeypatch.setattr(main.sys, "argv", ["-c"])
    monkeypatch.setattr(main.os.path, "abspath", lambda word: word)
    real = subprocess.Popen
    monkeypatch.setattr(
        main.subprocess, "Popen", lambda _words, **more: real(["/bin/sh", "-c", script], **more)
    )
    if watch:
        monkeypatch.setattr(main, "watch", watch)
    with contextlib.suppress(codes.Ended):
        main.run({"ranks": [{"rank": 0}]}, ["trtllm-serve", "a/b"], asked)
    return recorder.codes


def test_an_engine_that_ends_hands_its_exit_code_on(monkeypatch):
    assert launched(monkeypatch, "exit 3", threading.Event()) == [3]


def test_a_launch_that_the_watch_ends_hands_its_code_on(monkeypatch):
    def hung(*_: Any) -> None:
        raise codes.Ended(codes.HUNG, "test")

    assert launched(monkeypatch, "sleep 60", threading.Event(), hung) == [codes.HUNG]


def test_a_launch_that_is_asked_to_stop_leaves_its_kernels_alone(monkeypatch):
    asked = threading.Event()
    asked.set()
    assert launched(monkeypatch, "sleep 60", asked) == []
