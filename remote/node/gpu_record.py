"""The record of what gpu_runtime.py changed, read without belief: it may be empty, torn or somebody's edit.

Where it does not say what was in a file before, the file beside may: if our edit of that gives exactly what
is there now, that was it. Nothing else is guessed.
"""

import re

from remote.node import as_root, config_toml, daemon_json, stop


def read(path, daemon, toml, kept, group):
    """(the record, sentences about what it does not tell). Of a torn one, `files` has those of which the
    owner's text is certain, and `unknown` the paths of the others that may be edited by us.
    """
    found = as_root.record(path)
    if found is None:
        return {"files": {}, "group": "", "stack": ""}, []
    files, rest = found.get("files"), {key: found.get(key, "") for key in ("group", "stack")}
    files = files if isinstance(files, dict) else None
    sound = {name: entry for name, entry in (files or {}).items() if fits(name, entry, daemon, toml)}
    whole = files is not None and sound == files and "group" in found
    if whole and all(isinstance(value, str) for value in rest.values()):
        return {"files": sound, **rest}, []
    record = {"files": sound, **{key: text(value) for key, value in rest.items()}}
    notes, unknown = ["%s, our record of what was here before, is torn." % path], []
    for name, ours in ((daemon, guess_daemon), (toml, guess_toml)):
        if name in sound:
            continue
        try:
            current, before = as_root.read(name), as_root.read(name + kept)
            changes = ours(current, before, name)
        except stop.Stop:
            current, before, changes = "?", None, None
        if changes:
            record["files"][name] = {
                "before": as_root.checksum(before),
                "after": as_root.checksum(current),
                "changes": changes,
                "earlier": None,
            }
        elif current is not None and (current == "?" or before is not None or marked(current)):
            if current == before:
                continue
            unknown.append(name)
            notes.append(
                "What was in %s cannot be known, and it stays. Take out by hand what you did not put there "
                "(%s%s, if it is there, is what we found), restart Docker, and remove %s."
                % (name, name, kept, path)
            )
    if not isinstance(rest["group"], str) or "group" not in found:
        notes.append(
            "Whether its user was put into group %s cannot be known: `id` tells, and "
            "`sudo gpasswd -d USER %s` takes a user out." % (group, group)
        )
    return {**record, "unknown": unknown}, notes


def fits(name, entry, daemon, toml):
    """Whether a file's entry is as gpu_runtime.py writes it."""
    right = {daemon: changes_daemon, toml: changes_toml}.get(name)
    if right is None or not isinstance(entry, dict) or not digest(entry.get("before", "")):
        return False
    versions = [entry, *([entry["earlier"]] if entry.get("earlier") else [])]
    return all(
        isinstance(one, dict) and digest(one.get("after", "")) and right(one.get("changes"))
        for one in versions
    )


def digest(value):
    """Whether it is what `as_root.checksum` makes."""
    return value is None or (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None)


def text(value):
    """The value where it is a text, else "" as for none."""
    return value if isinstance(value, str) else ""


def changes_daemon(value):
    """Whether it is what daemon_json.merged tells of its changes."""
    if not isinstance(value, dict):
        return False
    runtime, default = value.get("runtime", {"key": True}), value.get("default-runtime", {"was": None})
    resources = value.get("resources", {"ours": "", "was": [], "key": True})
    return (
        all(isinstance(one, dict) for one in (runtime, default, resources))
        and all(isinstance(one.get("key"), bool) for one in (runtime, resources))
        and optional_text(default.get("was", 0))
        and isinstance(resources.get("ours"), str)
        and isinstance(resources.get("was"), list)
        and all(isinstance(one, str) for one in resources["was"])
    )


def changes_toml(value):
    """Likewise for config_toml.merged."""
    return isinstance(value, dict) and optional_text(value.get("was", 0))


def optional_text(value):
    """Whether it is a text or None."""
    return value is None or isinstance(value, str)


def marked(current):
    """Whether something that we write is in a file's text."""
    return daemon_json.KIND in current or config_toml.OURS in current


def guess_daemon(current, before, path):
    """What we changed, where the file is exactly our edit of `before`; else None."""
    for one in daemon_json.settings(current, path).get("node-generic-resources", []):
        kind, _, gpu = str(one).partition("=")
        if kind == daemon_json.KIND:
            made, changes = daemon_json.merged(before, path, gpu)
            if made == current and changes:
                return changes
    return None


def guess_toml(current, before, path):
    """Likewise; the runtime's file was there before."""
    if current is None or before is None:
        return None
    made, was = config_toml.merged(before, path)
    return {"was": was} if made == current and made != before else None
