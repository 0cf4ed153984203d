"""From a parsed command line to a listening server, in the real program's order."""

import asyncio
import json
import signal
import socket
from pathlib import Path
from types import FrameType
from typing import Any

from .. import checkpoint, gpu, hub, llm_args, startup_log
from ..commands.serve import engine_values
from ..executor.proxy import start
from ..executor.rank import Job
from ..logger import logger
from ..tokenizer import Tokenizer
from ..version import EARLY_2026, REUSE_ADDRESS, at_least, current

KEEP_ALIVE_SECONDS = 5


def launch(values: dict[str, Any], given: set[str]) -> None:
    """Serve until a signal.

    Raises:
        Exception: whatever goes wrong becomes a traceback and exit code 1, as in the real one.
    """
    logger.set_level(values["log_level"])
    logger.banner(current())
    args = _arguments(values, given)
    listener = _bind(values["host"], values["port"]) if at_least(EARLY_2026) else None
    try:
        llm_args.check(args)
    except ValueError as error:
        logger.error(f"Failed to parse the arguments for the LLM constructor: {error}")
        raise
    folder = hub.resolve(values["model"], values.get("revision") or args["revision"])
    config = checkpoint.read_config(folder)
    tokenizer = Tokenizer(hub.resolve(values["tokenizer"]) if values["tokenizer"] else folder)
    has_tokenizer = _has_tokenizer(values["tokenizer"] or values["model"], config)
    behaviour = checkpoint.behaviour(folder)
    engine = start(Job(str(folder), args, values["log_level"]))
    from .app import application  # the web framework is not needed to fail
    from .faults import Faults
    from .model import Model

    model = Model(
        name=values.get("served_model_name") or hub.served_name(values["model"]),
        label=hub.hub_id(values["model"], folder),
        harmony=config["model_type"] == "gpt_oss",
        max_seq_len=startup_log.fitted_seq_len(args, config),
        args=args,
        tokenizer=tokenizer,
        behaviour=behaviour,
        faults=Faults(behaviour.fail, has_tokenizer),
        engine=engine,
        slots=asyncio.Semaphore(args["max_batch_size"]),
    )
    _run(application(model), values["host"], values["port"], listener)


def _arguments(values: dict[str, Any], given: set[str]) -> llm_args.Args:
    """The engine's arguments, from the command line and the YAML file."""
    import yaml  # only when there is a file it costs its import

    document: object = {}
    if values["extra_llm_api_options"]:
        document = yaml.safe_load(Path(values["extra_llm_api_options"]).read_text())
    if values["media_io_kwargs"]:
        json.loads(values["media_io_kwargs"])
    by_field, by_hand = engine_values(values, given)
    if by_field["gpus_per_node"] is None:
        by_field["gpus_per_node"] = gpu.device_count()
    if by_field["gpus_per_node"] == 0:
        raise ValueError("No GPU devices found on the node")
    return llm_args.merge(by_field, by_hand, document)


def _has_tokenizer(name: str, config: dict[str, Any]) -> bool:
    """Whether the server can load its tokenizer; without one it starts and refuses every chat."""
    if not (hub.offline() and hub.asks_for_model_info(name, config)):
        return True
    logger.warning(
        f"Failed to load the tokenizer: Cannot reach https://huggingface.co/api/models/{name}: offline mode "
        "is enabled. To disable it, please unset the `HF_HUB_OFFLINE` environment variable."
    )
    return False


def _bind(host: str, port: int) -> socket.socket:
    """Take the port before the load; connections are refused until the server listens.

    Up to 1.3.0rc24 without SO_REUSEADDR: for a minute after a server with open connections ended,
    the next one cannot have its port (issue 17915).
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if at_least(REUSE_ADDRESS):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise RuntimeError(f"Failed to bind socket to {host}:{port}: {error}") from error
    return listener


def _run(app: Any, host: str, port: int, listener: socket.socket | None) -> None:
    import uvicorn  # its import takes as long as everything before

    received: list[int] = []

    class Server(uvicorn.Server):  # type: ignore[misc]  # uvicorn is untyped here
        """Remembers the signal that ended it, as newer releases of uvicorn do."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            received.append(sig)
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="info",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        loop="asyncio",
        ws="none",
    )
    asyncio.run(Server(config).serve(sockets=[listener] if listener else None))
    if signal.SIGTERM in received:
        # The uvicorn of the real image raises the signal again when all is shut down: exit code 143.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
