"""Docker's settings and the NVIDIA runtime's, so that Swarm can hand this node's GPU to a service.

Merges into /etc/docker/daemon.json and one line of the runtime's config.toml; keeps the file that was there
beside, with its checksum in our record, and puts it back on `restore`: byte for byte where nobody edited it
since, else only our keys are taken out. Docker is reloaded where that does, and restarted at most once.
Runs as the plain user; all that needs root is in as_root.sudo.
"""

import contextlib
import grp
import json
import os
import pwd

from remote.node import (
    as_root,
    config_toml,
    daemon_json,
    deadline,
    docker_daemon,
    gpu_record,
    node_lock,
    stop,
)

DAEMON = "/etc/docker/daemon.json"
TOML = "/etc/nvidia-container-runtime/config.toml"
RECORD = "/var/lib/trtspark/gpu-runtime.json"
KEPT = ".before-trtspark"
NO_RECORD = '{"files": {}, "group": "", "stack": ""}'
GROUP = "docker"
#: Looking, and writing files.
WORK_S = 40
#: All of it: a reload, a restart, and a second one that puts back what did not work.
LONGEST_S = WORK_S + docker_daemon.RELOAD_DEADLINE_S + 2 * docker_daemon.RESTART_DEADLINE_S + 20


def main(args):
    """`args`: {"action": "apply", "gpu": UUID, "group": bool, "stack": name, "take_over": name or ""} or
    {"action": "restore", "stack": name}. A machine that another stack prepared is that stack's: "apply"
    refuses it, unless it is the one to take over, and "restore" leaves it alone.

    Answers {"changed": paths, "docker": "restarted", "reloaded" or "", "login": bool}, and for "restore" with
    a torn record "notes": what cannot be known, sentences. With "login" this user has other groups now, which
    a new login sees: "apply" is to be repeated there.
    """
    if args["action"] not in ("apply", "restore"):
        raise stop.Stop("unknown action %r." % args["action"])
    with node_lock.held(), deadline.within(LONGEST_S):
        if args["action"] == "apply":
            return apply(args["gpu"], args["stack"], args.get("take_over", ""), args.get("group", False))
        return restore(args["stack"])


def apply(gpu, stack, take_over="", group=False):
    """Prepare it."""
    with deadline.within(WORK_S):
        need, files = prepared(gpu, stack, take_over, group)
    if need is None:
        return {"changed": [], "docker": "", "login": True}
    return {"changed": sorted(files), "docker": take(need, gpu, files), "login": False}


def prepared(gpu, stack, take_over, group):
    """The files as they should be: (what the running Docker needs to have it, {path: as `changes` has it});
    (None, {}) where this user came into the group just now.
    """
    record = recorded()
    if record["stack"] not in ("", stack, take_over):
        raise stop.Stop("it was prepared by stack %s, which still owns it." % record["stack"])
    owned = record["stack"] and record["stack"] != stack
    record["stack"] = stack
    if owned:
        as_root.put(RECORD, json.dumps(record, sort_keys=True))
    files = changes(gpu, record)
    if group and not in_group() and not let_in_otherwise():
        join_group(record)
        return None, {}
    seen = docker_daemon.look()
    if seen is None:
        raise stop.Stop(unanswered())
    if seen["live_restore"]:
        raise stop.Stop('Docker runs with live-restore, which Swarm refuses. Take it out of "%s".' % DAEMON)
    need = needs(seen, gpu)
    if need or DAEMON in files:
        accept(files[DAEMON][1] if DAEMON in files else as_root.read(DAEMON))
    remember(record, files)
    for path, (_before, after, _changes, found) in files.items():
        as_root.put(path, after, was=found)
    return need, files


def changes(gpu, record):
    """{path: (the owner's text, the new one, what was changed, what is there)} of the files that must change.

    Raises Stop, before anything is touched, for one that cannot be understood.
    """
    files = {}
    daemon, toml = as_root.read(DAEMON), as_root.read(TOML)
    if daemon_json.merged(daemon, DAEMON, gpu)[1]:
        mine = owners(DAEMON, daemon, record)
        files[DAEMON] = (mine, *daemon_json.merged(mine, DAEMON, gpu), daemon)
    if toml is not None and config_toml.OURS not in config_toml.names(toml):
        mine = owners(TOML, toml, record)
        after, was = config_toml.merged(mine, TOML)
        files[TOML] = (mine, after, {"was": was}, toml)
    for path in files:
        as_root.refuse_link(path)
    return files


def needs(seen, gpu):
    """What makes the running daemon have it: "restart", "reload" or ""."""
    offered = [one for one in seen["resources"] if one.startswith(daemon_json.KIND + "=")]
    if offered != ["%s=%s" % (daemon_json.KIND, gpu)]:
        return "restart"
    return "" if seen["default"] == "nvidia" and "nvidia" in seen["runtimes"] else "reload"


