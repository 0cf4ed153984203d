"""The sudo rules that the node programs need, for a user whose sudo asks for a password.

docs/preparing.md shows them for user nvidia; tests compare them with the commands that the node programs
run (remote/node/gpu_runtime.py, probe.py, fabric_config.py
and gpu_clock.py).
"""

from __future__ import annotations

from collections.abc import Sequence

#: sudo ignores files whose name has a dot or ends in ~, so this name has neither.
FILE = "/etc/sudoers.d/trtspark"

_DAEMON = "/etc/docker/daemon.json"
_TOML = "/etc/nvidia-container-runtime/config.toml"
_STATE = "/var/lib/trtspark"
_RECORD = f"{_STATE}/gpu-runtime.json"
_KEPT, _NEW = ".before-trtspark", ".trtspark-new"
#: Files that are replaced whole: a copy beside the file is written and moved into its place.
_REPLACED = (_DAEMON, _TOML, _DAEMON + _KEPT, _TOML + _KEPT, _RECORD)
_NETPLAN, _NETPLAN_RUN = "/etc/netplan/40-trtspark-fabric.yaml", "/run/netplan/40-trtspark-fabric.yaml"
_FABRIC = f"{_STATE}/fabric.json"
_CLOCK_UNIT = "trtspark-gpu-clock.service"
_CLOCK, _CLOCK_RECORD = f"/etc/systemd/system/{_CLOCK_UNIT}", f"{_STATE}/gpu-clock.json"
#: A Spark's four ports (two QSFP ports, two PCIe functions each).
NETDEVS = ("enp1s0f0np0", "enp1s0f1np1", "enP2p1s0f0np0", "enP2p1s0f1np1")


def lines(user: str) -> list[str]:
    """The rules that every stack needs: Docker's settings and the GPU runtime's."""
    return _rules(
        user,
        ["/usr/bin/true"],
        ["/usr/bin/cat /etc/ufw/user.rules"],
        [f"/usr/bin/mkdir -p {one}" for one in ("/etc/docker", "/etc/nvidia-container-runtime", _STATE)],
        *[[f"/usr/bin/cp -p {path} {path}{_KEPT}"] for path in (_DAEMON, _TOML)],
        *[[f"/usr/bin/cp -p {path} {path}{_NEW}"] for path in _REPLACED],
        *[[f"/usr/bin/tee {path}{_NEW}"] for path in _REPLACED],
        *[[f"/usr/bin/mv -f {path}{_NEW} {path}"] for path in _REPLACED],
        [f"/usr/bin/rm -f {path}" for path in (_DAEMON, _DAEMON + _KEPT, _TOML + _KEPT, _RECORD)],
        [f"/usr/bin/rmdir --ignore-fail-on-non-empty {_STATE}"],
        [f"/usr/bin/systemctl {verb} docker" for verb in ("reset-failed", "reload", "restart")],
        [f"/usr/sbin/usermod -aG docker {user}", f"/usr/bin/gpasswd -d {user} docker"],
    )


def fabric_lines(user: str) -> list[str]:
    """More rules for `fabric: configure`."""
    return _rules(
        user,
        [f"/usr/sbin/netplan {verb}" for verb in ("get", "generate", "apply")],
        [f"/usr/bin/mkdir -p {one}" for one in ("/run/netplan", "/etc/netplan", _STATE)],
        [f"/usr/bin/install -m 600 /dev/stdin {_NETPLAN_RUN}"],
        [f"/usr/bin/install -m 600 /dev/stdin {_NETPLAN}{_NEW}"],
        [f"/usr/bin/install -m 644 /dev/stdin {_FABRIC}{_NEW}"],
        *[[f"/usr/bin/mv -f {path}{_NEW} {path}"] for path in (_NETPLAN, _FABRIC)],
        [f"/usr/bin/cat {_NETPLAN}", f"/usr/bin/sync {_NETPLAN}{_NEW}"],
        [
            f"/usr/bin/rm -f {_NETPLAN}",
            f"/usr/bin/rm -f {_NETPLAN_RUN}",
            "/usr/bin/rmdir --ignore-fail-on-non-empty /run/netplan",
        ],
        [f"/usr/bin/rm -f {_FABRIC}", f"/usr/bin/rmdir --ignore-fail-on-non-empty {_STATE}"],
        *[
            [f"/usr/sbin/ip -4 address flush dev {one}", f"/usr/sbin/ip link set dev {one} mtu 1500"]
            for one in NETDEVS
        ],
    )


def clock_lines(user: str) -> list[str]:
    """More rules for `gpuClockLimit`."""
    return _rules(
        user,
        [f"/usr/bin/mkdir -p {one}" for one in ("/etc/systemd/system", _STATE)],
        *[[f"/usr/bin/cp -p {path} {path}{_NEW}"] for path in (_CLOCK, _CLOCK_RECORD)],
        *[[f"/usr/bin/tee {path}{_NEW}"] for path in (_CLOCK, _CLOCK_RECORD)],
        *[[f"/usr/bin/mv -f {path}{_NEW} {path}"] for path in (_CLOCK, _CLOCK_RECORD)],
        [f"/usr/bin/rm -f {path}" for path in (_CLOCK, _CLOCK_RECORD)],
        [f"/usr/bin/rmdir --ignore-fail-on-non-empty {_STATE}"],
        [
            "/usr/bin/systemctl daemon-reload",
            *[f"/usr/bin/systemctl {verb} {_CLOCK_UNIT}" for verb in ("enable", "restart", "disable --now")],
        ],
    )


def paste_block(rules: Sequence[str]) -> str:
    """Shell lines to paste on a node: they install the rules only if visudo accepts them.

    The file gets its name by a rename, so a paste that is cut off leaves no half-written file.
    """
    text = "\n".join(rules)
    return (
        f"f=$(mktemp) && cat >\"$f\" <<'RULES'\n{text}\nRULES\n"
        f'sudo visudo -cf "$f" && {install("$f")}; rm -f "$f"\n'
    )


def install(path: str, sudo: str = "sudo ") -> str:
    """The shell command that puts a checked file of rules into its place at once; `sudo` is "" for root."""
    return f'{sudo}install -o root -g root -m 440 "{path}" {FILE}.new && {sudo}mv -f {FILE}.new {FILE}'


def _rules(user: str, *groups: Sequence[str]) -> list[str]:
    # sudoers takes a comma, colon, equals sign or backslash in a command only behind a backslash; none has.
    return [f"{user} ALL=(root) NOPASSWD: {', '.join(commands)}" for commands in groups]
