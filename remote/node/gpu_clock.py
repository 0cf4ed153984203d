"""A cap on the GPU's clock that outlives a reboot: a systemd unit of ours that runs nvidia-smi at boot.

The driver forgets a lock when it is loaded anew, and tells nobody which one is in force (NVML has a setter
and a reset, and no getter). So the unit is what we compare, and a clock above the cap shows that the lock is
not in force. Runs as the plain user; all that needs root is in as_root.sudo.
"""

import contextlib
import glob
import json
import os
import re

from remote.node import as_root, deadline, node_lock, stop

NAME = "trtspark-gpu-clock.service"
FOLDER = "/etc/systemd/system"
UNIT = FOLDER + "/" + NAME
RECORD = "/var/lib/trtspark/gpu-clock.json"
#: A GPU's clock is a multiple of a step: a cap may be missed by less than this.
STEP_MHZ = 15
SMI_TIMEOUT_S = 10
#: systemd's start of the unit, and all that a run does.
START_S, LONGEST_S = 30, 90
TEXT = """[Unit]
Description=Cap on the GPU's clock, set by trtspark
After=nvidia-persistenced.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/nvidia-smi --lock-gpu-clocks=0,%d
ExecStop=/usr/bin/nvidia-smi --reset-gpu-clocks

[Install]
WantedBy=multi-user.target
"""
_LOCK = re.compile(r"(?m)^\s*Exec\w+=.*nvidia-smi\b.*(?:-lgc|--lock-gpu-clocks)[ =]")


def main(args):
    """`args`: {"action": "apply", "limit": MHz, "stack": name, "take_over": name or ""},
    {"action": "restore", "stack": name} or {"action": "read"}.

    Answers {"changed": bool} and, for "restore" with a torn record, "notes": sentences; for "read" {"unit",
    "boot", "now"} (see `read`).
    """
    if args["action"] == "read":
        with deadline.within(LONGEST_S):
            return read()
    with node_lock.held(), deadline.within(LONGEST_S):
        if args["action"] == "apply":
            return apply(args["limit"], args["stack"], args.get("take_over", ""))
        return restore(args["stack"])


def read():
    """What is there: "unit" is "2200 MHz", "none" or "edited"; "boot" is "enabled" or what systemd says
    instead; "now" is "in force" or what speaks against it.
    """
    limit = limit_of(as_root.read(UNIT))
    state = systemctl("is-active") or "inactive"
    now = "in force" if state == "active" else "not set (%s)" % state
    clock = number("clocks.sm")
    if state == "active" and isinstance(limit, int) and clock is not None and clock > limit + STEP_MHZ:
        now = "not in force (%d MHz)" % clock
    return {
        "unit": "%d MHz" % limit if isinstance(limit, int) else limit,
        "boot": systemctl("is-enabled") or "not enabled",
        "now": now,
    }


def limit_of(text):
    """The cap in MHz of a unit's text; "none" for no unit, "edited" for one that is not as we write it."""
    if text is None:
        return "none"
    found = re.search(r"--lock-gpu-clocks=0,(\d+)$", text, re.M)
    return int(found.group(1)) if found and text == TEXT % int(found.group(1)) else "edited"


