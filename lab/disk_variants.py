"""Change a freshly written disk into that of a node of some variant."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from lab import engines, names
from lab.errors import LabError
from lab.state import CACHE, Node
from lab.variants import Variant

#: Where a node whose clock is off has the library.
CLOCK = "usr/lib/lab/clock.so"
NOPASSWD = "sudoers.d/90-nopasswd"
UFW = Path("/usr/share/ufw")
ALLOW_SSH = """\
### RULES ###

### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in
-A ufw-user-input -p tcp --dport 22 -j ACCEPT
"""
OEM_RELEASE = """\
DGX_NAME="DGX Spark"
DGX_PRETTY_NAME="NVIDIA DGX Spark"
DGX_SWBUILD_DATE=2025-09-25-02-14-51
DGX_SWBUILD_VERSION=7.2.3
DGX_COMMIT_ID=833b4a7
DGX_PLATFORM=HP ZGX Nano G1n AI Station
DGX_SERIAL_NUMBER={serial}
"""
"""Another vendor's, without quotes."""


def apply(root: Path, node: Node) -> None:
    """Change the files below `root`, the node's new disk."""
    etc, variant = root / "etc", node.variant
    _accounts(etc, variant)
    _machine(etc, node)
    _gpu(etc, node)
    _docker(etc, variant)
    _fabric(root, variant)
    _firewall(etc, variant)
    if variant.lang:
        _language(root, variant.lang)
    if variant.clock_s:
        _clock(root, variant.clock_s)


def _edit(path: Path, change: Callable[[str], str]) -> None:
    """Change a file's text; one that stays as it was means that this module is wrong."""
    before = path.read_text()
    after = change(before)
    assert after != before, path
    path.write_text(after)


def _accounts(etc: Path, variant: Variant) -> None:
    if not variant.sudo_password:
        (etc / NOPASSWD).write_text("nvidia ALL=(ALL) NOPASSWD: ALL\n")
        (etc / NOPASSWD).chmod(0o440)


def _machine(etc: Path, node: Node) -> None:
    variant = node.variant
    if variant.dgx_release == "never-updated":
        _edit(etc / "dgx-release", lambda text: text.partition("\n\n")[0] + "\n")
    if variant.dgx_release == "oem":
        serial = names.serial_number(node.lab, node.name)
        (etc / "dgx-release").write_text(OEM_RELEASE.format(serial=serial))
    cmdline = etc / "lab/proc/cmdline"
    if variant.kernel:
        (etc / "lab/proc/sys/kernel/osrelease").write_text(f"{variant.kernel}\n")
        cmdline.write_text(re.sub(r"vmlinuz-\S+", f"vmlinuz-{variant.kernel}", cmdline.read_text()))
    if variant.kho_off:
        _edit(cmdline, lambda text: f"{text.rstrip()} kho=off\n")


def _gpu(etc: Path, node: Node) -> None:
    """/etc/lab/gpu has a UUID a line, /etc/lab/devices what is in /dev."""
    if node.variant.gpus == 0:
        (etc / "lab/gpu").unlink()
        _edit(etc / "lab/devices", lambda text: re.sub(r"(?m)^nvidia.*\n", "", text))
        return
    more = range(1, node.variant.gpus)
    with (etc / "lab/gpu").open("a") as gpus, (etc / "lab/devices").open("a") as devices:
        for number in more:
            gpus.write(f"{names.gpu_uuid(node.lab, f'{node.name}/gpu{number}')}\n")
            devices.write(f"nvidia{number} 10 235\n")


