"""Files of the system, changed by the plain user with sudo: a few named commands and no others.

docs/preparing.md has the sudoers lines for them; a test compares.
"""

import hashlib
import os
import subprocess

from remote.node import stop

#: Longer than systemd gives Docker to stop and to start.
TIMEOUT_S = 240
#: What a file is called until it is whole.
NEW = ".trtspark-new"


def run(words, root=False, text=None, timeout=TIMEOUT_S):
    """{"rc", "out", "err"}, never an exception: 127 for a command that is not there, 124 for no answer."""
    command = list(words) if not root or os.geteuid() == 0 else ["sudo", "-n", *words]
    try:
        done = subprocess.run(
            command,
            input=text,
            stdin=None if text is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return {"rc": 124, "out": "", "err": "no answer within %d s" % timeout}
    except OSError as error:
        return {"rc": 127, "out": "", "err": "%s: %s" % (words[0], error.strerror)}
    return {"rc": done.returncode, "out": done.stdout, "err": done.stderr}


def last(done):
    """The last thing that a command said."""
    return ((done["err"].strip() or done["out"].strip()).splitlines() or ["exit code %d" % done["rc"]])[-1]


def sudo(*words, text=None):
    """What the command printed, run as root without a password. Raises Stop with what it said."""
    done = run(words, root=True, text=text)
    if done["rc"]:
        if "password is required" in done["err"] or "a terminal is required" in done["err"]:
            raise stop.Stop(
                "sudo asks for a password for `%s`. Paste there what `trtspark init --print-sudoers` prints "
                "(docs/preparing.md)." % " ".join(words)
            )
        raise stop.Stop("`%s` failed: %s" % (" ".join(words), last(done)))
    return done["out"]


def read(path):
    """The file's text as it is, line ends included; None when it is not there."""
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            return handle.read()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise stop.Stop("%s is not UTF-8 text. Mend it; it was not touched." % path) from None
    except OSError as error:
        raise stop.Stop("%s cannot be read (%s)." % (path, error.strerror)) from None


def put(path, text):
    """The whole text at once, with the file's owner and mode (0644 for a new one); None removes it."""
    if text is None:
        sudo("rm", "-f", path)
        return
    new = path + NEW
    os.umask(0o022)  # sudo keeps a stricter one of the user's
    sudo("mkdir", "-p", os.path.dirname(path))
    if os.path.exists(path):
        sudo("cp", "-p", path, new)  # keeps owner and mode
    sudo("tee", new, text=text)
    sudo("mv", "-f", new, path)


def tidy(path, blank="{}\n"):
    """Take away what a `put` that was cut off left beside the file, by those same commands: the file is put
    there once more. `blank`: a text that does no harm for a moment where there is no file.
    """
    if os.path.exists(path + NEW):
        text = read(path)
        put(path, blank if text is None else text)
        if text is None:
            put(path, None)


def checksum(text):
    """SHA-256 of the file's bytes; None for no file."""
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()
