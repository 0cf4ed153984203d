"""Write a node's disk: what differs between a fresh Spark and the host's own system.

The disk is the upper layer of an overlay over the host's root. An opaque folder hides the host's
folder of that name, a whiteout (character device 0:0) hides a file or folder altogether.
"""

import os
import re
import shutil
import stat
import struct
from ipaddress import IPv4Network
from pathlib import Path

from lab import accounts, disk_variants, names, netplan_files
from lab.shell import run
from lab.state import CACHE, DISKS, Lab, Node

USER = "nvidia"
HERE = Path(__file__).parent

SYSTEM_FOLDERS = {
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "lost+found", "media",
    "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var",
}  # fmt: skip
"""What a Linux system has in /; anything else there is the host's own business."""

OWN_FOLDERS = (
    "home", "root", "mnt", "media", "opt", "srv", "usr/local", "etc/docker", "etc/ssh",
    "etc/profile.d", "etc/sudoers.d", "etc/netplan", "etc/ufw", "etc/nvidia-container-runtime",
    "etc/cdi", "etc/systemd/system",
    "var/log", "var/lib/containerd",
)  # fmt: skip
"""Folders that start empty: nothing the host has there may reach a node."""

MODES = {
    "root": 0o700,
    "etc/sudoers": 0o440,
}
"""Where the mode in the checkout does not do."""

CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE = 2, 19
MAY_READ_PROCESSES = struct.pack("<5I", 0x02000001, 1 << CAP_DAC_READ_SEARCH | 1 << CAP_SYS_PTRACE, 0, 0, 0)
"""File capabilities, permitted and effective (struct vfs_cap_data of linux/capability.h, version 2)."""

PRESENT_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGU6VGhlIG93bmVyJ3Mgb3duIGxhcHRvcCBrZXku owner@laptop"
"""A line that was in authorized_keys before, with no newline at its end: a careless append breaks it."""


PLACES = {
    "ib-write-bw": "usr/bin/ib_write_bw",
    "low-level-runc": "usr/lib/lab/low-level/runc",
    "netplan": "usr/sbin/netplan",
}
"""Where a program goes that is not with the others."""


def write(lab: Lab, node: Node, lan: IPv4Network) -> None:
    """Write a new disk for `node`, complete or not at all."""
    draft = node.disk.with_name("disk.new")
    shutil.rmtree(draft, ignore_errors=True)
    _Disk(draft).fill(lab, node, lan)
    disk_variants.prior_image_store(node.folder / "docker", node.variant)
    draft.rename(node.disk)


def refresh_tools(node: Node) -> None:
    """Bring the simulated commands up to the checkout's; only while the node is off."""
    _Disk(node.disk).copy_tools()


