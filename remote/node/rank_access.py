"""A worker's side of MPI: one line in authorized_keys that allows one command, and that command.

Leaves every other byte of authorized_keys as it was. What was not there before is gone after `revoke`.
"""

import os
import re
import stat

from remote.node import node_lock, stop, whole_file

MARK = "trtspark-mpi"
#: In our folder while authorized_keys is a file that we made.
MADE = "made-authorized-keys"
#: All of it, but for the wait for the node's lock.
LONGEST_S = 10
#: Where a line of ours says which addresses may log in with the key.
FROM = re.compile(r'restrict,from="([0-9.,]+)",')


def main(args):
    """`args`: {"action": "allow" | "revoke", "stack", "key", "sources" (addresses that may log in with it,
    with commas between them; "" for any, as an older program has it), "script"}; {"changed": bool}. With
    "look" {"key", "script"}: each as it is in `args`, or "" where the machine has it otherwise, or not at
    all.
    """
    if args["action"] == "look":
        return act(args)
    with node_lock.held():
        return act(args)


def act(args):
    home = os.path.expanduser("~")
    folder = os.path.join(home, ".trtspark")
    script = os.path.join(folder, "rank-exec-" + args["stack"])
    keys = os.path.realpath(os.path.join(home, ".ssh", "authorized_keys"))  # a link stays a link
    comment = "%s-%s" % (MARK, args["stack"])
    text = line = ""
    if args["action"] != "revoke" and args["key"]:
        text = args["script"].replace("@STACK@", args["stack"])
        line = _line(script, args.get("sources", ""), args["key"].split()[:2], comment)
    if args["action"] == "look":
        there = text_of(script) == text and os.access(script, os.X_OK)
        return {
            "key": args["key"] if line and ours(text_of(keys), comment) == [line] else "",
            "script": args["script"] if line and there else "",
        }
    if args["action"] == "allow":
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if not os.path.lexists(keys):
            write(os.path.join(folder, MADE), "", 0o600)
        changed = write(script, text, 0o700)
        return {"changed": put_line(keys, comment, line) or changed}
    changed = put_line(keys, comment, None)
    # With what a run that was cut off in the middle of `write` has left.
    made = os.path.join(folder, MADE)
    for path in (script, *(draft for one in (script, keys, made) for draft in whole_file.drafts(one))):
        if os.path.exists(path):
            os.unlink(path)
            changed = True
    left = os.listdir(folder) if os.path.isdir(folder) else None
    if left == [MADE]:
        os.unlink(os.path.join(folder, MADE))
        if os.path.exists(keys) and not os.path.getsize(keys):
            os.unlink(keys)
    if left in ([], [MADE]):
        os.rmdir(folder)
    return {"changed": changed}


def allowed(home):
    """{stack: "TYPE KEY SOURCES"} of the lines of ours in authorized_keys whose command is there; without
    SOURCES where the key may come from anywhere.
    """
    try:
        text = text_of(os.path.join(home, ".ssh", "authorized_keys"))
    except stop.Stop:
        return {}
    found = dict[str, str]()
    for line in text.split("\n"):
        words = line.split(" ")
        comment = words[-1].partition(MARK + "-")
        script = os.path.join(home, ".trtspark", "rank-exec-" + comment[2])
        sources = FROM.match(words[0])
        listed = sources[1] if sources else ""
        whole = len(words) == 4 and comment[1] and line == _line(script, listed, words[1:3], words[3])
        if whole and os.access(script, os.X_OK):
            found[comment[2]] = " ".join([*words[1:3], listed]).rstrip()
    return found


def _line(script, sources, key, comment):
    come = 'from="%s",' % sources if sources else ""
    return 'restrict,%scommand="%s" %s %s %s' % (come, script, key[0], key[1], comment)


def put_line(path, comment, line):
    """Exactly one line that ends with `comment` (none when `line` is None); whether the file changed."""
    text = text_of(path)
    lines = text.split("\n")
    if ours(text, comment) == ([line] if line else []):
        return False
    kept = [entry for entry in lines if not entry.endswith(" " + comment)]
    new = "\n".join(kept)
    if line:
        # Our line goes first: a last line without its newline stays as its owner wrote it.
        new = line + "\n" + new
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    mode = stat.S_IMODE(os.stat(path).st_mode) if os.path.exists(path) else 0o600
    was = text.encode("utf-8", errors="surrogateescape") if os.path.exists(path) else None
    write(path, new, mode, was)
    return True


def ours(text, comment):
    """The lines of an authorized_keys that end with `comment`."""
    return [line for line in text.split("\n") if line.endswith(" " + comment)]


def text_of(path):
    """A file's text, "" where there is none; bytes that are no text survive `write`."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as handle:
            return handle.read()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise stop.Stop("%s cannot be read (%s)." % (path, error.strerror)) from None


def write(path, text, mode, was=whole_file.ANYTHING):
    """Atomically; whether anything changed. `was`: as whole_file.write has it."""
    data = text.encode("utf-8", errors="surrogateescape")
    try:
        with open(path, "rb") as handle:
            if handle.read() == data and stat.S_IMODE(os.stat(path).st_mode) == mode:
                return False
    except FileNotFoundError:
        pass
    whole_file.write(path, data, mode, was)
    return True
