"""The fabric's addresses on this machine: one netplan file of ours, applied under a guard.

A new file is tried first: as /run/netplan/… (gone after a power cut), checked by `netplan generate`, then
applied by a process of its own that outlives the ssh session. Only a `confirm` over a new connection makes
it last; without one the file is removed and the old state applied again. `netplan apply` drops the
management address for about a second (field reports), and may for good: nobody need be there.
A change holds the node's lock until its guard has ended. Runs as the plain user; sudo is used for netplan,
install, sync, mv, cat, rm, mkdir, rmdir and ip only.
"""

import contextlib
import glob
import json
import os
import re
import shutil
import subprocess
import time

from remote.node import as_root, deadline, node_lock, stop, whole_file

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
#: The old network comes back within this.
BACK_S = 90
#: A guard ends within this and the time that it waits for its confirmation.
GUARD_S = APPLY_S + BACK_S + 5
#: Beyond what it waits for: an action that asks, and one that writes files and has netplan look at them.
ASK_S, WORK_S = 20, 90
#: From a guard's last word to its end.
FINISH_S = 1
DEFAULT_MTU = 1500
POLL_S = 0.1
ENDS = ("kept", "restored", "removed")
TORN = "%s, our record of the fabric's addresses, was torn: what Pulumi's state has of them was taken back."
NOT_KNOWN = (
    "%s, our record of the fabric's addresses, is torn, and %s is not as this stack wrote it: whose it is "
    "cannot be known, and it stays. Where nothing needs it: `sudo rm %s %s; sudo netplan apply` there."
)
ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}")


def main(args):
    """`args["action"]` is one of these functions' names; they say what else it needs."""
    actions = (look, begin, confirm, outcome, remove, read)
    return {action.__name__: action for action in actions}[args["action"]](args)


def recorded():
    """Our record, None where there is none; {} where it cannot be understood."""
    found = as_root.record(RECORD)
    if not found:
        return found
    stack, addresses = found.get("stack"), found.get("addresses")
    whole = isinstance(stack, str) and isinstance(addresses, dict)
    return found if whole and all(ADDRESS.fullmatch(str(one)) for one in addresses.values()) else {}


# --- looking -----------------------------------------------------------------------------------------