class _Disk:
    def __init__(self, root: Path) -> None:
        self.root = root

    def fill(self, lab: Lab, node: Node, lan: IPv4Network) -> None:
        self.root.mkdir(parents=True, mode=0o755)
        self._hide_the_host(lab.checkout, CACHE, DISKS, lab.store)
        self._copy_system_files(
            {
                "NAME": node.hostname,
                "USER": USER,
                "MACHINE_ID": names.machine_id(lab.id, node.name),
                "SERIAL": names.serial_number(lab.id, node.name),
                "GPU_UUID": names.gpu_uuid(lab.id, node.name),
            }
        )
        accounts.write(
            self.root / "etc",
            USER,
            in_docker_group=node.variant.docker_group,
            in_sudo_group=node.variant.sudo,
        )
        self._write_network(lab, node, lan)
        self._write_ssh(lab, node)
        self._write_home()
        if not Path("/sbin/ldconfig.real").exists():  # Ubuntu's, which NVIDIA's runtime calls
            (self.root / "usr/sbin").mkdir(exist_ok=True)
            (self.root / "usr/sbin/ldconfig.real").symlink_to("ldconfig")
        disk_variants.apply(self.root, node)
        self.copy_tools()

    def _hide_the_host(self, *folders: Path) -> None:
        for entry in Path("/").iterdir():
            if entry.name not in SYSTEM_FOLDERS:
                os.mknod(self.root / entry.name, stat.S_IFCHR, 0)
        for folder in OWN_FOLDERS:
            self._own(Path(folder))
        for path in folders:
            inside = path.resolve().relative_to("/")
            # Already gone with a folder above it, or by the node's own /tmp?
            if inside.parts[0] in SYSTEM_FOLDERS - {"home", "root", "opt", "srv", "mnt", "tmp"}:
                self._own(inside)

    def _own(self, folder: Path) -> None:
        """Make an opaque folder; those above it keep the host's owner and mode."""
        for level in [*reversed(folder.parents[:-1]), folder]:
            here, host = self.root / level, Path("/") / level
            if not here.exists():
                here.mkdir()
                if host.is_dir():
                    shutil.copystat(host, here)
                    os.chown(here, host.stat().st_uid, host.stat().st_gid)
        os.setxattr(self.root / folder, "trusted.overlay.opaque", b"y")
        (self.root / folder).chmod(MODES.get(str(folder), 0o755))

    def copy_tools(self) -> None:
        """Install tools/nvidia_smi.sh as /usr/bin/nvidia-smi, and so on."""
        for source, folder in (("tools", "usr/bin"), ("machinery", "usr/lib/lab")):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
            for program in (path for path in (HERE / source).iterdir() if path.is_file()):
                name = program.stem.replace("_", "-")
                target = self.root / PLACES.get(name, f"{folder}/{name}")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(program, target)
                target.chmod(0o755)
        hidden = self.root / "etc/lab/hidden-tools"
        for name in hidden.read_text().split() if hidden.exists() else []:
            (self.root / name.lstrip("/")).unlink()
        # nvidia-smi shows everybody every process on the GPU, so it may look at their open files.
        reader = self.root / "usr/lib/lab/open-files"
        shutil.copyfile("/usr/bin/find", reader)
        reader.chmod(0o755)
        os.setxattr(reader, "security.capability", MAY_READ_PROCESSES)

    def _copy_system_files(self, words: dict[str, str]) -> None:
        source = HERE / "rootfs"
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            inside = file.relative_to(source)
            target = self.root / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            text = re.sub("@([A-Z0-9_]+)@", lambda found: words[found[1]], file.read_text())
            target.write_text(text)
            target.chmod(MODES.get(str(inside), 0o644))

    def _write_network(self, lab: Lab, node: Node, lan: IPv4Network) -> None:
        for name, text in netplan_files.files(lab.id, node.name, node.wires, node.variant).items():
            file = self.root / "etc/netplan" / name
            file.write_text(text)
            file.chmod(netplan_files.MODE)
        lease = f"{names.MANAGEMENT} {node.host}/{lan.prefixlen} {names.router_address(lan)}\n"
        (self.root / "etc/lab/dhcp").write_text(lease)

    def _write_ssh(self, lab: Lab, node: Node) -> None:
        key = self.root / "etc/ssh/ssh_host_ed25519_key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"root@{node.name}", "-f", key)
        folder = self.root / "home" / USER / ".ssh"
        folder.mkdir(parents=True, mode=0o700)
        operator = lab.identity.with_suffix(".pub").read_text()
        keys = folder / "authorized_keys"
        keys.write_text(operator + PRESENT_KEY)
        keys.chmod(0o600)

    def _write_home(self) -> None:
        from lab import models

        home = self.root / "home" / USER
        for name in (".bashrc", ".profile"):
            shutil.copyfile(Path("/etc/skel", name), home / name)
        models.write(home / ".cache/huggingface")
        run("chown", "-R", f"{accounts.USER_ID}:{accounts.USER_ID}", home)
        home.chmod(0o750)


def install_programs(node: Node, programs: dict[str, Path]) -> None:
    """Put {its path: a file} in place of the system's programs, while the node is off.

    The node mounts them from the cache at its boot, but for runc: that one starts itself again from an
    overlay of its folder, in which a mounted file is not seen.
    """
    folder = node.folder / "programs"
    shutil.rmtree(folder, ignore_errors=True)
    for inside, file in programs.items():
        copied = file.name == "runc"
        target = (node.disk if copied else folder) / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        if not copied:
            target.symlink_to(file)
        elif not target.exists():
            shutil.copy(file, target)


def host_key(node: Node) -> str:
    """Return the node's public host key, `ssh-ed25519 AAAA…`."""
    text = (node.disk / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
    return " ".join(text.split()[:2])


def trust_registry(node: Node, registry: str, ca: Path) -> None:
    """Let the node's Docker trust the lab's registry, as an owner does with an own CA."""
    folder = node.disk / "etc/docker/certs.d" / registry
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ca, folder / "ca.crt")