def apply(limit, stack, take_over=""):
    record = recorded()
    if record == TORN:
        raise stop.Stop(
            "%s, our record of the GPU's clock, cannot be understood. Remove it and %s." % (RECORD, UNIT)
        )
    if record and record["stack"] not in (stack, take_over):
        raise stop.Stop("its GPU's clock was capped by stack %s, which still owns it." % record["stack"])
    found = as_root.read(UNIT)
    if not record and os.path.lexists(UNIT):
        raise stop.Stop("%s is there, and this program has no record of writing it. Remove it." % UNIT)
    refuse_others()
    most = number("clocks.max.sm")
    if most is not None and limit > most:
        raise stop.Stop(
            "its GPU's clock goes to %d MHz, and %d is asked for. Set gpuClockLimit to less." % (most, limit)
        )
    text = TEXT % limit
    right = {"unit": "%d MHz" % limit, "boot": "enabled", "now": "in force"}
    if record and record["stack"] == stack and read() == right:
        return {"changed": False}
    # What was there before: no unit of ours, and the driver's own clocks. A lock cannot be read.
    as_root.put(RECORD, json.dumps({"stack": stack, "before": None}, sort_keys=True))
    as_root.put(UNIT, text, was=found)
    as_root.sudo("systemctl", "daemon-reload")
    as_root.sudo("systemctl", "enable", NAME)
    try:
        with deadline.within(START_S):
            as_root.sudo("systemctl", "restart", NAME)
    except stop.Stop as error:
        withdraw()
        raise stop.Stop(
            "the GPU did not take a cap of %d MHz, and nothing is left of it (%s). `journalctl -u %s` has "
            "what nvidia-smi said." % (limit, error, NAME)
        ) from None
    return {"changed": True}


def refuse_others():
    """Raise Stop if another unit of the machine's owner locks the clock: at boot one would undo the other."""
    for path in sorted(glob.glob(FOLDER + "/*.service")):
        if path == UNIT or not _LOCK.search(as_root.read(path) or ""):
            continue
        name = os.path.basename(path)
        if systemctl("is-enabled", name) == "enabled" or systemctl("is-active", name) == "active":
            raise stop.Stop(
                "%s sets the GPU's clock already. Unset gpuClockLimit, or switch that off with "
                "`sudo systemctl disable --now %s`." % (name, name)
            )


def restore(stack):
    record = recorded()
    if not record or record["stack"] not in (stack, None):
        return {"changed": False}
    found = as_root.read(UNIT)
    if limit_of(found) in ("none", "edited"):
        # Without its own ExecStop the lock would stay: write the unit once more, and stop that.
        as_root.put(UNIT, TEXT % (number("clocks.max.sm") or 0), was=found)
        as_root.sudo("systemctl", "daemon-reload")
    if systemctl("is-active") != "active":
        # A GPU that is gone has no lock either.
        with contextlib.suppress(stop.Stop), deadline.within(START_S):
            as_root.sudo("systemctl", "restart", NAME)
    withdraw()
    if record != TORN:
        return {"changed": True}
    note = (
        "%s, our record of the GPU's clock, was torn: whose cap it was cannot be known. It is taken back; a "
        "stack that still wants one sets it at its next `pulumi up`." % RECORD
    )
    return {"changed": True, "notes": [note]}


def withdraw():
    """Stop the unit, which resets the clock, and remove it and our record."""
    as_root.sudo("systemctl", "disable", "--now", NAME)
    as_root.sudo("rm", "-f", UNIT)
    as_root.sudo("systemctl", "daemon-reload")
    as_root.sudo("rm", "-f", RECORD)
    as_root.sudo("rmdir", "--ignore-fail-on-non-empty", os.path.dirname(RECORD))


#: A record that does not say whose it is.
TORN = {"stack": None}


def recorded():
    """Our record; None where there is none, TORN where it cannot be understood."""
    found = as_root.record(RECORD)
    if found is None:
        return None
    return {"stack": found["stack"]} if isinstance(found.get("stack"), str) else TORN


def systemctl(verb, name=NAME):
    """systemd's one word; "" where it has none. Needs no root."""
    return as_root.run(["systemctl", verb, name], timeout=SMI_TIMEOUT_S)["out"].strip()


def number(field):
    """A figure of nvidia-smi; None where the GPU does not tell, as for "[N/A]"."""
    words = ["nvidia-smi", "--query-gpu=" + field, "--format=csv,noheader,nounits"]
    said = (as_root.run(words, timeout=SMI_TIMEOUT_S)["out"].splitlines() or [""])[0].strip()
    return int(said) if said.isdecimal() else None
