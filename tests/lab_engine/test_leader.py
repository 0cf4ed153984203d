"""The server's connection to rank 0, and rank 0's hold on the other ranks."""

import asyncio
import os
import queue
import socket
import threading
import time

import pytest

from lab.engine.tensorrt_llm import llm_args
from lab.engine.tensorrt_llm.executor import leader, proxy
from lab.engine.tensorrt_llm.executor.group import Group
from lab.engine.tensorrt_llm.executor.ipc import Tampered, Unpacker, pack
from lab.engine.tensorrt_llm.executor.leader import Leader
from lab.engine.tensorrt_llm.executor.rank import Job, Rank
from lab.engine.tensorrt_llm.logger import DEFAULT_LEVEL, LEVELS, logger


class Letters:
    """MPI's messages between threads: what Group uses of a communicator."""

    def __init__(self, boxes, rank):
        self._boxes, self._rank = boxes, rank

    def Get_rank(self):  # noqa: N802 (mpi4py's name)
        return self._rank

    def Get_size(self):  # noqa: N802
        return len(self._boxes)

    def Iprobe(self, source, tag):  # noqa: N802
        return not self._boxes[self._rank][source].empty()

    def isend(self, obj, dest, tag):
        self._boxes[dest][self._rank].put(obj)
        return self

    def test(self):
        return True, None

    def recv(self, source, tag):
        return self._boxes[self._rank][source].get()


def groups(size):
    boxes = [[queue.Queue() for _ in range(size)] for _ in range(size)]
    return [Group(Letters(boxes, rank)) for rank in range(size)]


@pytest.fixture
def launched(monkeypatch):
    """The environment that the launcher leaves to the server and the leader."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    monkeypatch.setenv("TLLM_SPAWN_PROXY_PROCESS", "1")
    monkeypatch.setenv("TLLM_SPAWN_PROXY_PROCESS_IPC_ADDR", f"tcp://127.0.0.1:{port}")
    monkeypatch.setenv("TLLM_SPAWN_PROXY_PROCESS_IPC_HMAC_KEY", "ab" * 32)
    monkeypatch.setenv("tllm_mpi_size", "1")


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """An nvidia-smi that lists one GPU."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA GB10 (UUID: GPU-lab-1)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def job(folder, **changes):
    args = {**llm_args.merge({}, set(), {}), **changes}
    llm_args.check(args)
    return Job(str(folder), args)


def lead(group):
    thread = threading.Thread(target=Leader(group).run, daemon=True)
    thread.start()
    return thread


@pytest.mark.usefixtures("launched")
def test_messages_are_sealed(monkeypatch):
    message = pack({"op": "begin", "id": "x"})
    taker = Unpacker()
    assert taker.feed(message[:10]) == []
    assert taker.feed(message[10:] + message) == [{"op": "begin", "id": "x"}] * 2
    monkeypatch.setenv("TLLM_SPAWN_PROXY_PROCESS_IPC_HMAC_KEY", "cd" * 32)
    with pytest.raises(Tampered):
        Unpacker().feed(message)


@pytest.mark.usefixtures("launched", "gpu")
def test_a_request_from_begin_to_end(snapshot):
    thread = lead(groups(1)[0])
    engine = proxy.start(job(snapshot))
    assert engine.facts.hosts == (socket.gethostname(),)

    async def serve():
        await engine.attach()
        await engine.begin("one")
        await engine.worked_until("one", time.monotonic() + 0.4)  # needs several steps
        engine.end("one")
        await engine.close()

    asyncio.run(serve())
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.usefixtures("launched", "gpu")
def test_without_its_leader_the_executor_is_shut_down(snapshot):
    leading = Leader(groups(1)[0])
    threading.Thread(target=leading.run, daemon=True).start()
    engine = proxy.start(job(snapshot))

    async def serve():
        await engine.attach()
        await engine.begin("one")
        leading._server.shutdown(socket.SHUT_RDWR)  # its process is gone
        with pytest.raises(proxy.EngineError, match="shut down"):
            await engine.worked_until("one", time.monotonic() + 60)
        assert (engine.shut_down, engine.broken) == (True, "")
        with pytest.raises(proxy.EngineError, match="shut down"):
            await engine.begin("two")
        await engine.close()
        await engine._writer.wait_closed()

    asyncio.run(serve())


