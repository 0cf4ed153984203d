"""One command over one connection: dial with retries, run, tell both kinds of failure apart."""

import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO

from plugins.ssh.connection import Hop, InvalidConnectionError, Invocation, invocation

# Between attempts to reach a machine, in seconds: as the vendor's plugin waits.
FIRST_DELAY = 0.1
DELAY_FACTOR = 1.5
LONGEST_DELAY = 5.0

UNLIMITED = -1
AUTHENTICATED = re.compile(r"^Authenticated to |^debug1: Authentication succeeded", re.M)
PERMISSION_DENIED = re.compile(r"^.*Permission denied \(.*\)", re.M)
HOST_KEY_PROBLEM = re.compile(r"Host key verification failed|no matching host key type", re.M)
CONNECT_PROBLEM = re.compile(r"connect to (?:host|address) .* port \d+: (.+?)\r?$", re.M)
RESOLVE_PROBLEM = re.compile(r"Could not resolve hostname .*?: (.+?)\r?$", re.M)
NO_COMMON_HOST_KEY = re.compile(r"no matching host key type found\. Their offer: (\S+)")
PASSPHRASE_PROBLEM = re.compile(r"incorrect passphrase|bad passphrase|Load key .*: (.+?)\r?$", re.M)
RESET_PROBLEM = re.compile(r"(Connection reset by peer)")
CLOSED_PROBLEM = re.compile(r"Connection closed by|kex_exchange_identification: Connection closed")
DIALLED = re.compile(r"^debug1: Connecting to .* \[(.+?)\] port", re.M)
PROXY_PROBLEM = re.compile(r"open failed: (?:connect failed|[a-z ]+): (.+?)\r?$", re.M)


class DialError(Exception):
    """The machine cannot be reached, or one of the two sides is not who it should be."""

    def __init__(self, message: str, at_proxy: bool = False) -> None:
        super().__init__(message)
        self.at_proxy = at_proxy


@dataclass(frozen=True)
class Ended:
    """How a remote command ended: a status, or (None) by a signal or a lost connection."""

    status: int | None
    reason: str
    stdout: str
    stderr: str
    both: str


Line = Callable[[str], None]
_running: set["Popen[bytes]"] = set()


@dataclass(frozen=True)
class Target:
    """A machine, the one to go through, and how often to dial again (-1: for ever)."""

    hop: Hop
    proxy: Hop | None = None
    redials: int = 10


def end_running() -> None:
    """End every ssh that still runs (the engine wants to leave)."""
    for process in list(_running):
        process.kill()


def run(
    command: str,
    target: Target,
    *,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    on_stdout: Line | None = None,
    on_stderr: Line | None = None,
    on_retry: Line | None = None,
) -> Ended:
    """Run `command` by the login shell of `target`; `environment` needs the server's AcceptEnv.

    The callbacks get each line of output, and each failed attempt, as it comes.
    Raises DialError when the last attempt failed.
    """
    delay, failed = FIRST_DELAY, 0
    while True:
        try:
            return _attempt(command, target, stdin, environment or {}, (on_stdout, on_stderr))
        except DialError as error:
            failed += 1
            if target.redials > UNLIMITED and failed > target.redials:
                where = "proxy: " if error.at_proxy else ""
                raise DialError(f"{where}after {failed - 1} failed attempts: {error}") from None
            if on_retry:
                limit = "inf" if target.redials == UNLIMITED else str(target.redials)
                on_retry(f"Dial {failed}/{limit} failed: retrying")
            time.sleep(delay)
            delay = min(delay * DELAY_FACTOR, LONGEST_DELAY)


def _attempt(
    command: str,
    target: Target,
    stdin: str,
    environment: Mapping[str, str],
    lines: tuple[Line | None, Line | None],
) -> Ended:
    folder = Path(tempfile.mkdtemp(prefix="trtllm-dgx-spark-ssh-"))
    try:
        ssh = invocation(folder, target.hop, target.proxy)
        argv = [*ssh.argv[:1], *_send(environment), *ssh.argv[1:], command]
        process = Popen(argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={**ssh.env, **environment})
        _running.add(process)
        try:
            out, err, both = _transfer(process, stdin, lines)
        finally:
            _running.discard(process)
        log = _read(ssh.log)
        if not AUTHENTICATED.search(log):
            _refuse_unreadable_keys(log, target.hop)
            raise _dial_error(ssh, log, target)
        status, reason = _how_it_ended(log, process.returncode)
        return Ended(status, reason, out, err, both)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _send(environment: Mapping[str, str]) -> list[str]:
    # By name only: the values stay out of the process list.
    return [word for name in environment for word in ("-o", f"SendEnv={name}")]


