"""Rank 0's main process: mpirun's words, and the files for ssh."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cluster import fabric
from cluster.launch import Login, launch_file
from remote import rank0
from remote.rank0 import codes, files, main, mpirun, peers, processes, room, server
from tests import samples

KEY = samples.HOST_KEY
LAUNCH: dict[str, Any] = {
    "ranks": [
        {"rank": 0, "address": "192.168.100.11", "user": "nvidia", "port": 22, "host_key": KEY},
        {"rank": 1, "address": "192.168.100.12", "user": "nick", "port": 2222, "host_key": "ssh-rsa AAAA"},
        {"rank": 2, "address": "192.168.100.13", "user": "nvidia", "port": 22, "host_key": KEY},
    ],
    "subnet": "192.168.100.0/24",
    "drain_s": 30,
}


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RUN", str(tmp_path / "run"))
    files.write(LAUNCH)
    return tmp_path / "run"


def options(words: list[str], kind: str) -> dict[str, str]:
    return {words[i + 1]: words[i + 2] for i, word in enumerate(words) if word == kind}


def test_openmpi_4():
    words = mpirun.words(LAUNCH, 4)
    mca = options(words, "--mca")
    assert mca["plm_rsh_args"].startswith("-F ")
    assert (mca["oob_tcp_keepalive_time"], mca["oob_tcp_keepalive_probes"]) == ("4", "3")
    assert mca["oob_tcp_if_include"] == mca["btl_tcp_if_include"] == "192.168.100.0/24"
    assert "--prtemca" not in words


def test_openmpi_5():
    words = mpirun.words(LAUNCH, 5)
    prte = options(words, "--prtemca")
    assert (prte["plm"], prte["prte_if_include"]) == ("ssh", "192.168.100.0/24")
    assert prte["plm_ssh_args"].startswith("-F ")
    # PRRTE 3's own names: it ignores what it does not know, without a word.
    assert (prte["oob_tcp_keepalive_time"], prte["oob_tcp_keepalive_intvl"]) == ("4", "2")
    assert options(words, "--mca") == {"btl_tcp_if_include": "192.168.100.0/24"}


@pytest.mark.parametrize(("major", "name"), [(4, "plm_rsh_agent"), (5, "plm_ssh_agent")])
def test_where_the_image_has_no_ssh_the_heads_own_is_used(tmp_path, monkeypatch, major, name):
    kind = "--prtemca" if major == 5 else "--mca"
    program(tmp_path, monkeypatch, "ssh", "true")
    assert name not in options(mpirun.words(LAUNCH, major), kind)
    assert files.ssh("10.0.0.2", "true")[0] == str(tmp_path / "ssh")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    found = options(mpirun.words(LAUNCH, major), kind)
    assert found[name] == "/opt/trtspark/ssh/current/ssh"
    assert files.ssh("10.0.0.2", "true")[0] == "/opt/trtspark/ssh/current/ssh"


@pytest.mark.parametrize("major", [4, 5])
def test_one_rank_on_each_node(major):
    words = mpirun.words(LAUNCH, major)
    assert words[0] == "mpirun"
    assert words[words.index("-np") + 1] == "3"
    assert words[words.index("--map-by") + 1] == "ppr:1:node"
    assert words[words.index("--bind-to") + 1] == "none"


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ("mpirun (Open MPI) 4.1.7rc1\n\nReport bugs to http://www.open-mpi.org/community/help/\n", 4),
        ("mpirun (Open MPI) 5.0.8\n", 5),
    ],
)
def test_version_of_openmpi(tmp_path, monkeypatch, text, major):
    (tmp_path / "mpirun").write_text(f"#!/bin/sh\nprintf %s '{text}'\n")
    (tmp_path / "mpirun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert mpirun.major() == major


def test_another_mpi_is_refused(tmp_path, monkeypatch):
    (tmp_path / "mpirun").write_text("#!/bin/sh\necho HYDRA build details\n")
    (tmp_path / "mpirun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SystemExit, match="not Open MPI"):
        mpirun.major()


def test_hosts_in_the_order_of_ranks(written):
    assert (written / "hostfile").read_text().splitlines() == [
        "192.168.100.11 slots=1",
        "192.168.100.12 slots=1",
        "192.168.100.13 slots=1",
    ]


def test_only_the_pinned_keys_are_known(written):
    assert (written / "known_hosts").read_text().splitlines() == [
        "[192.168.100.12]:2222 ssh-rsa AAAA",
        f"192.168.100.13 {KEY}",
    ]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (
            "192.168.100.12",
            {"user": "nick", "port": "2222", "hostkeyalgorithms": "rsa-sha2-512,rsa-sha2-256"},
        ),
        ("192.168.100.13", {"user": "nvidia", "port": "22", "hostkeyalgorithms": "ssh-ed25519"}),
    ],
)
def test_ssh_reads_its_configuration_as_meant(written, address, expected):
    done = subprocess.run(
        ["ssh", "-G", "-F", str(written / "ssh_config"), address], capture_output=True, text=True, check=True
    )
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert {key: found[key] for key in expected} == expected
    assert (found["stricthostkeychecking"], found["batchmode"]) == ("true", "yes")
    assert found["userknownhostsfile"] == f"{written}/known_hosts"


def test_the_folder_is_for_its_owner_alone(written):
    assert written.stat().st_mode & 0o777 == 0o700


def program(folder, monkeypatch, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_peers_are_waited_for_until_somebody_asks_for_the_end(tmp_path, monkeypatch, capfd):
    program(tmp_path, monkeypatch, "ssh", "echo 'ssh: Connection refused' >&2; exit 255")
    asked = threading.Event()
    threading.Timer(0.5, asked.set).start()
    peers.wait({**LAUNCH, "ranks": LAUNCH["ranks"][:2]}, asked)
    said = capfd.readouterr().out
    assert said.count("waiting for rank 1 at 192.168.100.12: ssh: Connection refused") == 1


def test_where_ssh_does_not_get_in_it_is_tried_ever_more_rarely(tmp_path, monkeypatch):
    """Under ufw's limit somebody who goes on at once is never let in again."""
    program(tmp_path, monkeypatch, "ssh", "exit 255")
    pauses = []
    asked = threading.Event()

    def wait(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 12:
            asked.set()

    monkeypatch.setattr(asked, "wait", wait)
    peers._wait_for(LAUNCH["ranks"][1], asked)
    assert pauses == sorted(pauses)
    assert 5 * pauses[-1] > 30
    assert sum(pauses[:3]) < 3


def test_a_machine_that_takes_the_login_and_says_nothing_is_tried_again(tmp_path, monkeypatch, capsys):
    program(tmp_path, monkeypatch, "ssh", "exec sleep 60")
    monkeypatch.setattr(peers, "LOGIN_S", 0.05)
    asked = threading.Event()
    monkeypatch.setattr(asked, "wait", lambda _seconds: asked.set())
    peers._wait_for(LAUNCH["ranks"][1], asked)
    assert "no answer within" in capsys.readouterr().out


def test_a_container_that_is_not_there_yet_is_asked_for_at_once_again(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "ssh", "exit 125")
    pauses = []
    asked = threading.Event()
    monkeypatch.setattr(
        asked, "wait", lambda seconds: (pauses.append(seconds), len(pauses) > 4 and asked.set())
    )
    peers._wait_for(LAUNCH["ranks"][1], asked)
    assert max(pauses) < 1


def test_peers_that_answer_are_waited_for_no_longer(tmp_path, monkeypatch, capfd):
    program(tmp_path, monkeypatch, "ssh", "exit 0")
    peers.wait(LAUNCH, threading.Event())
    assert capfd.readouterr().out.count("is there") == 2


def test_it_understands_the_launch_file_of_the_program(tmp_path, monkeypatch):
    """The two sides are written apart: cluster/launch.py writes what rank 0 reads."""
    monkeypatch.setattr(files, "RUN", str(tmp_path))
    planned = fabric.plan(samples.facts(2), [[], []])
    launch = json.loads(launch_file(planned, [Login("nvidia", 22, KEY)] * 2, 7, 60 << 30, "a-b"))
    files.write(launch)
    assert (tmp_path / "known_hosts").read_text() == f"192.168.100.12 {KEY}\n"
    assert "192.168.100.0/24" in mpirun.words(launch, 4)
    assert launch["drain_s"] == 7
    assert launch["needs"] == 30 << 30
    assert launch["ready_s"] > 600
    assert launch["kernels"]["key"] == "a-b"


def test_the_program_is_one_file_that_python_runs_and_always_the_same(tmp_path):
    made = rank0.program()
    assert made == rank0.program()
    path = tmp_path / "rank0.pyz"
    path.write_bytes(made)
    done = subprocess.run(
        [sys.executable, str(path), "serve", "/bin/no-such-server"], capture_output=True, text=True
    )
    assert "no-such-server" in done.stderr
    assert "ImportError" not in done.stderr


class Beats:
    """A heartbeat without its thread: what it hears is the test's."""

    def __init__(self, monkeypatch) -> None:
        monkeypatch.setattr(
            peers.threading, "Thread", lambda **_: type("T", (), {"start": lambda _s: None})()
        )
        self.clock = 1000.0
        monkeypatch.setattr(peers.time, "monotonic", lambda: self.clock)
        self.one = peers.Heartbeat(LAUNCH["ranks"][1])

    def hear(self, *lines: str, every: float = 1.0) -> None:
        for states in lines:
            self.clock += every
            self.one.hear(list(states))
            self.one.check()


def test_a_rank_that_works_is_well_and_one_not_yet_there_too(monkeypatch):
    beats = Beats(monkeypatch)
    beats.hear("", "", "", "", "S", "SR", "RD", *["S"] * 100)


@pytest.mark.parametrize(
    ("states", "code", "seconds"),
    [("", codes.RANK_DIED, 3), ("Z", codes.RANK_DIED, 3), ("TS", codes.HUNG, 12)],
)
def test_a_rank_that_ended_or_is_stopped_ends_the_launch(monkeypatch, states, code, seconds):
    beats = Beats(monkeypatch)
    beats.hear("SS", "SR")
    with pytest.raises(codes.Ended, match=r"rank 1 at 192\.168\.100\.12") as caught:
        beats.hear(*[states] * seconds)
    assert caught.value.code == code


def test_silence_ends_the_launch_within_fifteen_seconds_and_a_hiccup_does_not(monkeypatch):
    beats = Beats(monkeypatch)
    beats.hear("S", "S")
    beats.hear("S", every=8)
    beats.clock += 15
    with pytest.raises(codes.Ended, match="no sign of life") as caught:
        beats.one.check()
    assert caught.value.code == codes.UNREACHABLE


def test_the_states_of_a_ranks_processes_and_of_no_other():
    env = {**os.environ, "OMPI_COMM_WORLD_RANK": "1"}
    child = subprocess.Popen(["sleep", "60"], env=env)
    other = subprocess.Popen(["sleep", "60"])
    try:
        wait_until(lambda: processes.ranks().get(child.pid) == "S")
        assert other.pid not in processes.ranks()
        child.send_signal(signal.SIGSTOP)
        wait_until(lambda: processes.ranks().get(child.pid) == "T")
    finally:
        child.kill()
        other.kill()
        child.wait()
        other.wait()


def wait_until(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_beat_ends_when_nobody_listens_any_more():
    child = subprocess.Popen(
        [sys.executable, processes.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert isinstance(json.loads(child.stdout.readline()), list)
    child.stdin.close()
    assert child.wait(timeout=10) == 0
    child.stdout.close()


def test_a_port_that_is_taken_is_said_before_the_load(monkeypatch):
    monkeypatch.setattr(server, "PORT_PATIENCE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(codes.Ended, match="already in use") as caught:
            server.claim("127.0.0.1", port)
    assert caught.value.code == codes.PORT_TAKEN
    server.claim("127.0.0.1", port)


def test_options_of_the_server_are_read_as_click_does():
    words = ["trtllm-serve", "a/b", "--port", "1", "--port", "2"]
    assert (server.option(words, "--port"), server.option(words, "--host")) == ("2", "")


SANE = json.dumps(
    {"choices": [{"message": {"role": "assistant", "content": "One, two, three"}, "finish_reason": "length"}]}
)
ILLEGAL = (
    400,
    json.dumps({"object": "error", "message": "CUDA error: an illegal instruction was encountered"}),
)


class Api(http.server.BaseHTTPRequestHandler):
    """An engine's API that can be told to be ill."""

    health: int | None = 200
    answers = True
    completion: tuple[int, str] = (200, SANE)
    asked = 0

    def do_GET(self):
        while type(self).health is None:
            time.sleep(0.05)
        self.say(self.health, "")

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        type(self).asked += 1
        while not type(self).answers:
            time.sleep(0.05)
        self.say(*type(self).completion)

    def say(self, status, text):
        self.send_response(status)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def api(monkeypatch):
    for name, value in (
        ("HEALTH_EVERY_S", 0.05),
        ("ASK_EVERY_S", 0.1),
        ("UNHEALTHY_S", 0.5),
        ("ANSWER_S", 1),
        ("ASK_AGAIN_S", 0.05),
        ("FAILING_S", 0.5),
    ):
        monkeypatch.setattr(server, name, value)
    kind = type("Kind", (Api,), {})
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    httpd.daemon_threads = True
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield kind, httpd.server_address[1]
    kind.answers, kind.health = True, kind.health or 200
    httpd.shutdown()
    httpd.server_close()


def ended(sign: server.Liveness, seconds: float = 10) -> codes.Ended:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            sign.check()
        except codes.Ended as error:
            return error
        time.sleep(0.02)
    pytest.fail("it was never ended")


def test_an_engine_that_answers_is_left_alone(api):
    _, port = api
    sign = server.Liveness("127.0.0.1", port, "a/b", 5)
    wait_until(lambda: sign.ready)
    for _ in range(30):
        sign.check()
        time.sleep(0.05)
    sign.ended = codes.Ended(0, "the test is over")


def test_health_at_503_for_ever_ends_the_launch(api):
    kind, port = api
    sign = server.Liveness("127.0.0.1", port, "a/b", 5)
    wait_until(lambda: sign.ready)
    kind.health = 503
    assert ended(sign).code == codes.UNHEALTHY


def test_completions_that_fail_are_no_sign_of_life(api, capfd):
    """The first one succeeds, then all are refused, and /health goes on saying 200."""
    kind, port = api
    begun = time.monotonic()
    sign = server.Liveness("127.0.0.1", port, "a/b", 5)
    wait_until(lambda: sign.ready)
    kind.completion = ILLEGAL
    found = ended(sign)
    assert found.code == codes.FAILING
    assert "HTTP 400: CUDA error: an illegal instruction was encountered" in str(found)
    assert time.monotonic() - begun > 0.5
    assert "a completion failed (1 in a row): HTTP 400" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, "Internal Server Error"), "HTTP 500: Internal Server Error"),
        ((200, SANE.replace("One, two, three", "!" * 64)), 'repeats "!" over and over'),
        ((200, "{}"), "without a completion"),
    ],
)
def test_completions_that_fail_from_the_start_end_the_launch_before_its_deadline(api, answer, said):
    kind, port = api
    kind.completion = answer
    sign = server.Liveness("127.0.0.1", port, "a/b", 60)
    found = ended(sign)
    assert (found.code, sign.ready) == (codes.FAILING, False)
    assert said in str(found)


def test_a_completion_that_fails_once_in_a_while_ends_nothing(api, monkeypatch):
    """Two in a row, for longer than it takes, and one that succeeds: it begins anew."""
    kind, port = api
    monkeypatch.setattr(server, "FAILING_S", 0.0)
    sign = server.Liveness("127.0.0.1", port, "a/b", 5)
    wait_until(lambda: sign.ready)
    for _ in range(3):
        seen = kind.asked
        kind.completion = ILLEGAL
        wait_until(lambda seen=seen: sign.failures >= 1 or kind.asked > seen + 1)
        kind.completion = (200, SANE)
        wait_until(lambda: sign.failures == 0)
        sign.check()
    sign.ended = codes.Ended(0, "the test is over")


def test_an_engine_that_is_well_by_its_health_and_answers_nothing_is_hung(api):
    kind, port = api
    sign = server.Liveness("127.0.0.1", port, "a/b", 5)
    wait_until(lambda: sign.ready)
    kind.answers = False
    found = ended(sign)
    assert found.code == codes.HUNG
    assert "no token" in str(found)


def test_a_hang_that_is_hidden_by_clients_who_give_up_and_try_again_is_found(api):
    """Their connections come and go; nobody gets a token."""
    kind, port = api
    sign = server.Liveness("127.0.0.1", port, "a/b", 5)
    wait_until(lambda: sign.ready)
    kind.answers = False
    over = threading.Event()

    def impatient() -> None:
        while not over.is_set():
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
                over.wait(0.3)

    threading.Thread(target=impatient, daemon=True).start()
    try:
        assert ended(sign).code == codes.HUNG
    finally:
        over.set()


def test_the_engines_own_word_for_a_hang_is_enough(api):
    kind, port = api
    sign = server.Liveness("127.0.0.1", port, "a/b", 5)
    wait_until(lambda: sign.ready)
    kind.completion = (400, json.dumps({"object": "error", "message": "Hang detected after 300 seconds."}))
    found = ended(sign, 0.4)  # before FAILING_S
    assert found.code == codes.HUNG
    assert "Hang detected after 300 seconds." in str(found)


def test_a_server_that_takes_no_question_any_more_is_hung(api, monkeypatch):
    """Stopped, or stuck in a loop: the kernel still accepts connections for it."""
    kind, port = api
    monkeypatch.setattr(server, "HTTP_TIMEOUT_S", 0.1)
    monkeypatch.setattr(server, "SILENT_S", 0.5)
    sign = server.Liveness("127.0.0.1", port, "a/b", 5)
    wait_until(lambda: sign.ready)
    kind.health = None
    found = ended(sign)
    assert found.code == codes.HUNG
    assert "/health" in str(found)


def test_a_server_that_is_stopped_is_told_from_a_running_one(monkeypatch):
    """The launcher keeps MPI's variables from it: it is no process of a rank."""
    monkeypatch.setattr(main.peers, "STOPPED_S", 0.2)
    child = subprocess.Popen(["sleep", "60"])
    try:
        monkeypatch.setattr(main.processes, "ranks", dict)
        assert main._own_ranks(child.pid, 0.0) == 0.0
        os.kill(child.pid, signal.SIGSTOP)
        wait_until(lambda: main.processes.state(child.pid) == "T")
        since = main._own_ranks(child.pid, 0.0)
        assert since > 0
        time.sleep(0.3)
        with pytest.raises(codes.Ended, match="stopped"):
            main._own_ranks(child.pid, since)
    finally:
        child.kill()
        child.wait()
    assert main.processes.state(child.pid) == ""


def test_never_ready_ends_at_its_deadline():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sign = server.Liveness("127.0.0.1", silent.getsockname()[1], "a/b", 0.3)
        assert ended(sign).code == codes.NOT_READY
        sign.ended = codes.Ended(0, "the test is over")


@pytest.mark.parametrize(("number", "code"), [(0, 0), (3, 3)])
def test_the_ends_own_code_is_the_containers(tmp_path, monkeypatch, number, code):
    launch = {"ranks": LAUNCH["ranks"][:1], "subnet": "", "drain_s": 0}
    monkeypatch.setenv("TRTSPARK_LAUNCH", json.dumps(launch))
    monkeypatch.setenv("TRTSPARK_ENGINE_OPTIONS", '{"a": 1}')
    monkeypatch.setattr(files, "RUN", str(tmp_path / "run"))
    monkeypatch.setattr(main, "OPTIONS_PATH", str(tmp_path / "run" / "options.yml"))
    monkeypatch.setattr(main.sys, "argv", ["/nowhere/rank0.pyz"])
    monkeypatch.setattr(main.sys, "executable", "/bin/sh")
    words = ["-c", f"exit {number}"]
    monkeypatch.setattr(main, "run", lambda *_: run_words(words))
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert main.main(["trtllm-serve", "a/b"]) == code
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
    assert (tmp_path / "run" / "options.yml").read_text() == '{"a": 1}'


def run_words(words: list[str]) -> int:
    child = subprocess.Popen(["/bin/sh", *words], start_new_session=True)
    main.watch(child, [], threading.Event(), 0, 0)
    return child.returncode


def test_a_sign_that_is_bad_ends_all_processes():
    child = subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; sleep 60 & wait"], start_new_session=True)

    def bad():
        raise codes.Ended(codes.HUNG, "test")

    with pytest.raises(codes.Ended):
        main.watch(child, [bad], threading.Event(), 0, 0)
    main.stop(child)
    assert child.poll() is not None


def test_every_code_has_its_meaning_and_its_row_in_the_docs():
    numbers = {value for name, value in vars(codes).items() if name.isupper() and isinstance(value, int)}
    assert numbers == set(codes.MEANINGS)
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    for code, meaning in codes.MEANINGS.items():
        assert f"| {code} | {meaning} |" in page


def test_pages_of_the_model_itself_are_kept(tmp_path, monkeypatch):
    """What is dropped: every file of the cache but the model's; links are not followed twice."""
    dropped = []
    monkeypatch.setattr(
        room.os, "posix_fadvise", lambda fd, *_: dropped.append(os.readlink(f"/proc/self/fd/{fd}"))
    )
    for model in ("models--a--b", "models--c--d"):
        blobs, snapshot = tmp_path / model / "blobs", tmp_path / model / "snapshots" / "1"
        blobs.mkdir(parents=True)
        snapshot.mkdir(parents=True)
        (blobs / "x").write_bytes(b"1")
        (snapshot / "model.safetensors").symlink_to("../../blobs/x")
    room.drop(str(tmp_path), "a/b")
    assert dropped == [str(tmp_path / "models--c--d" / "blobs" / "x")]


def test_pages_are_dropped_only_where_the_load_needs_the_room(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(room, "drop", lambda *_: calls.append(1))
    monkeypatch.setattr(room, "free", lambda: 10)
    assert room.look(5, "a/b") == [10, 10]
    assert calls == []
    assert room.look(50, "a/b") == [10, 10]
    assert calls == [1]


def test_the_server_and_what_it_starts_end_before_everything_else():
    child = subprocess.Popen(
        ["sh", "-c", "read go; cat /proc/self/oom_score_adj"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    before = Path("/proc/self/oom_score_adj").read_text()
    processes.end_first(child.pid)
    assert child.communicate("\n", timeout=10)[0].strip() == str(processes.FIRST_TO_END)
    assert Path("/proc/self/oom_score_adj").read_text() == before, "our own watch stays, and tells"


def test_a_process_that_has_just_ended_is_no_error(capfd):
    child = subprocess.Popen(["true"])
    child.wait()
    processes.end_first(child.pid)
    assert "cannot be set" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", codes.UNASKED), ("kill -TERM $$", 143), ("exit 143", 143), ("exit 3", 3)]
)
def test_an_end_that_nobody_asked_for_is_never_a_stop(tmp_path, monkeypatch, script, code):
    """earlyoom sends SIGTERM: a server of uvicorn's ends in good order, mpirun with 143."""

    class Compiled:
        def ended(self, _code):
            pass

    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(main.sys, "executable", str(program))
    monkeypatch.setattr(main.room, "make", lambda *_: None)
    monkeypatch.setattr(main.kernels, "prepare", lambda *_: Compiled())
    launch = {"ranks": LAUNCH["ranks"][:1], "subnet": "", "drain_s": 0}
    try:
        found = main.run(launch, ["trtllm-serve", "a/b"], threading.Event())
    except codes.Ended as ended:
        found = ended.code
    assert found == code