def _docker(etc: Path, variant: Variant) -> None:
    if not variant.docker:
        (etc / "lab/disabled").write_text("docker.service\n")
    if variant.daemon_json:
        shutil.copyfile(variant.daemon_json, etc / "docker/daemon.json")
    if variant.live_restore:
        (etc / "docker/daemon.json").write_text('{\n    "live-restore": true\n}\n')
    if variant.dockerd_flags:
        (etc / "lab/dockerd-flags").write_text("".join(f"{flag}\n" for flag in variant.dockerd_flags))
    config = etc / "nvidia-container-runtime/config.toml"
    if variant.swarm_resource:
        _edit(config, lambda text: text.replace("#swarm-resource", "swarm-resource"))
    if variant.toolkit == "1.17.8":
        _edit(config, lambda text: text.replace('["runc", "crun"]', '["docker-runc", "runc", "crun"]'))
    if variant.toolkit_legacy:
        _edit(config, lambda text: text.replace('mode = "auto"', 'mode = "legacy"'))


def prior_image_store(docker: Path, variant: Variant) -> None:
    """Docker 29 stays with overlay2 where its data root has it, as on a Spark that had Docker 28."""
    if variant.image_store == "overlay2":
        (docker / "overlay2/l").mkdir(parents=True)


def _fabric(root: Path, variant: Variant) -> None:
    """/etc/lab/rdma.json is what machinery/rdma_devices.py shows."""
    shown = {
        "rate": variant.rate,
        "cable": variant.cable,
        "renamed": variant.renamed_hcas,
        "pcie": variant.pcie,
    }
    (root / "etc/lab/rdma.json").write_text(json.dumps(shown) + "\n")
    if not variant.cable:
        _edit(root / "etc/lab/devices", lambda text: re.sub(r"(?m)^infiniband/.*\n", "", text))
    hidden = [] if variant.rdma_tools else ["/usr/bin/ibdev2netdev"]
    hidden += [] if variant.perftest else ["/usr/bin/ib_write_bw"]
    if hidden:
        (root / "etc/lab/hidden-tools").write_text("".join(f"{tool}\n" for tool in hidden))


def _firewall(etc: Path, variant: Variant) -> None:
    """/etc/ufw as the package leaves it, switched off, or on with ssh let in."""
    folder = etc / "ufw"
    (folder / "applications.d").mkdir()
    for rules in UFW.glob("iptables/*.rules"):
        shutil.copyfile(rules, folder / rules.name)
        (folder / rules.name).chmod(0o640)
    for file in (UFW / "ufw.conf", Path("/etc/ufw/sysctl.conf")):
        shutil.copyfile(file, folder / file.name)
    if variant.ufw:
        _edit(folder / "ufw.conf", lambda text: text.replace("ENABLED=no", "ENABLED=yes"))
        _edit(folder / "user.rules", lambda text: text.replace("### RULES ###\n", ALLOW_SSH))
    if variant.ufw_readable:
        (folder / "user.rules").chmod(0o644)


def _language(root: Path, lang: str) -> None:
    """The locale is made once and kept in the cache.

    Raises:
        LabError: this machine has no source of it (Debian package locales).
    """
    locale = f"{lang}.UTF-8"
    made = CACHE / "locale" / lang
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        draft = made.with_name(f"{lang}.new")
        shutil.rmtree(draft, ignore_errors=True)
        words = ["localedef", "--no-archive", "-i", lang, "-f", "UTF-8", str(draft)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if not (draft / "LC_CTYPE").exists():
            raise LabError(f"`{' '.join(words)}` made no locale: {done.stderr.strip()}")
        draft.rename(made)
    target = root / "usr/lib/locale" / f"{lang}.utf8"
    shutil.copytree(made, target)
    (root / "etc/default/locale").write_text(f'LANG="{locale}"\n')
    for file in ("ssh/sshd_config", "profile.d/locale.sh"):
        _edit(root / "etc" / file, lambda text: text.replace("C.UTF-8", locale))


def _clock(root: Path, seconds: int) -> None:
    """A login's programs see another time; the kernel's clock is everybody's."""
    library = root / CLOCK
    library.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(engines.clock(), library)
    words = f"LD_PRELOAD=/{CLOCK} LAB_CLOCK_SECONDS={seconds:+d}"
    _edit(root / "etc/ssh/sshd_config", lambda text: text.replace("SetEnv ", f"SetEnv {words} "))