@pytest.mark.parametrize(("rank", "said"), [(0, "[I] Model init total"), (1, "")])
@pytest.mark.usefixtures("gpu")
def test_only_the_leader_gets_the_log_level(snapshot, monkeypatch, capsys, rank, said):
    """The others have TLLM_LOG_LEVEL's, or print errors alone."""
    monkeypatch.setattr(logger, "_level", LEVELS.index(DEFAULT_LEVEL))
    Rank(rank, 1, lambda value: [value]).load(job(snapshot))
    out = capsys.readouterr().out
    assert said in out
    assert ("[TRT-LLM]" in out) is bool(said)
    assert "[TensorRT-LLM][INFO] Refreshed the MPI local session" in out


@pytest.mark.usefixtures("launched", "gpu")
def test_a_rank_that_fails_to_load(snapshot, tmp_path, capsys):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((snapshot / name).read_bytes())
    lead(groups(1)[0])
    with pytest.raises(RuntimeError, match="Executor worker returned error"):
        proxy.start(job(tmp_path))
    log = capsys.readouterr().out
    assert "Failed to initialize executor on rank 0: No weight files found in" in log
    assert "Executor worker initialization error: RuntimeError: No weight files" in log


@pytest.mark.usefixtures("launched", "gpu")
def test_a_silent_rank_stops_the_requests(snapshot, monkeypatch, capsys):
    monkeypatch.setattr(leader, "HANG_SECONDS", 0.3)
    monkeypatch.setenv("tllm_mpi_size", "2")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "lo")
    first, second = groups(2)
    lead(first)
    silent = threading.Event()
    follower = threading.Thread(target=follow_until_loaded, args=(second, silent))
    follower.start()
    engine = proxy.start(job(snapshot, tensor_parallel_size=2))
    assert engine.facts.transport == "NET/Socket"

    async def serve():
        await engine.attach()
        with pytest.raises(proxy.EngineError, match="Hang detected"):
            await engine.begin("one")
        assert engine.broken == "Hang detected after 0 seconds."
        await engine.close()

    asyncio.run(serve())
    silent.set()
    follower.join()
    assert "Hang detected on rank 0 in PyExecutor." in capsys.readouterr().out


def follow_until_loaded(group, silent):
    """Another rank that goes silent after its start."""
    rank = Rank(group.rank, group.size, group.allgather)
    try:
        rank.load(Job(**group.broadcast()["job"]))
        silent.wait(10)
    finally:
        rank.close()


@pytest.mark.usefixtures("launched")
def test_parallelism_and_ranks(snapshot, monkeypatch):
    with pytest.raises(ValueError, match="n_workers must be equal"):
        proxy.start(job(snapshot, tensor_parallel_size=2))
    monkeypatch.delenv("TLLM_SPAWN_PROXY_PROCESS")
    with pytest.raises(RuntimeError, match=r"Only 1 GPUs are available, but 2 are required\."):
        proxy.start(job(snapshot, tensor_parallel_size=2))


def test_without_a_gpu(snapshot, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TLLM_SPAWN_PROXY_PROCESS", raising=False)
    with pytest.raises(RuntimeError, match="Executor worker returned error") as caught:
        proxy.start(job(snapshot))
    assert str(caught.value.__cause__) == "Only 0 GPUs are available, but 1 are required."


def test_gather_and_broadcast():
    members = groups(3)
    results = [None] * 3

    def one(rank):
        results[rank] = members[rank].allgather(rank * 10)

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert results == [[0, 10, 20]] * 3
    with pytest.raises(TimeoutError):
        members[0].gather(None, patience=0.1)
