"""Who is at the other end of this machine's cables: link-local neighbours, and the host keys they show."""

import subprocess
import threading

from remote.node import untrusted

DEAD = {"FAILED", "INCOMPLETE", "NOARP"}


def look(args):
    """`args`: {"interfaces": [names]}. {"neighbours": [{"interface", "address", "mac", "keys": [lines]}]}.

    Asks everybody on the wire once (ff02::1), so that the neighbours are known, and each for its keys.
    """
    found: list[dict[str, object]] = []
    threads = []
    for name in args["interfaces"]:
        threads.append(threading.Thread(target=_one, args=(name, found)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return {"neighbours": sorted(found, key=lambda one: (one["interface"], one["address"]))}


def _one(interface, found):
    _run(["ping", "-6", "-c", "2", "-i", "0.3", "-w", "2", "ff02::1%" + interface])
    try:
        rows = untrusted.load(_run(["ip", "-6", "-j", "neigh", "show", "dev", interface]) or "[]")
    except ValueError:
        return
    for row in rows:
        address = row.get("dst", "")
        if not address.startswith("fe80:") or DEAD & set(row.get("state", [])):
            continue
        lines = _run(["ssh-keyscan", "-T", "3", address + "%" + interface]).splitlines()
        keys = [" ".join(line.split()[1:3]) for line in lines if line and not line.startswith("#")]
        found.append({"interface": interface, "address": address, "mac": row.get("lladdr", ""), "keys": keys})


def _run(command):
    try:
        return subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=15,
            text=True,
            errors="replace",
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