def look(args):
    """What is written down, and who answers at the interfaces of `neighbours` (needs no root)."""
    waited = node_lock.busy()
    if waited:
        wait_for(lambda: not node_lock.busy(), args["wait_s"])
    with deadline.within(WORK_S):
        record = recorded()
        merged = as_root.run(["netplan", "get"], root=True, timeout=APPLY_S)
        return {
            "waited": waited,
            "record": record,
            "torn": record == {},
            "linked": [path for path in (FILE, RECORD) if os.path.islink(path)],
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
            deadline.end(ping)
    found = {}
    for name in netdevs:
        shown = as_root.run(["ip", "-j", "-6", "neigh", "show", "dev", name])["out"]
        rows = json.loads(shown or "[]")
        found[name] = sorted({row["lladdr"] for row in rows if row.get("lladdr")})
    return found


def read(args):
    """Our file's text and what the interfaces `netdevs` really have, as the resource states them."""
    with deadline.within(ASK_S):
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
    `wait_s` for another's change to end, `keep_s` for the confirmation to come.
    """
    with node_lock.held(args["wait_s"]), deadline.within(WORK_S):
        forget()
        return attempt(args)


def attempt(args):
    """The change itself, one at a time."""
    for path in (FILE, TRIAL, RECORD):
        as_root.refuse_link(path)
    new = json.dumps({"stack": args["stack"], "addresses": args["addresses"]}, sort_keys=True)
    before = text_of(RECORD)
    if before != new:
        as_root.put(RECORD, new, "644")
    if ours() == args["file"] and not lacking(args):
        return {"phase": "kept", "reason": ""}
    previous = ours()
    try:
        as_root.sudo("mkdir", "-p", os.path.dirname(TRIAL))
        as_root.sudo("install", "-m", as_root.PRIVATE, "/dev/stdin", TRIAL, text=args["file"])
        generate()
        if not lacking(args):  # the addresses are there, the file is not: nothing to apply
            keep(args["file"], previous)
            return {"phase": "kept", "reason": ""}
        status(args, "applying")
        detached(lambda: guard(args, before, previous))
    except Exception:  # no trial without its guard
        drop_trial()
        put_back(before)
        forget()
        raise
    return {"phase": "applying", "reason": ""}


def generate():
    """Raises Stop where netplan does not take its files as they are now."""
    done = as_root.run(["netplan", "generate"], root=True, timeout=APPLY_S)
    if done["rc"]:
        raise stop.Stop("netplan does not take the new file: %s. Nothing was changed." % as_root.last(done))


def guard(args, before, previous):
    """Apply, wait for the verdict, and end as kept or restored: the old network is back in any case."""
    try:
        verdict = tried(args, previous)
    except Exception as error:
        verdict = str(error) if isinstance(error, stop.Stop) else "its guard met %s" % type(error).__name__
    if not verdict:
        status(args, "kept")
        return
    with deadline.within(BACK_S):
        drop_trial()
        with contextlib.suppress(stop.Stop):  # a disk that takes nothing more
            file_back(previous if ours() == args["file"] else ours())
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
            status(args, "restored", verdict)


def tried(args, previous):
    """Apply it and keep it when that is confirmed; "", or why it was not kept."""
    time.sleep(HEAD_START_S)
    done = as_root.run(["netplan", "apply"], root=True, timeout=APPLY_S)
    if done["rc"]:
        return "`netplan apply` failed: %s" % as_root.last(done)
    status(args, "waiting")
    said = wait_for(lambda: text_of(GUARD + "/verdict"), args["keep_s"]) or "nobody confirmed it"
    if said != "keep":
        return said
    with deadline.within(ASK_S):
        keep(args["file"], previous)
    return ""


def keep(text, previous):
    """From a trial to a file that lasts, in the place of `previous`; the text is the trial's, so there is
    nothing to apply.
    """
    as_root.put(FILE, text, as_root.PRIVATE, was=previous)
    drop_trial()


def drop_trial():
    """Without it what is in /etc counts. An error is of no use here: the next boot takes it away."""
    as_root.run(["rm", "-f", TRIAL], root=True)
    as_root.run(["rmdir", "--ignore-fail-on-non-empty", os.path.dirname(TRIAL)], root=True)


def confirm(args):
    """Keep it when the interfaces have what they should within `settle_s`, else give it up. Returns as
    `outcome`. To be asked over a connection that was made while the guard was waiting already.
    """
    with deadline.within(args["settle_s"] + ASK_S):
        if phase(args)["phase"] == "waiting":
            wait_for(lambda: not lacking(args), args["settle_s"])
            verdict(lacking(args) or "keep")
    return outcome(args)


def outcome(args):
    """How far it is after `wait_s` at most: {"phase": applying | waiting | kept | restored | removed,
    "reason"}. Once told of an end the guard forgets it, and what is there tells.
    """
    wait_for(lambda: phase(args)["phase"] in ENDS or not node_lock.busy(), args["wait_s"])
    found = phase(args)
    if found["phase"] in ENDS:
        finish()
    elif not node_lock.busy():
        with deadline.within(ASK_S):
            found = told_by_what_is_there(args)
        finish()
    return found


def told_by_what_is_there(args):
    """The end of a change whose guard did not live to tell it, or has been heard already."""
    if args["file"]:
        done, end = ours() == args["file"] and not lacking(args), "kept"
    else:
        done, end = not os.path.exists(RECORD), "removed"  # the record goes last
        if done:
            put_back(None)
    if done:
        return {"phase": end, "reason": ""}
    return {"phase": "restored" if args["file"] else end, "reason": "its guard is gone"}


def remove(args):
    """Take our file away, and only ours: another stack's record means that the file is its."""
    with node_lock.held(args["wait_s"]), deadline.within(WORK_S):
        forget()
        return removal(args)


def removal(args):
    """The removal itself; what is not there needs none. With a torn record, what Pulumi's state has of our
    file (`ours`, its text, and `addresses`) says whether it is ours: "note" is a sentence about that.
    """
    record, end = recorded(), {"phase": "removed", "reason": ""}
    if record is None:  # at most what a run that was cut off left
        file_back(ours())
        put_back(None)
    if record == {}:
        if ours() not in (None, args.get("ours") or None):
            return {**end, "note": NOT_KNOWN % (RECORD, FILE, FILE, RECORD)}
        end["note"] = TORN % RECORD
        record = {"stack": args["stack"], "addresses": args["addresses"]}
    if record is None or record["stack"] != args["stack"]:
        return end
    as_root.refuse_link(FILE)
    there = [path for path in (FILE, TRIAL) if os.path.lexists(path)]
    file_back(None)
    if TRIAL in there:
        drop_trial()
    if not there and not any(ipv4(link) & set(record["addresses"].values()) for link in links().values()):
        put_back(None)
        return end
    status(args, "applying")
    detached(lambda: taking_back(args, record["addresses"]))
    return {**end, "phase": "applying"}


def taking_back(args, addresses):
    time.sleep(HEAD_START_S)
    done = as_root.run(["netplan", "apply"], root=True, timeout=APPLY_S)
    with deadline.within(BACK_S):
        give_back(addresses, args["mtu"])
        put_back(None)
    status(args, "removed", "`netplan apply` failed: %s" % as_root.last(done) if done["rc"] else "")


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
        as_root.put(FILE, text or "", as_root.PRIVATE)
    if text is None and os.path.lexists(FILE):
        as_root.sudo("rm", "-f", FILE)


def put_back(record):
    """The record as it was; None for none."""
    if record is not None:
        as_root.put(RECORD, record, "644")
        return
    if os.path.exists(RECORD + as_root.NEW):  # of a run that was cut off
        as_root.put(RECORD, "null", "644")
    if os.path.exists(RECORD):
        as_root.sudo("rm", "-f", RECORD)
    if os.path.isdir(os.path.dirname(RECORD)):
        as_root.sudo("rmdir", "--ignore-fail-on-non-empty", os.path.dirname(RECORD))


# --- the guard's own files ---------------------------------------------------------------------------


def forget():
    """What an earlier change told of itself; to be called by whoever holds the lock."""
    shutil.rmtree(GUARD, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(GUARD))


def finish():
    """`forget`, unless another change is under way: then it is that one's."""
    with contextlib.suppress(stop.Stop), node_lock.held(FINISH_S):
        forget()


def name_of(args):
    """What tells one change from another: whose it is, and the text it is about."""
    return as_root.checksum(json.dumps([args["stack"], args["file"]]))


def phase(args):
    """How far this change is, by its guard's word: {"phase", "reason"}; "" where it says nothing."""
    found = as_root.record(GUARD + "/status") or {}
    if found.get("of") != name_of(args):
        return {"phase": "", "reason": ""}
    return {"phase": found["phase"], "reason": found["reason"]}


def status(args, name, reason=""):
    write(GUARD + "/status", json.dumps({"of": name_of(args), "phase": name, "reason": reason}))


def verdict(text):
    write(GUARD + "/verdict", text)


def write(path, text):
    os.makedirs(GUARD, mode=0o700, exist_ok=True)
    whole_file.write(path, text.encode(), 0o600, lasting=False)


def detached(work):
    """Run `work` in a session of its own, so that the end of ours does not end it. It holds the node's lock
    too: a child has its parent's files, and a lock lasts until the last of them is closed.
    """
    if os.fork():
        return
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        deadline.anew()
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
