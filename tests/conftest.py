"""For all floors."""

import subprocess
import tempfile
import time
from pathlib import Path

# Its pytest plugin imports it at the end of a run that had no use for it, and CPython 3.11's compiler then
# trips over the depth of recursion that Pulumi's mocks leave behind ("AST constructor recursion depth").
import hypothesis.core
import hypothesis.internal.observability  # noqa: F401
import pytest


@pytest.fixture
def short_path():
    """A new folder for sockets, whose paths have about a hundred characters at most."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def ssh_agent(tmp_path):
    """The socket of a new, empty ssh agent."""
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield str(path)
    process.terminate()
    process.wait()
