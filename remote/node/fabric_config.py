"""The fabric's addresses on this machine: one netplan file of ours, applied under a guard.

A new file is tried first: as /run/netplan/… (gone after a power cut), checked by `netplan generate`, then
applied by a process of its own that outlives the ssh session. Only a `confirm` over a new connection makes
it last; without one the file is removed and the old state applied again. `netplan apply` drops the
management address for about a second (field reports), and may for good: nobody need be there.
Runs as the plain user; sudo is used for netplan, install, mv, cat, rm, mkdir, rmdir and ip only.
"""

import contextlib
import fcntl
import glob
import json
import os
import shutil
import subprocess
import time

from remote.node import as_root, stop

NAME = "40-trtspark-fabric.yaml"
FILE = "/etc/netplan/" + NAME
TRIAL = "/run/netplan/" + NAME
RECORD = "/var/lib/trtspark/fabric.json"
GUARD = os.path.expanduser("~/.trtspark/fabric-guard")
#: For the answer to leave before the network is touched.
HEAD_START_S = 0.5
#: netplan apply restarts NetworkManager; recorded: some seconds.
APPLY_S = 60
APPLY_TRIES = 3
DEFAULT_MTU = 1500
POLL_S = 0.1
ENDS = ("kept", "restored", "removed")


def main(args):
    """`args["action"]` is one of these functions' names; they say what else it needs."""
    actions = (look, begin, confirm, outcome, remove, read)
    return {action.__name__: action for action in actions}[args["action"]](args)


# --- looking -----------------------------------------------------------------------------------------


def look(args):
    """What is written down, and who answers at the interfaces of `neighbours` (needs no root)."""
    waited = busy()
    if waited:
        wait_for(lambda: not busy(), args["wait_s"])
    merged = as_root.run(["netplan", "get"], root=True, timeout=APPLY_S)
    return {
        "waited": waited,
        "record": json.loads(text_of(RECORD) or "null"),
        "file": ours(),
        "netplan": merged,
        "neighbours": neighbours(args["neighbours"]),
        "dynamic": sorted(
            name
            for name, link in links().items()
            if any(row.get("dynamic") for row in link["addr_info"] if row.get("family") == "inet")
        ),
    }


