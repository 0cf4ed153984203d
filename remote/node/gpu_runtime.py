"""Docker's settings and the NVIDIA runtime's, so that Swarm can hand this node's GPU to a service.

Merges into /etc/docker/daemon.json (other keys stay) and sets one line of the runtime's config.toml;
remembers what was there, byte for byte, and puts it back on `restore`. Restarts Docker only when the
running daemon does not have what it must: node-generic-resources is not reloaded by SIGHUP.
Runs as the plain user; sudo is used for tee, mv, cp, cat, mkdir, rm, rmdir and systemctl only.
"""

import json
import os
import re
import subprocess
import time

DAEMON = "/etc/docker/daemon.json"
TOML = "/etc/nvidia-container-runtime/config.toml"
RECORD = "/var/lib/trtspark/gpu-runtime.json"
KIND = "NVIDIA_GPU"
#: The variable that Swarm really sets for this kind; NVIDIA's suggestion, DOCKER_RESOURCE_GPU, never matches.
SWARM_RESOURCE = 'swarm-resource = "DOCKER_RESOURCE_%s"' % KIND
DOCKER_DEADLINE_S = 60


class Stop(Exception):
    """Ends the program with this sentence."""


def main(args):
    """`args`: {"action": "apply", "gpu": UUID} or {"action": "restore"}; {"changed", "restarted"}."""
    return apply(args["gpu"]) if args["action"] == "apply" else restore()


def merged(settings, gpu):
    """Docker's settings with ours in them; `settings` is not changed."""
    new = dict(settings)
    new["runtimes"] = {
        **settings.get("runtimes", {}),
        "nvidia": {"args": [], "path": "nvidia-container-runtime"},
    }
    if "nvidia" in settings.get("runtimes", {}):
        new["runtimes"]["nvidia"] = settings["runtimes"]["nvidia"]
    new["default-runtime"] = "nvidia"
    others = [r for r in settings.get("node-generic-resources", []) if not r.startswith(KIND + "=")]
    new["node-generic-resources"] = [*others, "%s=%s" % (KIND, gpu)]
    return new


def unmerged(current, before, after):
    """`current` with every value that is still ours (as in `after`) put back to what it was `before`."""
    result = dict(current)
    for key in after:
        if after[key] == before.get(key) or result.get(key) != after[key]:
            continue
        if key in before:
            result[key] = before[key]
        else:
            del result[key]
    return result


def with_swarm_resource(text):
    """config.toml with its swarm-resource line set: in place of the commented one, else at the top."""
    pattern = re.compile(r"(?m)^[ \t]*#?[ \t]*swarm-resource[ \t]*=.*$")
    if pattern.search(text):
        return pattern.sub(SWARM_RESOURCE, text, count=1)
    return SWARM_RESOURCE + "\n" + text


def apply(gpu):
    daemon, toml = read(DAEMON), read(TOML)
    new_daemon = merged(parsed(daemon), gpu)
    files = {}
    if new_daemon != parsed(daemon):
        files[DAEMON] = json.dumps(new_daemon, indent=4, sort_keys=True) + "\n"
    if toml is not None and with_swarm_resource(toml) != toml:
        files[TOML] = with_swarm_resource(toml)
    if files:
        remember(files, {DAEMON: daemon, TOML: toml})
        for path, text in files.items():
            put(path, text)
    restarted = not docker_has(gpu)
    if restarted:
        restart_docker()
        if not docker_has(gpu):
            raise Stop("Docker restarted but does not offer %s=%s. See `journalctl -u docker`." % (KIND, gpu))
    return {"changed": sorted(files), "restarted": restarted}


def restore():
    record = json.loads(read(RECORD, as_root=True) or "{}")
    changed = []
    for path, entry in sorted(record.items()):
        current = read(path)
        wanted = owners(path, current, entry)
        if wanted != current:
            put(path, wanted)
            changed.append(path)
    if record:
        sudo("rm", "-f", RECORD)
        sudo("rmdir", "--ignore-fail-on-non-empty", os.path.dirname(RECORD))
    if DAEMON in changed:
        restart_docker()
    return {"changed": changed, "restarted": DAEMON in changed}


