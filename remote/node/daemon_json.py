"""Our three keys in Docker's settings file, put in and taken back as edits of its text. Pure.

The `nvidia` runtime (the owner's own entry stays), `default-runtime`, because a Swarm service cannot name a
runtime, and this node's GPU in `node-generic-resources`. Sources: NVIDIA's toolkit for the runtime's entry,
Docker's reference for the keys.
"""

import json

from remote.node import json_text, stop

KIND = "NVIDIA_GPU"
RUNTIME = {"args": [], "path": "nvidia-container-runtime"}
#: dockerd does not start when one of these is in the file and on its command line; `runtimes` may be in both.
FLAGS = {"--default-runtime": "default-runtime", "--node-generic-resource": "node-generic-resources"}


def settings(text, path):
    """The settings; {} for no file and for an empty one (for Docker itself since 23)."""
    if text is None or not text.strip():
        return {}
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        raise stop.Stop("%s is not valid JSON (%s). Mend it; it was not touched." % (path, error)) from None
    if not isinstance(found, dict):
        raise stop.Stop("%s is not a JSON object. Mend it; it was not touched." % path)
    for key, kind, name in (("runtimes", dict, "an object"), ("node-generic-resources", list, "a list")):
        if not isinstance(found.get(key, kind()), kind):
            raise stop.Stop('"%s" in %s is not %s. Mend it; it was not touched.' % (key, path, name))
    return found


def merged(text, path, gpu):
    """(the text with our keys in it, what that changed): the second is what `taken_back` needs.

    changes: "runtime": True when the entry is ours; "default-runtime": {"was": name or None};
    "resources": {"ours": entry, "was": the entries of this kind that it stands for, "key": whether the list
    was there}. Nothing is in it that was so before.
    """
    found = settings(text, path)
    changes: dict[str, object] = {}
    new = text if text is not None and text.strip() else "{}\n"
    if "nvidia" not in found.get("runtimes", {}):
        new = json_text.put(new, ["runtimes", "nvidia"], RUNTIME)
        changes["runtime"] = {"key": "runtimes" in found}
    if found.get("default-runtime") != "nvidia":
        new = json_text.put(new, ["default-runtime"], "nvidia")
        changes["default-runtime"] = {"was": found.get("default-runtime")}
    listed = found.get("node-generic-resources", [])
    was, ours = [one for one in listed if _is_gpu(one)], "%s=%s" % (KIND, gpu)
    if was != [ours]:
        wanted = [one for one in listed if not _is_gpu(one)] + [ours]
        new = json_text.put(new, ["node-generic-resources"], wanted)
        changes["resources"] = {"ours": ours, "was": was, "key": "node-generic-resources" in found}
    return (new, changes) if changes else (text, {})


def taken_back(text, path, changes):
    """The text without what is still ours in it: what the owner changed since stays as they left it."""
    found = settings(text, path)
    if not found:
        return text
    if "runtime" in changes and found.get("runtimes", {}).get("nvidia") == RUNTIME:
        alone = len(found["runtimes"]) == 1 and not changes["runtime"]["key"]
        text = json_text.drop(text, ["runtimes"] if alone else ["runtimes", "nvidia"])
    if "default-runtime" in changes and found.get("default-runtime") == "nvidia":
        was = changes["default-runtime"]["was"]
        if was is None:
            text = json_text.drop(text, ["default-runtime"])
        else:
            text = json_text.put(text, ["default-runtime"], was)
    resources, listed = changes.get("resources"), found.get("node-generic-resources", [])
    if resources and resources["ours"] in listed:
        kept = [one for one in listed if one != resources["ours"]] + resources["was"]
        if kept or resources["key"]:
            text = json_text.put(text, ["node-generic-resources"], kept)
        else:
            text = json_text.drop(text, ["node-generic-resources"])
    return text


def said_outright(text, changes):
    """The owner's text with what it leaves unsaid said: a reload does not set back a key that is gone."""
    new = text if text is not None and text.strip() else "{}\n"
    if "default-runtime" in changes and changes["default-runtime"]["was"] is None:
        new = json_text.put(new, ["default-runtime"], "runc")
    if "runtime" in changes and "runtimes" not in json.loads(new):
        new = json_text.put(new, ["runtimes"], {})
    return new


def clashes(words):
    """Keys of ours that dockerd's command line sets: dockerd with both does not start."""
    flags = {word.partition("=")[0] for word in words}
    return sorted(FLAGS[flag] for flag in flags if flag in FLAGS)


def _is_gpu(entry):
    return str(entry).partition("=")[0] == KIND


def _no_constant(name):
    raise ValueError("%s is no JSON" % name)