def accept(text):
    """Raises Stop where dockerd would not start with this settings file."""
    words = docker_daemon.command_line()
    other = docker_daemon.settings_file(words)
    if other not in (None, DAEMON):
        raise stop.Stop("dockerd reads its settings from %s (--config-file), not from %s." % (other, DAEMON))
    both = daemon_json.clashes(words)
    if both:
        raise stop.Stop(
            "dockerd has %s on its command line, and would not start with it in %s too. Take it out of "
            "Docker's unit (`systemctl cat docker`) and restart Docker." % (" and ".join(both), DAEMON)
        )
    said = docker_daemon.refusal(text or "{}", words)
    if said:
        raise stop.Stop(
            "dockerd would not start with our keys in %s: %s. It was not touched." % (DAEMON, said)
        )


def take(need, gpu, files):
    """Have the daemon take its settings, by what is needed; what was done. One restart at the most."""
    if need == "reload" and docker_daemon.reload(lambda seen: not needs(seen, gpu)):
        return "reloaded"
    if not need:
        return ""
    try:
        docker_daemon.restart()
    except stop.Stop as error:
        if DAEMON not in files:
            raise
        # A machine without Docker is worse than one without ours.
        as_root.put(DAEMON, files[DAEMON][0])
        with contextlib.suppress(stop.Stop):  # then it was not ours that it does not start with
            restart_with(files[DAEMON][0])
        raise stop.Stop("%s; %s is as it was. See `journalctl -u docker`." % (error, DAEMON)) from None
    seen = docker_daemon.look()
    if seen is None or needs(seen, gpu):
        raise stop.Stop(
            "Docker restarted but does not offer %s=%s. See `journalctl -u docker`." % (daemon_json.KIND, gpu)
        )
    return "restarted"


def restart_with(text):
    """Restart with these settings, which are in the file. Before Docker 23 none does with an empty one: it
    sees `{}`, and the owner's file is there again when it runs.
    """
    blank = text is not None and not text.strip()
    if blank:
        as_root.put(DAEMON, "{}\n")
    docker_daemon.restart()
    if blank:
        as_root.put(DAEMON, text)


def restore(stack):
    """Give it back, as far as it can be known what was there before."""
    record, notes = gpu_record.read(RECORD, DAEMON, TOML, KEPT, GROUP)
    if record["stack"] not in ("", stack):
        return {"changed": [], "docker": "", "login": False}
    for path in record["files"]:
        as_root.refuse_link(path)
    files = {path: as_root.read(path) for path in sorted(record["files"])}
    wanted = {path: owners(path, text, record) for path, text in files.items()}
    changed = [path for path in wanted if wanted[path] != files[path]]
    done = ""
    if DAEMON in files:
        done = give_back(record, files[DAEMON], wanted[DAEMON])
    if TOML in changed:
        as_root.put(TOML, wanted[TOML], was=files[TOML])
    if done == "restart":
        restart_with(wanted[DAEMON])
        done = "restarted"
    left = leave_group(record)
    unknown = record.get("unknown", [])
    for path in (DAEMON, TOML):
        if path not in unknown and os.path.exists(path + KEPT):
            as_root.sudo("rm", "-f", path + KEPT)
    # Half-written files of a run that was cut off; the record goes last.
    for path in (DAEMON, TOML, DAEMON + KEPT, TOML + KEPT):
        if path.removesuffix(KEPT) not in unknown:
            as_root.tidy(path)
    if not unknown:
        forget()
    answer = {"changed": changed, "docker": done, "login": left}
    return {**answer, "notes": notes} if notes else answer


def forget():
    """Our record goes, and our folder with the last one."""
    as_root.tidy(RECORD, NO_RECORD)
    if os.path.lexists(RECORD):
        as_root.sudo("rm", "-f", RECORD)
    if os.path.isdir(os.path.dirname(RECORD)):
        as_root.sudo("rmdir", "--ignore-fail-on-non-empty", os.path.dirname(RECORD))


def give_back(record, found, text):
    """Put the owner's daemon.json in the place of `found`; "restart" where the daemon needs one to forget
    ours.
    """
    entry = record["files"][DAEMON]
    seen = docker_daemon.look()
    if not docker_daemon.is_active():
        settle(text, found)  # it reads it when it is started
        return ""
    left = {"resources"}
    if seen is not None:
        left = {key for one in versions(entry) for key in still_ours(one["changes"], seen, text)}
    if "resources" in left:
        said = docker_daemon.refusal(text or "{}", docker_daemon.command_line())
        if said:
            raise stop.Stop(
                "dockerd would not start with %s as you left it: %s. Mend it; it was not touched."
                % (DAEMON, said)
            )
        settle(text, found)
        return "restart"
    if not left:
        settle(text, found)
        return ""
    # A run cut off between the two finds our text, and puts the owner's back.
    outright = daemon_json.said_outright(text, entry["changes"])
    entry["after"] = as_root.checksum(outright)
    as_root.put(RECORD, json.dumps(record, sort_keys=True))
    settle(outright, found)
    taken = docker_daemon.reload(lambda seen: not still_ours(entry["changes"], seen, text))
    settle(text, outright)
    return "reloaded" if taken else "restart"


