"""What the operator asks of a node about the serving image: is it there, pull it, end the pull.

The pull itself (pull_agent.py) runs in a process of its own that outlives the login, one for each stack,
in a folder that is there only as long as there is something to tell.
"""

import os
import shutil
import stat
import tempfile

from remote.node import detached, pull_agent
from remote.node.stop import Stop


def look(args):
    """{"digest": the image's, None where it is not there; "problem": with its platform}.

    `args`: stack, image, socket.
    """
    found = pull_agent.image(args["image"], args["socket"])
    return {"digest": found.get("digest"), "problem": found.get("problem", "")}


def start(args):
    """As `look`; where the image is not there, its pull runs from here on: begun, or found running.

    `args`: those of `look`, and job (the same text for the same image), stall, limit, settle (seconds).
    """
    folder = _folder(args["stack"])
    found = look(args)
    if found["digest"] is not None:
        _clear(folder)
        return found
    if not _there(folder):
        os.mkdir(folder, 0o700)
    lock = detached.locked(folder)
    if lock is None:
        running = detached.read_json(os.path.join(folder, "status.json"))
        if running.get("job") == args["job"] and running.get("state") == "running":
            return found
        lock = detached.freed(folder)
        if lock is None:
            raise Stop("another pull for this stack does not end (see %s/lock)" % folder)
    detached.unlink(os.path.join(folder, "status.json"))
    detached.detach(folder, args["job"], lambda: pull_agent.Pull(args, folder).run())
    return found


def end(args):
    """Stop what runs, and leave nothing of ours; what Docker has stays. `args`: stack."""
    _clear(_folder(args["stack"]))
    return {}


def _clear(folder):
    if _there(folder):
        with detached.ended(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _there(folder):
    """Whether the folder is there; one of another user's, in a place that all may write to, is refused."""
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Stop("%s is not this user's own folder; remove it" % folder)
    return True


def _folder(stack):
    """remote/image_pull.py reads status.json in it."""
    return os.path.join(tempfile.gettempdir(), "trtspark-pull-%d-%s" % (os.getuid(), stack))
