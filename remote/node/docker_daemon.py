"""The running Docker: what it has of its settings, whether it would take others, reload and restart.

A reload (SIGHUP) applies runtimes and default-runtime; node-generic-resources needs a restart. A key that is
gone from the file is not reset by a reload. systemd refuses a fourth start within a minute.
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
import time

from remote.node import as_root, deadline, stop

PID_FILE = "/var/run/docker.pid"
RESTART_DEADLINE_S = 60
#: A reload is over in milliseconds; it says nothing when it fails.
RELOAD_DEADLINE_S = 10
POLL_S = 0.05
#: For a question to Docker, its daemon or systemd.
ASK_S = 15
#: `dockerd --validate` came with Docker 23.
VALIDATES_SINCE = 23


def look():
    """What the daemon says of itself: {"runtimes", "default", "resources": ["KIND=VALUE"], "live_restore"}.

    None when it does not answer this user.
    """
    done = as_root.run(["docker", "info", "--format", "{{json .}}"], timeout=ASK_S)
    try:
        info = json.loads(done["out"])
    except (ValueError, RecursionError):
        return None
    if not isinstance(info, dict) or not info.get("ServerVersion"):
        return None
    specs = [entry.get("NamedResourceSpec") or {} for entry in info.get("GenericResources") or []]
    return {
        "runtimes": sorted(info.get("Runtimes") or {}),
        "default": info.get("DefaultRuntime", ""),
        "resources": ["%s=%s" % (spec.get("Kind"), spec.get("Value")) for spec in specs],
        "live_restore": bool(info.get("LiveRestoreEnabled")),
    }


def command_line():
    """The words that the running dockerd was started with; [] when there is none."""
    with contextlib.suppress(OSError, ValueError):
        with open(PID_FILE, encoding="ascii") as handle:
            pid = int(handle.read())
        with open("/proc/%d/cmdline" % pid, encoding="utf-8") as handle:
            return handle.read().split("\0")[:-1]
    return []


def settings_file(words):
    """The path of another settings file than daemon.json, by dockerd's command line; None."""
    for place, word in enumerate(words):
        if word == "--config-file":
            return "".join(words[place + 1 : place + 2])
        if word.startswith("--config-file="):
            return word.partition("=")[2]
    return None


def refusal(text, words):
    """What dockerd would say to these settings, with the command line it has; "" when it would start.

    Asked without root, from a file of this user's; a Docker that cannot be asked so says nothing.
    """
    program = shutil.which("dockerd", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        return ""
    version = as_root.run([program, "--version"], timeout=ASK_S)["out"]
    found = re.search(r"version v?(\d+)", version)
    if found is None or int(found.group(1)) < VALIDATES_SINCE:
        return ""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8", newline="") as handle:
        handle.write(text)
        handle.flush()
        command = [program, *words[1:], "--validate", "--config-file", handle.name]
        done = as_root.run(command, timeout=ASK_S)
        said = (done["err"].strip().splitlines() or [""])[-1]
        # Any other failure is not about the settings: it may want to be root.
        if done["rc"] and handle.name in said:
            return said.replace(handle.name, "it").removeprefix("unable to configure the Docker daemon with ")
    return ""


def reload(wanted):
    """Have the settings read again; True when `wanted(look())` came true in time."""
    as_root.sudo("systemctl", "reload", "docker")
    end = time.monotonic() + RELOAD_DEADLINE_S
    with deadline.within(RELOAD_DEADLINE_S):
        while True:
            seen = look()
            if seen is not None and wanted(seen):
                return True
            if time.monotonic() > end:
                return False
            time.sleep(POLL_S)


def restart():
    """Raises Stop when it does not come back in time; systemd may still be at it then."""
    end = time.monotonic() + RESTART_DEADLINE_S
    with deadline.within(RESTART_DEADLINE_S):
        # A counted start is not a crash: an `up` right after a `destroy` must not meet systemd's limit.
        as_root.sudo("systemctl", "reset-failed", "docker")
        as_root.sudo("systemctl", "restart", "docker")
        while True:
            done = as_root.run(["docker", "version", "--format", "{{.Server.Version}}"], timeout=ASK_S)
            # A socket that only says no has a daemon behind it.
            if done["rc"] == 0 or "permission denied" in done["err"]:
                return
            if time.monotonic() > end:
                said = (done["err"].strip().splitlines() or ["nothing"])[-1]
                raise stop.Stop(
                    "Docker did not answer within %d s of its restart: %s" % (RESTART_DEADLINE_S, said)
                )
            time.sleep(POLL_S)


def is_active():
    """Whether systemd keeps Docker running."""
    return as_root.run(["systemctl", "is-active", "docker"], timeout=ASK_S)["out"].strip() == "active"