def neighbours(netdevs):
    """{interface: MACs that answered a ping to all nodes on its link}, by IPv6 link-local addresses."""
    pings = [
        subprocess.Popen(
            # A plain user's pings to all nodes are a second apart at least.
            ["ping", "-6", "-n", "-q", "-c", "2", "-i", "1", "-W", "1", "ff02::1%" + name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name in netdevs
    ]
    for ping in pings:
        try:
            ping.wait(timeout=10)
        except subprocess.TimeoutExpired:
            ping.kill()
            ping.wait()
    found = {}
    for name in netdevs:
        shown = as_root.run(["ip", "-j", "-6", "neigh", "show", "dev", name])["out"]
        rows = json.loads(shown or "[]")
        found[name] = sorted({row["lladdr"] for row in rows if row.get("lladdr")})
    return found


def read(args):
    """Our file's text and what the interfaces `netdevs` really have, as the resource states them."""
    there = links()
    addresses = {}
    for name in args["netdevs"]:
        found = ipv4(there.get(name))
        if found:
            addresses[name] = ", ".join(sorted(found))
    return {"file": ours() or "", "addresses": addresses}


def links():
    """{interface: its entry in `ip -j addr`}: with -4 those without an address would be left out."""
    shown = as_root.run(["ip", "-j", "addr", "show"])
    return {link["ifname"]: link for link in json.loads(shown["out"] or "[]") if "ifname" in link}


def ipv4(link):
    """The IPv4 addresses of an entry of `links`, with their prefixes."""
    rows = [row for row in (link or {}).get("addr_info", []) if row.get("family") == "inet"]
    return {"%s/%d" % (row["local"], row["prefixlen"]) for row in rows}


def lacking(args):
    """What the interfaces still lack of `addresses`, `mtu` and `gids`, a sentence; "" when nothing.

    An interface without a cable counts as done: it gets its address with its link.
    """
    there = links()
    for name, address in sorted(args["addresses"].items()):
        link = there.get(name)
        if link is None or "LOWER_UP" not in link["flags"]:
            continue
        if ipv4(link) != {address}:
            return "%s has %s, not %s" % (name, ", ".join(sorted(ipv4(link))) or "no address", address)
        if link["mtu"] != args["mtu"]:
            return "%s has MTU %d, not %d" % (name, link["mtu"], args["mtu"])
        if name in args["gids"] and not has_gid(name, address):
            return "%s has no RoCE v2 GID for %s" % (name, address)
    return ""


def has_gid(netdev, address):
    """Whether a RoCE v2 GID carries an IPv4 address."""
    packed = "".join("%02x" % int(octet) for octet in address.split("/")[0].split("."))
    wanted = "0000:0000:0000:0000:0000:ffff:%s:%s" % (packed[:4], packed[4:])
    for folder in glob.glob("/sys/class/infiniband/*/device/net/%s" % netdev):
        port = folder.split("/device/")[0] + "/ports/1"
        for path in glob.glob(port + "/gids/*"):
            index = os.path.basename(path)
            kind = (text_of("%s/gid_attrs/types/%s" % (port, index)) or "").strip()
            if kind == "RoCE v2" and (text_of(path) or "").strip().lower() == wanted:
                return True
    return False


# --- the change --------------------------------------------------------------------------------------


def begin(args):
    """Try `file` for `stack`: {"phase": "kept"} where nothing needs applying, else a guard takes over.

    Also: `addresses` {interface: "a.b.c.d/24"}, `mtu`, `gids` (interfaces whose address needs one);
    `wait_s` for another's guard to end, `keep_s` for the confirmation to come.
    """
    with locked(args["wait_s"]) as lock:
        return attempt(args, lock)


def attempt(args, lock):
    """The change itself, one at a time."""
    new = json.dumps({"stack": args["stack"], "addresses": args["addresses"]}, sort_keys=True)
    before = text_of(RECORD)
    if before != new:
        put(RECORD, new, "644")
    if ours() == args["file"] and not lacking(args):
        finish()
        return {"phase": "kept", "reason": ""}
    as_root.sudo("mkdir", "-p", os.path.dirname(TRIAL))
    as_root.sudo("install", "-m", "600", "/dev/stdin", TRIAL, text=args["file"])
    done = as_root.run(["netplan", "generate"], root=True, timeout=APPLY_S)
    if done["rc"]:
        drop_trial()
        put_back(before)
        finish()
        raise stop.Stop("netplan does not take the new file: %s. Nothing was changed." % as_root.last(done))
    if not lacking(args):  # the addresses are there, the file is not: nothing to apply
        keep(args["file"])
        finish()
        return {"phase": "kept", "reason": ""}
    status("applying")
    detached(lambda: guard(args, before), lock)
    return {"phase": "applying", "reason": ""}


def guard(args, before):
    """Apply, wait for the verdict, and end as kept or restored."""
    previous = ours()
    time.sleep(HEAD_START_S)
    done = as_root.run(["netplan", "apply"], root=True, timeout=APPLY_S)
    if done["rc"]:
        verdict = "`netplan apply` failed: %s" % as_root.last(done)
    else:
        status("waiting")
        verdict = wait_for(lambda: text_of(GUARD + "/verdict"), args["keep_s"]) or "nobody confirmed it"
    if verdict == "keep":
        try:
            keep(args["file"])
        except stop.Stop as error:
            verdict = str(error)
        else:
            status("kept")
            return
    drop_trial()
    with contextlib.suppress(stop.Stop):  # a disk that takes nothing more
        file_back(previous)
    for _ in range(APPLY_TRIES):
        done = as_root.run(["netplan", "apply"], root=True, timeout=APPLY_S)
        if done["rc"] == 0:
            break
        time.sleep(1)
    if before is None:
        give_back(args["addresses"], args["mtu"])
    try:
        put_back(before)
    finally:
        status("restored", verdict)


def keep(text):
    """From a trial to a file that lasts; the text is the same, so there is nothing to apply."""
    put(FILE, text, "600")
    drop_trial()


def drop_trial():
    """Without it what is in /etc counts. An error is of no use here: the next boot takes it away."""
    as_root.run(["rm", "-f", TRIAL], root=True)
    as_root.run(["rmdir", "--ignore-fail-on-non-empty", os.path.dirname(TRIAL)], root=True)


def confirm(args):
    """Keep it when the interfaces have what they should within `settle_s`, else give it up. Returns as
    `outcome`. To be asked over a connection that was made while the guard was waiting already.
    """
    if phase()["phase"] == "waiting":
        wait_for(lambda: not lacking(args), args["settle_s"])
        verdict(lacking(args) or "keep")
    return outcome(args)


def outcome(args):
    """How far it is after `wait_s` at most: {"phase": applying | waiting | kept | restored | removed,
    "reason"}. Once told of an end the guard forgets it, and what is there tells.
    """
    wait_for(lambda: phase()["phase"] in ENDS or not busy(), args["wait_s"])
    found = phase()
    if found["phase"] in ENDS:
        finish()
    elif not busy():
        if args["file"]:
            done, end = ours() == args["file"] and not lacking(args), "restored"
        else:
            done, end = not os.path.exists(RECORD), "removed"  # the record goes last
            if done:
                put_back(None)
        end = "kept" if done and args["file"] else end
        found = {"phase": end, "reason": "" if done else "its guard is gone"}
        finish()
    return found


def remove(args):
    """Take our file away, and only ours: another stack's record means that the file is its."""
    with locked(args["wait_s"]) as lock:
        return removal(args, lock)


def removal(args, lock):
    """The removal itself; what is not there needs none."""
    record = json.loads(text_of(RECORD) or "null")
    if record is None:  # at most what a run that was cut off left
        file_back(ours())
        put_back(None)
    if record is None or record.get("stack") != args["stack"]:
        finish()
        return {"phase": "removed", "reason": ""}
    there = [path for path in (FILE, TRIAL) if os.path.exists(path)]
    file_back(None)
    if TRIAL in there:
        drop_trial()
    if not there and not any(ipv4(link) & set(record["addresses"].values()) for link in links().values()):
        put_back(None)
        finish()
        return {"phase": "removed", "reason": ""}
    status("applying")
    detached(lambda: taking_back(record["addresses"], args["mtu"]), lock)
    return {"phase": "applying", "reason": ""}


def taking_back(addresses, mtu):
    time.sleep(HEAD_START_S)
    done = as_root.run(["netplan", "apply"], root=True, timeout=APPLY_S)
    give_back(addresses, mtu)
    put_back(None)
    status("removed", "`netplan apply` failed: %s" % as_root.last(done) if done["rc"] else "")


def give_back(addresses, mtu):
    """What `netplan apply` left of ours on an interface: systemd-networkd forgets interfaces that no file
    names any more. An address that some other file names now is no longer ours.
    """
    merged = as_root.run(["netplan", "get"], root=True, timeout=APPLY_S)["out"]
    for name, address in addresses.items():
        link = links().get(name)
        if ipv4(link) == {address} and address not in merged:
            as_root.run(["ip", "-4", "address", "flush", "dev", name], root=True)
        if link and link["mtu"] == mtu and "mtu: %d" % mtu not in merged:
            as_root.run(["ip", "link", "set", "dev", name, "mtu", str(DEFAULT_MTU)], root=True)


def file_back(text):
    """Our file with this text, None for no file, and nothing half-written beside it."""
    if os.path.exists(FILE + as_root.NEW) or (text is not None and ours() != text):
        put(FILE, text or "", "600")
    if text is None and os.path.exists(FILE):
        as_root.sudo("rm", "-f", FILE)


def put_back(record):
    """The record as it was; None for none."""
    if record is not None:
        put(RECORD, record, "644")
        return
    if os.path.exists(RECORD + as_root.NEW):  # of a run that was cut off
        put(RECORD, "null", "644")
    if os.path.exists(RECORD):
        as_root.sudo("rm", "-f", RECORD)
    if os.path.isdir(os.path.dirname(RECORD)):
        as_root.sudo("rmdir", "--ignore-fail-on-non-empty", os.path.dirname(RECORD))


# --- the guard's own files ---------------------------------------------------------------------------


@contextlib.contextmanager
def locked(wait_s):
    """The lock that one change at a time holds, its guard included: a file descriptor."""
    os.makedirs(GUARD, mode=0o700, exist_ok=True)
    lock = os.open(GUARD + "/lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        if not wait_for(lambda: try_lock(lock), wait_s):
            raise stop.Stop("Another change of the fabric is under way here. Try the same again in a minute.")
        for name in ("status", "verdict"):
            if os.path.exists(GUARD + "/" + name):
                os.remove(GUARD + "/" + name)
        yield lock
    finally:
        os.close(lock)


def try_lock(lock):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def busy():
    """Whether a change is under way."""
    try:
        with open(GUARD + "/lock") as lock:
            return not try_lock(lock)
    except OSError:
        return False


def phase():
    return json.loads(text_of(GUARD + "/status") or '{"phase": "", "reason": ""}')


def status(name, reason=""):
    write(GUARD + "/status", json.dumps({"phase": name, "reason": reason}))


def verdict(text):
    write(GUARD + "/verdict", text)


def write(path, text):
    with open(path + ".new", "w") as handle:
        handle.write(text)
    os.rename(path + ".new", path)


def finish():
    """The guard's folder goes; ours around it too when nothing else is in it."""
    shutil.rmtree(GUARD, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(GUARD))


def detached(work, _lock):
    """Run `work` in a session of its own, so that the end of ours does not end it. It holds the lock too:
    a child has its parent's files, and a lock lasts until the last of them is closed.
    """
    if os.fork():
        return
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        work()
    finally:
        os._exit(0)


# --- commands ----------------------------------------------------------------------------------------


def wait_for(condition, seconds):
    """What `condition` answered when it was first true, or its last answer at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found or time.monotonic() > deadline:
            return found
        time.sleep(POLL_S)


def ours():
    """Our file's text as root reads it; None when it is not there."""
    return as_root.sudo("cat", FILE) if os.path.exists(FILE) else None


def text_of(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return None


def put(path, text, mode):
    """A file of root's, whole or not at all; netplan does not read names that end otherwise."""
    as_root.sudo("mkdir", "-p", os.path.dirname(path))
    as_root.sudo("install", "-m", mode, "/dev/stdin", path + as_root.NEW, text=text)
    as_root.sudo("mv", "-f", path + as_root.NEW, path)
