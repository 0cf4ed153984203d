"""The engine as it runs: in the image's own root file system, with its OpenMPI and its web server."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from lab import image, image_base, image_layer, models
from lab.state import CACHE

pytestmark = [
    pytest.mark.long,
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="chroot and namespaces need root"),
]
DRIVER = Path(__file__).parent / "drive.py"
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", "trtllm-llmapi-launch"]
QWEN = "Qwen/Qwen2.5-7B-Instruct"
CHAT = "/v1/chat/completions"
SETUP = """
set -e
mount --make-rprivate /
ip link set lo up
mount -t proc proc "$ROOT/proc"
mount --rbind /sys "$ROOT/sys"
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs tmpfs "$ROOT/tmp"
mount --bind "$HF" "$ROOT/mnt"
exec chroot "$ROOT" "$@"
"""


@pytest.fixture(scope="session")
def roots():
    """Unpacked images by the generation of OpenMPI, each made when it is first asked for."""
    made = {}

    def root(openmpi):
        if openmpi not in made:
            made[openmpi] = Path(tempfile.mkdtemp(prefix="trtllm-image-", dir="/var/tmp"))
            unpack(openmpi, made[openmpi])
        return made[openmpi]

    try:
        yield root
    finally:
        for folder in made.values():
            shutil.rmtree(folder)


def unpack(openmpi, root):
    """The image's layers, and a GPU's nvidia-smi as the NVIDIA runtime would mount it."""
    base = image_base.build(CACHE, openmpi=openmpi)
    with tempfile.TemporaryDirectory() as work:
        engine = image_layer.pack(image.engine_members(base.python_magic), Path(work, "engine.tar.gz"))
        for layer in (base, engine):
            subprocess.run(["tar", "-xzf", layer.path, "-C", root], check=True)
    tool = root / "usr/bin/nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA GB10 (UUID: GPU-lab-1)'\n")
    tool.chmod(0o755)
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {os.uname().nodename}\n")
    shutil.copy(DRIVER, root / "drive.py")


@pytest.fixture
def drive(roots, hf_home):
    """Run one task of drive.py in the image, in a network of its own; what it saw."""

    def run(command, asks=None, version=image.VERSION, files=None, openmpi=4, **task):
        root = roots(openmpi)
        for name, text in (files or {}).items():
            (root / name).write_text(text)
        inside = {
            **image.ENVIRONMENT,
            "TRT_LLM_VERSION": version,
            "HF_HOME": "/mnt",
            "HF_HUB_OFFLINE": "1",
            "TIKTOKEN_ENCODINGS_BASE": "/mnt/tiktoken-encodings",
            "NCCL_SOCKET_IFNAME": "lo",
            "NCCL_DEBUG": "INFO",
            "HOME": "/root",
        }
        words = [
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "bash",
            "-c",
            SETUP,
            "setup",
        ]
        words += ["python3", "/drive.py", json.dumps({"command": command, "asks": asks, **task})]
        done = subprocess.run(
            words,
            env={**inside, "ROOT": str(root), "HF": str(hf_home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def serve(model, *words):
    return ["trtllm-serve", model, "--port", "8355", "--max_batch_size", "8", *words]


def chunks(text):
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


def test_one_process(drive):
    user = {"model": "any", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 40}
    asks = [
        ["GET", "/health"],
        ["GET", "/version"],
        ["GET", "/v1/models"],
        ["GET", "/nope"],
        ["POST", "/health"],
        ["GET", "/health_generate"],
        ["POST", CHAT, user],
        ["POST", CHAT, {**user, "unknown": 1}],
        ["POST", CHAT, "{"],
        ["POST", CHAT, {**user, "messages": [{"role": "user", "content": "long " * 200}]}],
        ["POST", CHAT, {**user, "stream": True, "stream_options": {"include_usage": True}}],
        ["POST", "/v1/completions", {"model": "any", "prompt": "hi", "max_tokens": 3, "n": 2}],
        ["POST", "/v1/completions", {"model": "any", "prompt": "hi", "max_tokens": 3, "stream": True}],
        ["POST", "/v1/responses", {"model": "any", "input": "hi", "max_output_tokens": 30}],
        ["GET", "/v1/responses/resp_1"],
    ]
    seen = drive(serve("openai/gpt-oss-20b", "--max_num_tokens", "128"), asks)
    answers = iter(seen["answers"])
    assert next(answers) == [200, None, ""]
    assert json.loads(next(answers)[2]) == {"version": "1.3.0rc5"}
    model = json.loads(next(answers)[2])["data"][0]
    assert (model["id"], model["owned_by"]) == ("openai/gpt-oss-20b", "tensorrt_llm")
    assert next(answers)[::2] == [404, '{"detail":"Not Found"}']
    assert next(answers)[::2] == [405, '{"detail":"Method Not Allowed"}']
    assert next(answers)[::2] == [200, "Generation health check OK"]
    answer = json.loads(next(answers)[2])
    text = answer["choices"][0]["message"]["content"]
    assert text.startswith("I am openai/gpt-oss-20b, simulated, running on 1 rank: ")
    assert answer["model"] == "any"
    assert (answer["choices"][0]["finish_reason"], answer["usage"]["completion_tokens"]) == ("length", 40)
    status, _, body = next(answers)
    assert status == 400
    assert "Extra inputs are not permitted" in json.loads(body)["error"]
    assert next(answers)[0] == 400
    status, _, body = next(answers)
    assert (status, json.loads(body)["type"]) == (400, "BadRequestError")
    assert json.loads(body)["message"] == (
        "The sum of prompt length (204.0), query length (0) should not exceed max_num_tokens (128)"
    )
    _, kind, stream = next(answers)
    assert kind.startswith("text/event-stream")
    assert stream.endswith("data: [DONE]\n\n")
    parts = chunks(stream)
    assert parts[0]["choices"][0]["delta"] == {"role": "assistant"}
    assert "".join(part["choices"][0]["delta"]["content"] for part in parts[1:-1]) == text
    assert (parts[-2]["choices"][0]["finish_reason"], parts[-1]["choices"]) == ("length", [])
    assert parts[-1]["usage"] == answer["usage"]
    both = json.loads(next(answers)[2])
    assert [choice["index"] for choice in both["choices"]] == [0, 1]
    assert both["usage"]["completion_tokens"] == 6
    assert len(chunks(next(answers)[2])) == 3
    response = json.loads(next(answers)[2])
    assert response["output"][0]["content"][0]["text"].startswith("I am openai/gpt-oss-20b")
    status, _, body = next(answers)
    assert (status, json.loads(body)["type"]) == (404, "InvalidRequestError")
    assert seen["exit"] == -signal.SIGTERM  # raised again when all is shut down
    assert seen["log"].index("Application startup complete.") < seen["log"].index("Shutting down")


def test_two_ranks(drive):
    completion = {"model": "any", "prompt": "hi", "max_tokens": 3}
    chat = {"model": "any", "messages": [{"role": "user", "content": "who are you"}]}
    asks = [["POST", "/v1/completions", completion], ["POST", CHAT, chat]]
    seen = drive([*MPIRUN, *serve(QWEN, "--tp_size", "2")], asks, kill="/usr/local/bin/trtllm-serve")
    assert seen["ready"] < 10
    host = os.uname().nodename
    text = json.loads(seen["answers"][1][2])["choices"][0]["message"]["content"]
    assert text.startswith(f"I am {QWEN}, simulated, running on 2 ranks: {host}, {host} over NET/Socket.")
    log = seen["log"]
    for line in (
        "rank0 run mgmn leader node with mpi_world_size: 2 ...",
        "rank1 run mgmn worker node with mpi_world_size: 2 ...",
        "rank 0 using MpiCommSession to bind to external MPI processes",
        "[TRT-LLM] [RANK 0] [I] Model init total -- ",
        "NCCL INFO NET/Socket : Using [0]lo:127.0.0.1<0>",
        "rank 1 nranks 2 cudaDev 0",
        "worker rank1 quited",
    ):
        assert line in log
    assert "[RANK 1] [I]" not in log  # only rank 0 is given --log_level
    assert seen["exit"] == 0  # a server that was asked to stop takes the others with it


def test_the_other_ranks_take_their_log_level_from_the_environment(drive):
    command = ["env", "TLLM_LOG_LEVEL=INFO", *MPIRUN, *serve(QWEN, "--tp_size", "2")]
    assert "[TRT-LLM] [RANK 1] [I] Model init total -- " in drive(command, [])["log"]


def test_completions_fail_while_health_is_200(drive):
    chat = ["POST", CHAT, {"model": "any", "messages": [{"role": "user", "content": "hi"}]}]
    seen = drive(serve("lab/illegal-instruction"), [chat, chat, ["GET", "/health"], ["GET", "/v1/models"]])
    assert [answer[0] for answer in seen["answers"]] == [200, 400, 200, 200]
    assert "an illegal instruction was encountered" in json.loads(seen["answers"][1][2])["message"]
    streamed = ["POST", CHAT, {**chat[2], "stream": True}]
    seen = drive(serve("lab/completions-500"), [streamed, chat, ["GET", "/health"]])
    assert [answer[0] for answer in seen["answers"]] == [500, 500, 200]


def test_transformers_4_57_3_wants_its_tokenizer_by_path(drive):
    chat = ["POST", CHAT, {"model": "any", "messages": [{"role": "user", "content": "hi"}]}]
    asks = [["GET", "/v1/models"], chat]
    seen = drive(serve(QWEN), asks, version="1.2.1")
    assert [answer[0] for answer in seen["answers"]] == [200, 400]
    path = f"/mnt/hub/models--Qwen--Qwen2.5-7B-Instruct/snapshots/{models.commit(models.find(QWEN))}"
    seen = drive(serve(QWEN, "--tokenizer", path), asks, version="1.2.1")
    assert [answer[0] for answer in seen["answers"]] == [200, 200]
    assert json.loads(seen["answers"][0][2])["data"][0]["id"] == QWEN


def test_a_killed_rank_ends_the_job(drive):
    seen = drive(
        [*MPIRUN, *serve(QWEN, "--tp_size", "2")], [], kill="mgmn_worker_node", signal=signal.SIGKILL
    )
    assert seen["exit"] == 137
    assert "mpirun detected that one or more processes exited with non-zero status" in seen["log"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([QWEN, "--tp-size", "2"], 2, "No such option"),
        (["org/other"], 1, "LocalEntryNotFoundError"),
        (["/models/none"], 1, "Repo id must be in the form"),
        ([QWEN, "--extra_llm_api_options", "/none.yml"], 1, "FileNotFoundError"),
        (
            [QWEN, "--config", "/wrong.yml"],
            1,
            "Failed to parse the arguments for the LLM constructor: 1 valid",
        ),
        ([QWEN, "--tp_size", "2"], 1, "Only 1 GPUs are available, but 2 are required."),
        (["lab/missing-shard"], 1, "load_weights_fused_qkv_helper"),
        (["lab/out-of-memory"], 1, "Executor creation failed due to insufficient GPU memory."),
        (["lab/crash-at-load"], 1, "RuntimeError: Executor worker returned error"),
        (["lab/never-ready"], None, "Loading weights"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_starts_that_fail(drive, words, code, said):
    seen = drive(["trtllm-serve", *words], files={"wrong.yml": "kv_cache: {}\n"}, seconds=4)
    assert seen["exit"] == code
    assert said in seen["log"]


@pytest.mark.parametrize(("version", "code"), [("1.3.0rc5", None), ("1.3.0rc29", 1)])
def test_the_launcher_outlives_its_server_until_late_2026(drive, version, code):
    command = [*MPIRUN, *serve("lab/crash-at-load", "--tp_size", "2")]
    seen = drive(command, version=version, seconds=5)
    assert seen["exit"] == code
    assert "RuntimeError: Executor worker returned error" in seen["log"]
    assert ("Rank0 Task exit code: 1" in seen["log"]) is (code == 1)


def test_parallelism_that_does_not_fit(drive):
    seen = drive([*MPIRUN, *serve(QWEN, "--tp_size", "3")], seconds=4)
    assert "n_workers must be equal to the number of processes in MPI, got 3 vs 2" in seen["log"]


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (
            "1.3.0rc5",
            "RuntimeError: Failed to bind socket to localhost:8355: [Errno 98] Address already in use",
        ),
        ("1.2.0rc4", "[Errno 98] error while attempting to bind on address ('127.0.0.1', 8355)"),
    ],
)
def test_a_port_that_is_taken(drive, version, said):
    words = " ".join(serve(QWEN))
    seen = drive(["bash", "-c", f"python3 -m http.server 8355 & sleep 0.5; {words}"], version=version)
    assert said in seen["log"]
    assert seen["log"].count("Model init total") == (version == "1.2.0rc4")  # a load for nothing


def test_a_port_is_blocked_for_a_minute_after_a_crash(drive):
    """Issue 17915: a server without SO_REUSEADDR and the connections that it left behind."""
    script = """
        trtllm-serve MODEL --port 8355 & server=$!
        until curl -sf http://localhost:8355/health; do sleep 0.05; done
        curl -sN http://localhost:8355/v1/completions -d \\
          '{"model":"x","prompt":"x","max_tokens":900,"ignore_eos":true,"stream":true}' >/dev/null &
        sleep 0.5
        kill -9 $server
        exec trtllm-serve MODEL --port 8355
    """
    seen = drive(["bash", "-c", script.replace("MODEL", QWEN)])
    assert seen["exit"] == 1
    assert "Failed to bind socket to localhost:8355" in seen["log"]


@pytest.mark.long
def test_openmpi_5_of_late_2026(drive):
    completion = {"model": "any", "prompt": "hi", "max_tokens": 3}
    command = [*MPIRUN, *serve(QWEN, "--tp_size", "2")]
    late = {"version": "1.3.0rc29", "openmpi": 5}
    seen = drive(
        command, [["POST", "/v1/completions", completion]], kill="/usr/local/bin/trtllm-serve", **late
    )
    assert seen["answers"][0][0] == 200
    assert "Rank0 Task exit code: 143" in seen["log"]
    assert seen["exit"] == 143
    seen = drive(command, [], kill="mgmn_worker_node", signal=signal.SIGKILL, **late)
    assert seen["exit"] == 137
    assert "prterun detected that one or more processes exited with non-zero status" in seen["log"]
