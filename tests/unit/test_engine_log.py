"""The engine's log, by lines as NCCL and TensorRT-LLM print them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import engine_causes, engine_log, exits
from cluster.engine_log import RankTransport
from cluster.log_lines import Reader

LOGS = Path(__file__).parents[1] / "fixtures" / "engine-log"

IB = (
    "spark-1:212:212 [0] NCCL INFO NET/IB : Using [0]rocep1s0f1:1/RoCE [1]roceP2p1s0f1:1/RoCE [RO]; "
    "OOB enp1s0f1np1:10.100.184.1<0>"
)
SOCKET = "spark-2:87:87 [0] NCCL INFO NET/Socket : Using [0]enP7s7:10.0.1.3<0>"


def test_transport_of_every_rank():
    assert engine_log.transports(["noise", IB, "", SOCKET]) == (
        RankTransport("spark-1", "IB", ("rocep1s0f1", "roceP2p1s0f1")),
        RankTransport("spark-2", "Socket", ("enP7s7",)),
    )


def test_mpiruns_prefix_does_not_hide_the_host():
    """mpirun may tag each line with the rank it came from."""
    [found] = engine_log.transports([f"[1,1]<stdout>: {IB}"])
    assert (found.host, found.transport) == ("spark-1", "IB")


def test_the_last_report_of_a_host_counts():
    again = IB.replace(":212:212", ":999:999")
    fallen = SOCKET.replace("spark-2", "spark-1")
    assert [t.transport for t in engine_log.transports([IB, fallen])] == ["Socket"]
    assert [t.transport for t in engine_log.transports([fallen, again])] == ["IB"]


def test_devices_that_were_only_looked_for_prove_nothing():
    assert engine_log.transports(["spark-1:1:1 [0] NCCL INFO NET/IB : No device found."]) == ()


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "gpuMemoryFraction"),
        ("ValueError: Unknown architecture for AutoModelForCausalLM: Gemma2ForCausalLM", "another image"),
        ("OSError: [Errno 98] Address already in use", "the port is taken"),
        ("Error: No such option: --max_batch_sise", "extraArgs"),
        ("huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached", "hf download"),
        (
            "spark-1:9:9 [0] a.cc:307 NCCL WARN Call to ibv_modify_qp failed with 110 Connection timed out",
            "NCCL",
        ),
        ("[trtspark] gave up: rank 1 at 192.168.100.12: Connection refused", "did not answer over ssh"),
        ("RuntimeError: Executor worker returned error", "crashed while loading"),
    ],
)
def test_cause_says_what_it_means_and_shows_the_line(line, part):
    said = engine_log.cause(["loading", line, "bye"])
    assert part in said
    assert line in said


def test_a_cause_explains_more_than_its_consequence():
    lines = ["CUDA out of memory", "RuntimeError: Executor worker returned error"]
    assert "out of memory" in engine_log.cause(lines)


def test_an_unknown_error_is_shown_as_it_is():
    assert engine_log.cause(["a", "KeyError: 'rope_scaling'", "b"]) == "KeyError: 'rope_scaling'"


def test_nothing_wrong_has_no_cause():
    lines = [IB, "INFO:     Uvicorn running on http://10.24.11.11:8355", "Loading weights: 100%"]
    assert engine_log.cause(lines) == ""
    assert not any(engine_log.fatal(line) for line in lines)


@pytest.mark.parametrize(
    "line",
    [
        "RuntimeError: Executor worker returned error",
        "spark-2:9:9 [0] a.cc:307 NCCL WARN Failed to initialize any NET plugin",
    ],
)
def test_fatal_lines_end_the_wait(line):
    assert engine_log.fatal(line)


def test_a_traceback_that_the_engine_survives_is_not_the_end():
    assert not engine_log.fatal("Traceback (most recent call last):")


def test_waiting_for_a_peer_is_not_the_end():
    assert not engine_log.fatal("[trtspark] waiting for rank 1 at 192.168.100.12: Connection refused")


def recorded() -> list[tuple[str, str]]:
    return [
        (path.stem, line) for path in sorted(LOGS.glob("*.log")) for line in path.read_text().splitlines()
    ]


def first_row(line: str) -> engine_causes.Cause:
    found = engine_causes.row(line)
    assert found is not None
    return found


@pytest.mark.parametrize(("row", "line"), recorded())
def test_a_recorded_line_is_recognised_as_what_it_is(row, line):
    assert first_row(line).id == row


def test_every_row_has_a_recorded_line():
    assert {row for row, _ in recorded()} == {row.id for row in engine_causes.CAUSES}


@pytest.mark.parametrize(("row", "line"), recorded())
def test_what_is_harmless_is_no_cause_and_only_the_usual_is_not_marked(row, line):
    known = first_row(line)
    assert bool(engine_log.cause([line])) != known.harmless
    marked = engine_causes.recognised(line)
    assert (marked is None) == (row == "worker-waiting")


#: Lines of real machines (docs/real-world.md), and the command or key that the explanation has to name.
MACHINES = [
    ("[FP4 gemm Runner] Failed to run cutlass FP4 gemm on sm120", "another image"),
    ("no kernel image is available for execution on the device", "pulumi config rm image"),
    ("an illegal instruction was encountered", "another image"),
    ("Transformers does not recognize this architecture", "another image"),
    ("Unable to find address for: enp1s0f1np1", "GLOO_SOCKET_IFNAME"),
    ("Got async fatal event: port error", "ibdev2netdev"),
    ("Got async event: GID table change", "ip -br addr"),
    ("exited on signal 11", "docs/images.md"),
    ("exited on signal 15", "journalctl -t kernel -t earlyoom -t systemd-oomd --since"),
    ("[Errno 28] No space left on device", "df -h"),
    ("[Errno 13] Permission denied: '/root/.cache/huggingface/hub/models--a--b/blobs/0f'", "chown"),
    ("SafetensorError: Error while deserializing header: incomplete metadata", "weights.verify full"),
    ("No CUDA GPUs are available", "docker info"),
    (
        "This container was built for NVIDIA Driver Release 580.95 or later, but version 580.82 was detected",
        "apt full-upgrade",
    ),
]


@pytest.mark.parametrize(("line", "names"), MACHINES)
def test_a_line_of_a_real_machine_is_explained_everywhere(line, names):
    assert names in engine_log.cause([line])
    read = Reader(["spark-1", "spark-2"]).read(line)
    assert names in read.known
    assert not read.harmless


@pytest.mark.parametrize(("line", "names"), MACHINES)
def test_what_follows_from_it_does_not_hide_it(line, names):
    consequences = [
        "RuntimeError: Executor creation failed with NCCL error: remote process exited or there was a "
        "network error",
        "[11/24/2025-14:08:55] [TRT-LLM] [E] Executor worker initialization error: Traceback",
    ]
    passing = "NVIDIA Driver" in line
    said = engine_log.cause([line, *(consequences)])
    assert (names in said) != passing
    assert names in engine_log.cause(["Loading weights: 100%", line, "INFO:     Shutting down"])


@pytest.mark.parametrize("signal", ["9 (Killed)", "15 (Terminated)", "11 (Segmentation fault)"])
@pytest.mark.parametrize(("line", "names"), [one for one in MACHINES if "another image" in one[1]])
def test_the_signal_that_ends_a_failed_engine_is_no_cause(line, names, signal):
    """TensorRT-LLM ends its own processes with SIGKILL when one of them has failed."""
    ended = f"mpirun noticed that process rank 0 with PID 0 on node spark-1 exited on signal {signal}."
    assert names in engine_log.cause([line, ended])


def test_a_rank_that_was_killed_is_the_cause_of_the_others_errors():
    lost = (
        "torch.distributed.DistBackendError: NCCL error: remote process exited or there was a network error"
    )
    ended = "mpirun noticed that process rank 1 with PID 0 on node spark-2 exited on signal 9 (Killed)."
    for lines in ([lost, ended], [ended, lost]):
        assert engine_log.cause(lines).startswith(
            next(one.means for one in engine_causes.CAUSES if one.id == "killed")
        )


@pytest.mark.parametrize(
    "alarm",
    [line for row, line in recorded() if row in ("autotuner", "client-request", "ucx-device", "log-level")],
)
def test_a_false_alarm_is_no_cause_and_hides_none(alarm):
    assert engine_log.cause(["Loading weights", alarm, "INFO:     Application startup complete."]) == ""
    later = "OSError: [Errno 98] Address already in use"
    for lines in ([alarm, later], [later, alarm]):
        assert "port" in engine_log.cause(lines)
    assert engine_log.cause([alarm, "KeyError: 'rope_scaling'"]) == "KeyError: 'rope_scaling'"
    assert Reader().read(alarm).harmless


@pytest.mark.parametrize(
    "line",
    [
        "[11/24/2025-14:08:55] [TRT-LLM] [I] LLM Args: model='a/b' trust_remote_code=True",
        "[TRT-LLM] [I] Starting the server with trust_remote_code=True",
    ],
)
def test_a_model_whose_code_is_trusted_is_no_cause(line):
    assert engine_log.cause([line]) == ""
    assert Reader().read(line).known == ""


def test_an_older_driver_is_the_cause_only_when_no_error_follows():
    older = "ERROR: This container was built for NVIDIA Driver Release 580.95 or later, but"
    assert "driver" in engine_log.cause([older, "version 580.82 was detected."])
    assert engine_log.cause([older, "KeyError: 'rope_scaling'"]) == "KeyError: 'rope_scaling'"
    assert "the port is taken" in engine_log.cause([older, "[Errno 98] Address already in use"])


def test_what_mpirun_says_while_we_end_the_ranks_is_no_end_from_outside():
    signal = "mpirun noticed that process rank 1 with PID 0 on node spark-2 exited on signal 15 (Terminated)."
    asked = ["[trtspark] stopping: asked to stop", signal]
    assert engine_log.cause(asked) == ""
    reader = Reader(["spark-1", "spark-2"])
    assert [reader.read(line).known for line in asked] == ["", ""]
    failing = (
        "[trtspark] stopping: 3 completions in a row failed: HTTP 400: an illegal instruction was encountered"
    )
    assert "another image" in engine_log.cause([failing, signal])
    assert "earlyoom" in engine_log.cause([signal, "[trtspark] stopping: a worker's ranks have ended"])


def test_the_journal_is_asked_for_the_kernel_and_for_programs_that_watch_memory():
    """journalctl joins `-k` and `-u` by AND, and then has nothing to show."""
    words = engine_causes.MEMORY_JOURNAL.strip("`").split()
    assert {words[at + 1] for at, word in enumerate(words) if word == "-t"} == {
        "kernel", "earlyoom", "systemd-oomd",
    }  # fmt: skip
    assert not {"-k", "-u", "-b"} & set(words)


@pytest.mark.parametrize("code", [134, 135, 139])
def test_a_crash_is_explained_by_its_exit_code(code):
    assert exits.EXITS[code].todo
    assert Reader(["spark-1"]).read(f"[trtspark] ended with exit code {code}").level == "error"


@pytest.mark.parametrize("code", [137, 143, 78])
def test_an_end_that_nobody_asked_for_names_who_ends_programs(code):
    assert "journalctl -t kernel -t earlyoom -t systemd-oomd --since" in exits.explained(code)
    read = Reader(["spark-1"]).read(f"[trtspark] ended with exit code {code}")
    assert read.known
    assert not read.harmless


def test_an_assertion_that_says_what_it_asserts_is_no_bare_one():
    assert engine_causes.recognised("AssertionError: batch size 3") is None
