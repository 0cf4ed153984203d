"""A node's accounts: the host's system users, one person, and none of the host's secrets."""

import os
from pathlib import Path

from lab.shell import run

USER_ID = 1000
FIRST_PERSON, LAST_PERSON = 1000, 59999
"""The ids that Debian gives to people."""

PERSONAL_GROUPS = ("adm", "sudo", "plugdev", "users")
"""Those of the first-boot wizard's user that Debian has too."""


def write(etc: Path, user: str, *, in_docker_group: bool, in_sudo_group: bool) -> None:
    """Write passwd, group, shadow and gshadow into `etc`; the user's password is its name."""
    passwd = [line.split(":") for line in Path("/etc/passwd").read_text().splitlines()]
    system = [fields for fields in passwd if not _is_person(int(fields[2]))]
    for fields in system:
        if fields[0] == "root":
            fields[6] = "/bin/bash"
    person = [user, "x", str(USER_ID), str(USER_ID), "NVIDIA,,,", f"/home/{user}", "/bin/bash"]
    _write(etc / "passwd", [*system, person], 0o644)

    joined = {*PERSONAL_GROUPS, *(["docker"] if in_docker_group else [])}
    joined -= set() if in_sudo_group else {"sudo"}
    groups = [line.split(":") for line in Path("/etc/group").read_text().splitlines()]
    groups = [fields for fields in groups if not _is_person(int(fields[2]))]
    for fields in groups:
        fields[3] = user if fields[0] in joined else ""
    groups.append([user, "x", str(USER_ID), ""])
    _write(etc / "group", groups, 0o644)

    secret = run("openssl", "passwd", "-6", user).strip()
    shadow = [[fields[0], "*", "20000", "0", "99999", "7", "", "", ""] for fields in system]
    shadow.append([user, secret, "20000", "0", "99999", "7", "", "", ""])
    _write(etc / "shadow", shadow, 0o640)
    _write(etc / "gshadow", [[fields[0], "*", "", fields[3]] for fields in groups], 0o640)
    shadow_group = next(int(fields[2]) for fields in groups if fields[0] == "shadow")
    for name in ("shadow", "gshadow"):
        os.chown(etc / name, 0, shadow_group)


def _is_person(number: int) -> bool:
    return FIRST_PERSON <= number <= LAST_PERSON


def _write(path: Path, lines: list[list[str]], mode: int) -> None:
    path.write_text("".join(":".join(fields) + "\n" for fields in lines))
    path.chmod(mode)
