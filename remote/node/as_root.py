"""Files of the system, changed by the plain user with sudo: a few named commands and no others.

docs/preparing.md has the sudoers lines for them; a test compares.
"""

import contextlib
import hashlib
import json
import os
import subprocess

from remote.node import deadline, node_lock, stop, whole_file

#: For a command that reads or writes a file; what takes longer says so.
TIMEOUT_S = 30
#: What a file is called until it is whole: sudoers lines name it, so it is the same each time, and belongs to
#: whoever holds the node's lock.
NEW = ".trtspark-new"
#: Of a file that only root may read.
PRIVATE = "600"
#: Ours are some hundred bytes.
RECORD_BYTES = 1 << 20
ANYTHING = whole_file.ANYTHING


def run(words, root=False, text=None, timeout=TIMEOUT_S):
    """{"rc", "out", "err"}, never an exception: 127 for a command that is not there, 124 for no answer."""
    seconds = deadline.left(timeout)
    command = list(words) if not root or os.geteuid() == 0 else ["sudo", "-n", *words]
    silent = {"rc": 124, "out": "", "err": "no answer within %.0f s" % (seconds or timeout)}
    if not seconds:
        return silent
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if text is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return {"rc": 127, "out": "", "err": "%s: %s" % (words[0], error.strerror)}
    try:
        out, err = child.communicate(text, timeout=seconds)
    except subprocess.TimeoutExpired:
        deadline.end(child)
        deadline.close(child)
        return silent
    return {"rc": child.returncode, "out": out, "err": err}


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


def put(path, text, mode="", was=ANYTHING):
    """The whole text at once, with the file's owner and mode (0644 for a new one; `mode` where it is given);
    None removes it. It is on the disk before it has its name.

    `was`: the text that `text` was made of (None for no file): raises Stop where somebody else edited the
    file meanwhile, and for a symbolic link.
    """
    with node_lock.held():
        refuse_link(path)
        unchanged(path, was)
        if text is None:
            sudo("rm", "-f", path)
            flush(os.path.dirname(path))
            return
        new = path + NEW
        refuse_link(new)
        os.umask(0o022)  # sudo keeps a stricter one of the user's
        sudo("mkdir", "-p", os.path.dirname(path))
        if mode:
            sudo("install", "-m", mode, "/dev/stdin", new, text=text)
        else:
            if os.path.exists(path):
                sudo("cp", "-p", path, new)  # keeps owner and mode
            sudo("tee", new, text=text)
        if mode == PRIVATE:
            sudo("sync", new)
        else:
            flush(new)
        unchanged(path, was)
        refuse_link(path)
        sudo("mv", "-f", new, path)
        flush(os.path.dirname(path))


def refuse_link(path):
    """Raises Stop for a symbolic link: what it leads to is somebody's, and elsewhere."""
    if os.path.islink(path):
        raise stop.Stop(
            "%s is a symbolic link to %s. Put a file in its place." % (path, os.path.realpath(path))
        )


def unchanged(path, was):
    """Raises Stop where the file no longer has the text `was`."""
    if was is not ANYTHING and content(path) != was:
        raise stop.Stop(
            "%s was edited by somebody else just now. It was not touched; run the same again." % path
        )


def content(path):
    """As `read`, also of a file that only root may read and that sudoers lines let it show."""
    if os.path.exists(path) and not os.access(path, os.R_OK):
        return sudo("cat", path)
    return read(path)


def flush(path):
    """Have a file or a folder on the disk; one that this user may not open is left to the kernel."""
    with contextlib.suppress(OSError):
        whole_file.flush(path)


def record(path):
    """A record of ours: None where there is none (`null` is none), {} where it is torn, or no JSON object."""
    if not os.path.lexists(path):
        return None
    try:
        text = content(path)
        found = json.loads(text) if text is not None and len(text) <= RECORD_BYTES else {}
    except (stop.Stop, ValueError, RecursionError):
        return {}
    return found if found is None or isinstance(found, dict) else {}


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
