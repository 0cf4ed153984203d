"""Files of the plain user, replaced whole: whoever reads one finds the text before or the text after."""

import contextlib
import glob
import os

from remote.node import stop

#: Behind a file's name, and before something random, while its new content is written.
NEW = ".trtspark-new"
ANYTHING = object()


def write(path, data, mode, was=ANYTHING, lasting=True):
    """Put `data` (bytes) there, under a name of its own until it is whole.

    `was`: what the file held when `data` was made of it (None for no file): raises Stop where somebody else
    changed it meanwhile. `lasting`: it is there after a power cut too.
    """
    draft = "%s%s.%s" % (path, NEW, os.urandom(6).hex())
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with open(descriptor, "wb") as handle:
            os.fchmod(descriptor, mode)
            handle.write(data)
            handle.flush()
            if lasting:
                os.fsync(descriptor)
        unchanged(path, was)
        os.replace(draft, path)
    except Exception:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise
    if lasting:
        flush(os.path.dirname(path))


def unchanged(path, was):
    """Raises Stop where the file no longer has the content `was`."""
    if was is not ANYTHING and content(path) != was:
        raise stop.Stop("%s was changed by somebody else just now. Run the same again." % path)


def content(path):
    """The file's bytes; None where there is none."""
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except FileNotFoundError:
        return None


def flush(path):
    """Have what is in a file or a folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def drafts(path):
    """What writes of this file that were cut off have left beside it."""
    return sorted(glob.glob(glob.escape(path + NEW) + "*"))
