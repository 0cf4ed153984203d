"""One RDMA write test between two nodes, with ib_write_bw of the package perftest.

`serve` starts the receiving side apart from the ssh session, `write` runs the sending side to its end. A
receiver ends with its client, at its deadline, or with the process that watches it, whatever happens to
the operator's side. perftest listens on all interfaces and takes the first client: it is up for seconds,
on a port chosen for one test.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from remote.node import deadline, hca_counters

RDMA = "/sys/class/infiniband"
TOOL = "ib_write_bw"
#: One queue pair does not fill a rail; four do (published runs on Sparks).
QUEUE_PAIRS = 4
#: Of perftest's own start: it opens the device and registers memory first.
START_S = 8
#: Beyond the test's own time: connecting, and its warm-up.
MARGIN_S = 10
#: The output is two kilobytes; a wrong program may print anything.
MOST_OUTPUT = 20000
#: What the receiver's keeper adds to the output when the receiver has ended.
ENDED = b"\ntrtspark: ended"
LISTEN = "0A"
PR_SET_PDEATHSIG = 1


def main(args):
    """See `there`, `serve` and `write`; {"missing": true} where the tool is not installed."""
    if shutil.which(TOOL) is None:
        return {"missing": True}
    return {"there": there, "serve": serve, "write": write}[args["action"]](args)


def there(_args):
    """That the tool is, and what the adapters have counted so far: see hca_counters.errors."""
    return {"counters": hca_counters.errors({})}


def serve(args):
    """`hca`, `address` (its own), `seconds`, `deadline_s` -> {"port": number}, or, when it ended,
    {"rc", "out", "err"}.
    """
    with socket.create_server(("", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryFile() as output:
        if os.fork() == 0:
            try:
                watch(words(args, port), output.fileno(), int(args["deadline_s"]))
            finally:
                os._exit(0)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if listening(port):
                return {"port": port}
            if ENDED in os.pread(output.fileno(), MOST_OUTPUT, 0):
                break
            time.sleep(0.05)
        # pread: both processes write at the one position of the open file.
        text = os.pread(output.fileno(), MOST_OUTPUT, 0).partition(ENDED)[0].decode("utf-8", "replace")
    return {"rc": 1, "out": "", "err": text or "%s does not listen within %d s" % (TOOL, START_S)}


def watch(argv, output, deadline_s):
    """The receiver's keeper: ends it at the deadline, and takes it along when it is ended itself."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    process = subprocess.Popen(
        argv,
        stdin=null,
        stdout=output,
        stderr=output,
        env={**os.environ, "LC_ALL": "C"},
        preexec_fn=end_with_parent,
    )
    try:
        process.wait(deadline_s)
    except subprocess.TimeoutExpired:
        deadline.end(process)
    os.write(output, ENDED)


def end_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def write(args):
    """`hca`, `address`, `to`, `port`, `seconds` -> {"rc", "out", "err"} of the sending side."""
    process = subprocess.Popen(
        [*words(args, args["port"]), args["to"]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},
        preexec_fn=end_with_parent,
    )
    try:
        out, err = process.communicate(timeout=int(args["seconds"]) + MARGIN_S)
    except subprocess.TimeoutExpired:
        deadline.end(process)
        deadline.close(process)
        return {"rc": 124, "out": "", "err": "no end within %d s" % (int(args["seconds"]) + MARGIN_S)}
    return {"rc": process.returncode, "out": out[-MOST_OUTPUT:], "err": err[-MOST_OUTPUT:]}


def words(args, port):
    """The command line of either side; both must name the same time and number of queue pairs."""
    index = gid_index(args["hca"], args["address"], args.get("root", RDMA))
    found = [TOOL, "-d", args["hca"], "-p", str(port), "-D", str(args["seconds"]), "-q", str(QUEUE_PAIRS)]
    found += ["-F", "--report_gbits"]
    return found if index is None else [*found, "-x", str(index)]


def gid_index(hca, address, root):
    """Where the RoCE v2 GID of an IPv4 address is now: it moves with reboots and link flaps."""
    octets = socket.inet_aton(address).hex()
    wanted = "0000:0000:0000:0000:0000:ffff:%s:%s" % (octets[:4], octets[4:])
    port = "%s/%s/ports/1" % (root, hca)
    try:
        names = os.listdir(port + "/gid_attrs/types")
    except OSError:  # the tool says what is wrong with the device
        return None
    for name in sorted(names, key=int):
        try:
            with (
                open("%s/gid_attrs/types/%s" % (port, name)) as kind,
                open("%s/gids/%s" % (port, name)) as gid,
            ):
                if (kind.read().strip(), gid.read().strip()) == ("RoCE v2", wanted):
                    return int(name)
        except OSError:  # an unused entry
            continue
    return None


def listening(port):
    """Whether something on this machine listens on a TCP port, over IPv4 or IPv6."""
    for name in ("tcp", "tcp6"):
        try:
            with open("/proc/net/" + name) as file:
                rows = [line.split() for line in file][1:]
        except OSError:
            continue
        if any(row[1].endswith(":%04X" % port) and row[3] == LISTEN for row in rows):
            return True
    return False