def _transfer(
    process: "Popen[bytes]", stdin: str, lines: tuple[Line | None, Line | None]
) -> tuple[str, str, str]:
    """Feed and drain the process to its end; return stdout, stderr and both interleaved."""
    both: list[bytes] = []
    outputs: tuple[list[bytes], list[bytes]] = ([], [])
    threads = [
        threading.Thread(target=_drain, args=(stream, output, both, line), daemon=True)
        for stream, output, line in zip((process.stdout, process.stderr), outputs, lines, strict=True)
    ]
    for thread in threads:
        thread.start()
    assert process.stdin is not None
    try:
        process.stdin.write(stdin.encode())
        process.stdin.close()
    except BrokenPipeError:
        pass  # a command need not read its input
    for thread in threads:
        thread.join()
    process.wait()
    texts = [b"".join(part).decode(errors="replace") for part in (*outputs, both)]
    return texts[0], texts[1], texts[2]


def _drain(stream: IO[bytes], output: list[bytes], both: list[bytes], line: Line | None) -> None:
    for text in stream:
        output.append(text)
        both.append(text)
        if line:
            line(text.decode(errors="replace").rstrip("\r\n"))


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _how_it_ended(log: str, returncode: int) -> tuple[int | None, str]:
    if "rtype exit-status" in log:
        return returncode, f"Process exited with status {returncode}"
    if "rtype exit-signal" in log:
        return None, "Process exited by a signal"
    return None, "wait: remote command exited without exit status or exit signal"


def _refuse_unreadable_keys(log: str, hop: Hop) -> None:
    """Raise InvalidConnectionError for a key that cannot be read: that is not tried again."""
    if not PASSPHRASE_PROBLEM.search(log) or hop.private_key is None:
        return
    if hop.private_key_password is not None:
        raise InvalidConnectionError("x509: decryption password incorrect")
    raise InvalidConnectionError("ssh: no key found")


def _dial_error(ssh: Invocation, log: str, target: Target) -> DialError:
    """One line that names the machine and what is wrong."""
    if ssh.proxy_log and target.proxy:
        proxy_log = _read(ssh.proxy_log)
        if not AUTHENTICATED.search(proxy_log):
            return DialError(_hop_problem(proxy_log, target.proxy), at_proxy=True)
        if refused := PROXY_PROBLEM.search(proxy_log):
            return DialError(f"ssh: rejected: connect failed ({refused[1]})", at_proxy=True)
    return DialError(_hop_problem(log, target.hop))


def _hop_problem(log: str, hop: Hop) -> str:
    """The problem in the words of Go's net and x/crypto/ssh, which the vendor's plugin passes on."""
    if found := CONNECT_PROBLEM.search(log):
        reason = found[1].lower()
        problem = "i/o timeout" if "timed out" in reason else f"connect: {reason}"
        return f"dial tcp {_endpoint(log, hop)}: {problem}"
    if RESOLVE_PROBLEM.search(log):
        return f"dial tcp: lookup {hop.host}: no such host"
    if found := NO_COMMON_HOST_KEY.search(log):
        ours = (hop.host_key or "").split()[:1]
        return (
            "ssh: handshake failed: ssh: no common algorithm for host key; "
            f"we offered: {_quoted_list(ours)}, peer offered: {_quoted_list(found[1].split(','))}"
        )
    if HOST_KEY_PROBLEM.search(log):
        return "ssh: handshake failed: ssh: host key mismatch"
    if PERMISSION_DENIED.search(log):
        return (
            "ssh: handshake failed: ssh: unable to authenticate, "
            f"attempted methods [{hop.methods}], no supported methods remain"
        )
    if found := RESET_PROBLEM.search(log):
        return f"ssh: handshake failed: read tcp {_endpoint(log, hop)}: read: {found[1].lower()}"
    if CLOSED_PROBLEM.search(log):
        return "ssh: handshake failed: EOF"
    return f"ssh: handshake failed: {_last_line(log)}"


def _endpoint(log: str, hop: Hop) -> str:
    """The address that was dialled, as ssh's log has it."""
    found = DIALLED.findall(log)
    address = found[-1] if found else hop.host
    return f"[{address}]:{hop.port}" if ":" in address else f"{address}:{hop.port}"


def _quoted_list(items: list[str]) -> str:
    return "[" + " ".join(f'"{item}"' for item in items) + "]"


def _last_line(log: str) -> str:
    lines = [line for line in log.splitlines() if line and not line.startswith("debug1: ")]
    return lines[-1] if lines else "the connection ended during the handshake"
