"""What counts as a completion, and the gate that waits for one."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cluster import engine_causes
from cluster.errors import NotReady, TrtSparkError
from lab.engine.tensorrt_llm.generation import Wish, words
from lab.engine.tensorrt_llm.serve import answers
from lab.engine.tensorrt_llm.tokenizer import Tokenizer
from lab.models import MODELS, files
from remote import readiness, transport
from remote.rank0 import completion

MODEL = "a/model"


def answer(content: str | None, reason: str | None = "length", **more: str) -> str:
    message = {"role": "assistant", "content": content, **more}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": reason}]})


SANE = answer("One, two, three, four")
GONE = json.dumps({"object": "error", "message": "CUDA error: an illegal instruction was encountered"})


@pytest.mark.parametrize(
    "text",
    [
        SANE,
        answer("OK.", "stop"),
        answer(None, reasoning_content="The user wants numbers"),
        answer("", reasoning="Let me count"),
        answer("ha ha ha ha, that is funny"),
        answer("one hundred thousand " * 5),
    ],
)
def test_sane_answers(text):
    assert completion.fault(200, text) == ""


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (400, GONE, "HTTP 400: CUDA error: an illegal instruction was encountered"),
        (500, "Internal Server Error", "HTTP 500: Internal Server Error"),
        (400, '{"error": {"message": "nested\\nas OpenAI does"}}', "HTTP 400: nested as OpenAI does"),
        (503, "", "HTTP 503: (nothing)"),
        (503, "\x1b[31m" + "x" * 999, "HTTP 503: [31m" + "x" * 295),
        (200, "<html>", "HTTP 200 without a completion: <html>"),
        (200, '{"choices": []}', "HTTP 200 without a completion"),
        (200, '{"choices": [{"message": "text", "finish_reason": "stop"}]}', "HTTP 200 without"),
        (200, answer("", "stop"), "the answer is empty"),
        (200, answer(None), "the answer is empty"),
        (200, answer("One, two", None), "did not finish (finish_reason null)"),
        (200, answer("One, two", "cancelled"), "did not finish (finish_reason cancelled)"),
        (200, answer("!" * 64), 'repeats "!" over and over'),
        (200, answer("Sure" + " the" * 63), 'repeats "the" over and over'),
        (200, answer(None, reasoning_content="\u2581pad" * 40), "over and over"),
    ],
)
def test_what_is_no_completion(status, text, said):
    assert said in completion.fault(status, text)


@pytest.mark.parametrize("tokens", [completion.GATE_TOKENS, completion.WATCH_TOKENS])
def test_the_simulated_engines_answers_are_sane(tmp_path, tokens):
    """Words of its own vocabulary, not made for this test."""
    (tmp_path / "tokenizer.json").write_bytes(files(MODELS[0])["tokenizer.json"].read(0, 1 << 20))
    tokenizer = Tokenizer(tmp_path)
    said = list(words(Wish(f"user: {completion.PROMPT}\nassistant:", tokens, "I am simulated."), tokenizer))
    text = "".join(one.text for one in said)
    usage = answers.Usage(9, {0: len(said)})
    whole = answers.Text(text, said[-1].finish_reason or "", None)
    made = answers.chat_answer(answers.Head("x", 1, MODEL), [whole], usage)
    assert completion.fault(200, json.dumps(made)) == ""


@pytest.fixture
def server():
    """A server that lists MODEL; a test sets its answers to completions, the last one for good."""
    script: list[tuple[int, str]] = []
    seen: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.say(200, json.dumps({"data": [{"id": MODEL}]}))

        def do_POST(self) -> None:
            seen.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.say(*(script.pop(0) if len(script) > 1 else script[0]))

        def say(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_words: object) -> None:
            pass

    one = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=one.serve_forever, daemon=True)
    thread.start()
    yield {"url": f"http://127.0.0.1:{one.server_port}", "model": MODEL}, script, seen
    one.shutdown()
    thread.join(5)
    one.server_close()


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(readiness, "FAILING_S", 0.0)
    monkeypatch.setattr(readiness, "ASK_AGAIN_S", 0.0)


def test_the_gate_asks_for_64_tokens_and_takes_a_sane_answer(server):
    props, script, seen = server
    script.append((200, SANE))
    assert readiness._Completions(props).succeed()
    assert seen[0]["max_tokens"] >= 64


@pytest.mark.parametrize("bad", [(400, GONE), (500, "no"), (200, answer("!" * 64)), (200, answer(""))])
def test_the_gate_ends_with_the_engines_words_when_completions_go_on_failing(server, bad):
    props, script, _ = server
    script.append(bad)
    gate = readiness._Completions(props)
    assert not gate.succeed()
    assert not gate.succeed()
    with pytest.raises(NotReady, match="lists the model but completes nothing, 3 times in a row: ") as caught:
        gate.succeed()
    assert completion.fault(*bad) in str(caught.value)


def test_the_gate_names_the_cause_of_a_failed_completion(server, monkeypatch):
    """/health and the list of models are well, every completion is refused, and the log says nothing."""
    props, script, _ = server
    script.append((400, GONE))
    quiet = {"look": lambda *_: None, "_failed_log": lambda _: [], "log": lambda *_: ["Uvicorn running"]}
    for name, value in quiet.items():
        monkeypatch.setattr(readiness._Watch, name, value)
    with pytest.raises(NotReady) as caught:
        readiness.gate({**props, "timeout": 60, "service": "s", "network": []}, print)
    [row] = [row for row in engine_causes.CAUSES if row.id == "gpu-fault"]
    assert row.sentence in str(caught.value)


def failed_task(number: int) -> dict[str, object]:
    status = {"State": "failed", "Err": "task: non-zero exit (143)", "ContainerStatus": {"ExitCode": 143}}
    return {"ID": str(number), "DesiredState": "shutdown", "Status": status}


@pytest.mark.parametrize(
    "log", [[], ["mpirun noticed that process rank 0 exited on signal 15 (Terminated)."]]
)
def test_the_gate_names_an_end_from_outside(server, monkeypatch, log):
    """earlyoom or systemd-oomd: exit code 143, and perhaps not a word in the log."""
    props, _, _ = server
    tasks: list[dict[str, object]] = []

    def found(_watch: object) -> list[dict[str, object]]:
        now = list(tasks)
        tasks[:] = [failed_task(number) for number in range(readiness.MAX_FAILURES)]
        return now

    monkeypatch.setattr(readiness._Watch, "_tasks", found)
    monkeypatch.setattr(readiness._Watch, "_log_of", lambda *_: log)
    monkeypatch.setattr(readiness, "LOOK_S", 0.0)
    wanted = {**props, "model": "another", "timeout": 60, "service": "s", "network": []}
    with pytest.raises(NotReady) as caught:
        readiness.gate(wanted, lambda _line: None)
    assert "journalctl -t kernel -t earlyoom -t systemd-oomd --since" in str(caught.value)
    assert "gpuMemoryFraction" in str(caught.value)


def test_a_failure_of_a_moment_is_waited_out(server):
    props, script, _ = server
    script += [(400, GONE), (500, "no"), (200, SANE)]
    gate = readiness._Completions(props)
    assert [gate.succeed() for _ in range(3)] == [False, False, True]


def test_the_gate_gives_it_its_time(server, monkeypatch):
    """Three failures at once are not yet the end, and it does not ask again and again."""
    props, script, seen = server
    monkeypatch.setattr(readiness, "FAILING_S", 60.0)
    script.append((400, GONE))
    gate = readiness._Completions(props)
    assert not any(gate.succeed() for _ in range(5))
    monkeypatch.setattr(readiness, "ASK_AGAIN_S", 60.0)
    assert not any(gate.succeed() for _ in range(5))
    assert len(seen) == 5


def test_a_longer_prompt_that_fails_is_no_proof_of_a_transport(server):
    props, script, _ = server
    script.append((400, GONE))
    with pytest.raises(TrtSparkError, match=r"over a prompt of 40 words failed.*illegal instruction"):
        transport._complete(props, 40)
    script[:] = [(400, json.dumps({"message": "… should not exceed max_num_tokens (64)"}))]
    transport._complete(props, 400)