def still_ours(changes, seen, text):
    """What the running daemon has of ours, and will not have by the owner's settings."""
    then, found = daemon_json.settings(text, DAEMON), set()
    ours = changes.get("resources", {}).get("ours")
    if ours in seen["resources"] and ours not in then.get("node-generic-resources", []):
        found.add("resources")
    default = seen["default"] == "nvidia" and then.get("default-runtime") != "nvidia"
    if "default-runtime" in changes and default:
        found.add("default-runtime")
    if "runtime" in changes and "nvidia" in seen["runtimes"] and "nvidia" not in then.get("runtimes", {}):
        found.add("runtime")
    return found


def settle(text, found):
    """daemon.json with this text in the place of `found`; it is not touched where it has it."""
    if found != text:
        as_root.put(DAEMON, text, was=found)


def owners(path, current, record):
    """The file's text without what is ours: as it was, byte for byte, where nobody edited it since."""
    entry = record["files"].get(path)
    if entry is None or current is None:
        return current
    if as_root.checksum(current) in [one["after"] for one in versions(entry)]:
        if entry["before"] is None:
            return None
        kept = as_root.read(path + KEPT)
        if as_root.checksum(kept) == entry["before"]:
            return kept
    if path == TOML:
        return config_toml.taken_back(current, path, entry["changes"]["was"])
    text = current
    for one in versions(entry):
        text = daemon_json.taken_back(text, path, one["changes"])
    gone = entry["before"] is None and not daemon_json.settings(text, path)
    return None if gone else text


def versions(entry):
    """What we wrote into a file, the newest first: of a run that was cut off only the one before is there."""
    return [entry, *([entry["earlier"]] if entry.get("earlier") else [])]


def earlier(entry, current):
    """Of a file's record so far, what is in the file now; None for nothing of ours."""
    if entry is None:
        return None
    found = versions(entry)
    there = [one for one in found if one["after"] == as_root.checksum(current)] or found
    return {"after": there[0]["after"], "changes": there[0]["changes"]}


def remember(record, files):
    """Keep the owner's texts beside, and what we are about to change, before it is changed."""
    for path, (before, after, changed, _found) in files.items():
        current = as_root.read(path)
        if before is not None and before == current:
            as_root.refuse_link(path + KEPT)
            as_root.sudo("cp", "-p", path, path + KEPT)
            as_root.flush(path + KEPT)
        elif before is not None and before != as_root.read(
            path + KEPT
        ):  # with the owner's edits since an earlier change of ours
            as_root.put(path + KEPT, before)
        record["files"][path] = {
            "before": as_root.checksum(before),
            "after": as_root.checksum(after),
            "changes": changed,
            "earlier": earlier(record["files"].get(path), current),
        }
    if files:
        as_root.put(RECORD, json.dumps(record, sort_keys=True))


def recorded():
    """Our record. Raises Stop for a torn one: what was here before must not be forgotten by a new one."""
    record, notes = gpu_record.read(RECORD, DAEMON, TOML, KEPT, GROUP)
    if notes:
        raise stop.Stop(
            "%s, our record of what was here before, cannot be understood. Compare %s with %s%s by hand and "
            "remove the record." % (RECORD, DAEMON, DAEMON, KEPT)
        )
    return record


def user():
    return pwd.getpwuid(os.getuid()).pw_name


def in_group():
    """As /etc/group has it: this login may be older."""
    try:
        there = grp.getgrnam(GROUP)
    except KeyError:
        raise stop.Stop("there is no group %s. Is Docker installed?" % GROUP) from None
    me = pwd.getpwuid(os.getuid())
    return me.pw_uid == 0 or me.pw_gid == there.gr_gid or me.pw_name in there.gr_mem


def let_in_otherwise():
    """Whether Docker answers this user though neither they nor this login are in the group."""
    return old_login() and docker_daemon.look() is not None


def old_login():
    """Whether this login does not have the group, as one from before its user came into it."""
    return os.geteuid() != 0 and grp.getgrnam(GROUP).gr_gid not in (os.getgid(), *os.getgroups())


def group_members():
    return grp.getgrnam(GROUP).gr_mem


def join_group(record):
    record["group"] = user()
    as_root.put(RECORD, json.dumps(record, sort_keys=True))
    as_root.sudo("usermod", "-aG", GROUP, user())


def leave_group(record):
    """Undo `join_group`; True when this user's groups changed."""
    if not record["group"] or record["group"] not in group_members():
        return False
    as_root.sudo("gpasswd", "-d", record["group"], GROUP)
    return True


def unanswered():
    if in_group() and old_login():
        return (
            "this login is from before its user came into group %s. Run the same again in a minute." % GROUP
        )
    return "Docker does not answer. Start it: `sudo systemctl start docker`; its log: `journalctl -u docker`."
