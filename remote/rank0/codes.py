"""What the container's exit code means, and one way to speak."""

#: Asked to stop.
STOPPED = 0
#: trtllm-serve ended under a launcher that goes on.
SERVER_DIED = 70
#: Another program has the API's port.
PORT_TAKEN = 71
#: A rank's process ended, and mpirun did not.
RANK_DIED = 72
#: A rank is stopped, or the engine answers no completion any more.
HUNG = 73
#: A worker's machine gives no sign of life.
UNREACHABLE = 74
#: No completion within readyTimeout.
NOT_READY = 75
#: /health says that the engine is gone, and nothing ends.
UNHEALTHY = 76
#: /health says that all is well, and completions fail.
FAILING = 77
#: The server ended in good order, and nobody had asked us.
UNASKED = 78

MEANINGS = {
    STOPPED: "asked to stop",
    SERVER_DIED: "trtllm-serve has ended and its launcher goes on",
    PORT_TAKEN: "another program has the API's port",
    RANK_DIED: "a rank's process has ended",
    HUNG: "a rank hangs",
    UNREACHABLE: "a worker cannot be reached",
    NOT_READY: "no answer within readyTimeout",
    UNHEALTHY: "the engine says that it is gone",
    FAILING: "the engine fails every completion",
    UNASKED: "the server has ended, though nobody asked for it",
}


class Ended(Exception):
    """The launch must end: with this code, for this reason."""

    def __init__(self, code, reason):
        """`code` is one of the above."""
        super().__init__(reason)
        self.code = code


def say(text):
    """A line of ours in the container's log."""
    print("[trtspark] %s" % text, flush=True)