def owners(path, current, entry):
    """The file's text without what is ours: as it was, byte for byte, where nobody edited it since."""
    if current == entry["after"]:
        return entry["before"]
    if path == DAEMON and current is not None:
        return without_ours(current, entry)
    if path == TOML and current is not None and entry["before"] is not None:
        line = re.search(r"(?m)^.*swarm-resource.*$", entry["before"])
        ours = SWARM_RESOURCE + ("" if line else "\n")
        return current.replace(ours, line.group(0) if line else "", 1)
    return current


def without_ours(current, entry):
    """The text of daemon.json, edited by somebody since, without our values."""
    found = parsed(current)
    kept = unmerged(found, parsed(entry["before"]), json.loads(entry["after"]))
    return current if kept == found else json.dumps(kept, indent=4, sort_keys=True) + "\n"


def remember(files, before):
    """Keeps the owner's text of a file, with their edits since an earlier change of ours."""
    record = json.loads(read(RECORD, as_root=True) or "{}")
    for path, text in files.items():
        mine = owners(path, before[path], record[path]) if path in record else before[path]
        record[path] = {"before": mine, "after": text}
    put(RECORD, json.dumps(record, sort_keys=True))


def parsed(text):
    if text is None or not text.strip():
        return {}  # Docker takes an empty file for no settings
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Stop("%s is not valid JSON (%s). Mend it; it was not touched." % (DAEMON, error)) from None
    if not isinstance(found, dict):
        raise Stop("%s is not a JSON object. Mend it; it was not touched." % DAEMON)
    return found


def read(path, as_root=False):
    """The file's text, None when it is not there."""
    if as_root:
        if not os.path.exists(path):
            return None
        return sudo("cat", path)
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            return handle.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Stop("%s cannot be read (%s)." % (path, error.strerror)) from None


def put(path, text):
    """Atomically, as root; None removes the file. A new file is as new files there are: 0644."""
    if text is None:
        sudo("rm", "-f", path)
        return
    new = path + ".trtspark-new"
    sudo("mkdir", "-p", os.path.dirname(path))
    if os.path.exists(path):
        sudo("cp", "-p", path, new)  # keeps owner and mode
    sudo("tee", new, text=text)
    sudo("mv", "-f", new, path)


def sudo(*words, text=None):
    command = list(words) if os.geteuid() == 0 else ["sudo", "-n", *words]
    done = subprocess.run(
        command,
        input=text,
        stdin=None if text is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = done.stderr.strip() or "exit code %d" % done.returncode
        if "password is required" in said or "a terminal is required" in said:
            raise Stop(
                "sudo asks for a password for `%s`. Allow it without: docs/preparing.md has the lines."
                % " ".join(words)
            )
        raise Stop("`%s` failed: %s" % (" ".join(words), said))
    return done.stdout


def docker_has(gpu):
    """Whether the running daemon has the runtime, has it as its default, and advertises the GPU."""
    done = subprocess.run(["docker", "info", "--format", "{{json .}}"], capture_output=True, text=True)
    try:
        info = json.loads(done.stdout)
    except ValueError:
        return False
    offered = [(r.get("NamedResourceSpec") or {}).get("Value") for r in info.get("GenericResources") or []]
    return info.get("DefaultRuntime") == "nvidia" and gpu in offered


def restart_docker():
    # systemd refuses a fourth start within a minute; an `up` right after a `destroy` is no crash loop.
    sudo("systemctl", "reset-failed", "docker")
    sudo("systemctl", "restart", "docker")
    deadline = time.monotonic() + DOCKER_DEADLINE_S
    while True:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True
        )
        if done.returncode == 0:
            return
        if time.monotonic() > deadline:
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise Stop("Docker did not answer within %d s of its restart: %s" % (DOCKER_DEADLINE_S, said))
        time.sleep(0.05)
