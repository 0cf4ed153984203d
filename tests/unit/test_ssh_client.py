"""The head's ssh client in a folder of ours: what it consists of, and that it really starts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from remote.node import ssh_client, stop

UBUNTU = """\
\tlinux-vdso.so.1 (0x0000ffff9a5c4000)
\tlibselinux.so.1 => /lib/aarch64-linux-gnu/libselinux.so.1 (0x0000ffff9a3f0000)
\tlibcrypto.so.3 => /lib/aarch64-linux-gnu/libcrypto.so.3 (0x0000ffff99e80000)
\tlibc.so.6 => /lib/aarch64-linux-gnu/libc.so.6 (0x0000ffff99cb0000)
\t/lib/ld-linux-aarch64.so.1 (0x0000ffff9a587000)
"""
FOLDER = ".trtspark/ssh-dgx"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def run(action: str) -> str:
    return str(ssh_client.main({"action": action, "folder": FOLDER})["state"])


def test_what_ldd_lists_on_arm():
    assert ssh_client.linked("/usr/bin/ssh", UBUNTU) == {
        "client": "/usr/bin/ssh",
        "lib/libselinux.so.1": "/lib/aarch64-linux-gnu/libselinux.so.1",
        "lib/libcrypto.so.3": "/lib/aarch64-linux-gnu/libcrypto.so.3",
        "lib/libc.so.6": "/lib/aarch64-linux-gnu/libc.so.6",
        "ld.so": "/lib/ld-linux-aarch64.so.1",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (UBUNTU.replace("=> /lib/aarch64-linux-gnu/libcrypto.so.3 (0x0000ffff99e80000)", "=> not found"),
         "lacks its library libcrypto.so.3"),
        ("\tstatically linked\n", "names no loader"),
    ],
)  # fmt: skip
def test_what_cannot_be_brought_is_told(text, said):
    with pytest.raises(stop.Stop, match=said):
        ssh_client.linked("/usr/bin/ssh", text)


def test_the_copy_starts_and_is_the_same_program(home):
    assert run("look") == "missing"
    assert run("bring") == "current"
    copy = home / FOLDER / "current" / "ssh"
    env = {"LD_LIBRARY_PATH": "/nowhere", "LD_PRELOAD": "", "PATH": "/usr/bin:/bin"}
    said = [subprocess.run([ssh, "-V"], capture_output=True, env=env).stderr for ssh in (copy, "ssh")]
    assert said[0] == said[1] != b""


def test_bringing_it_again_changes_nothing(home):
    run("bring")
    before = sorted(str(path) for path in (home / FOLDER).rglob("*"))
    assert run("bring") == "current"
    assert sorted(str(path) for path in (home / FOLDER).rglob("*")) == before


def test_an_older_one_is_told_and_replaced(home):
    run("bring")
    folder = home / FOLDER
    real = (folder / "current").resolve()
    real.rename(folder / "0123456789abcdef")
    (folder / "current").unlink()
    (folder / "current").symlink_to("0123456789abcdef")
    assert run("look") == "older"
    assert run("bring") == "current"
    assert {path.name for path in folder.iterdir()} == {real.name, "current"}


def test_drop_takes_our_folder_away_and_nothing_else(home):
    run("bring")
    assert run("drop") == "missing"
    assert list(home.iterdir()) == []
    run("bring")
    (home / ".trtspark" / "rank-exec-other").write_text("")
    run("drop")
    assert [path.name for path in Path(home, ".trtspark").iterdir()] == ["rank-exec-other"]
    run("drop")


def test_a_machine_without_a_client_is_told(home, monkeypatch):
    monkeypatch.setattr(ssh_client.shutil, "which", lambda *_, **__: None)
    with pytest.raises(stop.Stop, match="apt-get install openssh-client"):
        run("bring")
