"""`trtspark init --install-key` on a Spark as its owner set it up: a user with a password, and no key."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from remote.ssh import fingerprint, runtime_folder
from tests.lab import stack as stacks
from tests.lab.terminal import Terminal

pytestmark = [pytest.mark.lab, pytest.mark.long]
PASSWORD, WRONG = "correct-Horse/9 battery", "Wrong-mule/7 staple"
MODEL = "openai/gpt-oss-20b"
#: A fresh Spark's user has no ~/.ssh at all.
FRESH = f"mv /home/nvidia/.ssh /root/ssh-away; echo 'nvidia:{PASSWORD}' | chpasswd"
BACK = "rm -rf /home/nvidia/.ssh; mv /root/ssh-away /home/nvidia/.ssh; echo nvidia:nvidia | chpasswd"


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    one = stacks.create(tmp_path_factory.mktemp("key") / "project", lab)
    one.env["PYTHONPATH"] = str(stacks.ROOT)
    for key in ("nodes", "model"):
        one.set(key, None)
    one.set("knownHosts", str(one.folder / "known_hosts"))
    one.key = one.folder / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", one.key], check=True, timeout=20)
    stacks.inside(lab, 0, FRESH)
    yield one
    stacks.inside(lab, 0, BACK)


@pytest.fixture
def screen(stack):
    one = Terminal("install-key", stack.folder, stack.env, 160, 50)
    yield one
    one.close()


def words(stack, *more):
    [node, *_] = stack.lab["nodes"]
    mark = fingerprint(node["host_key"])
    chosen = ["--node", f"nvidia@{node['host']}", "--accept-host-key", mark, "--model", MODEL]
    return ["-m", "trtspark", "--stack", "lab", "init", *chosen, "--ssh-key", str(stack.key), *more]


def typed(stack):
    return " ".join([sys.executable, *words(stack, "--install-key")])


def held(stack):
    return (stack.folder / "Pulumi.lab.yaml").read_text()


def keys(stack):
    return stacks.inside(stack.lab, 0, "cat /home/nvidia/.ssh/authorized_keys 2>&1 || true")


def where(secret, *folders):
    """Files that have it, and processes by whose arguments or environment everybody could read it."""
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    found += [path for name in ("cmdline", "environ") for path in Path("/proc").glob(f"[0-9]*/{name}")]
    hits = []
    for path in found:
        try:
            if secret.encode() in path.read_bytes():
                hits.append(str(path))
        except OSError:  # ended, or not ours to read
            continue
    return hits


def asked(screen, stack):
    return screen.until(f"nvidia@{stack.lab['nodes'][0]['host']}'s password:")


def test_without_a_terminal_it_is_said_so(stack):
    before = held(stack)
    done = subprocess.run(
        ["setsid", "--wait", sys.executable, *words(stack, "--install-key")], cwd=stack.folder, env=stack.env,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ssh has no terminal to ask for the password on" in done.stderr
    assert held(stack) == before


def test_a_wrong_password_is_one_sentence_and_changes_nothing(stack, screen):
    before = held(stack)
    screen.type(typed(stack))
    asked(screen, stack)
    for times in range(2):
        screen.type(WRONG)
        screen.until("that password was not accepted; try again.")
        stacks.until(
            lambda times=times: screen.screen().count("'s password:") == times + 2, 30, "the next prompt"
        )
    assert where(WRONG) == []  # while ssh waits for the third
    screen.type(WRONG)
    shown = screen.ends()
    assert shown.count("error:") == 1
    assert "no password of 3 was accepted, and nothing was changed." in shown
    assert WRONG not in shown
    assert "Traceback" not in shown
    assert held(stack) == before
    assert "No such file" in keys(stack)


def test_ctrl_c_at_the_prompt_leaves_the_terminal_as_it_was(stack, screen):
    before = held(stack)
    screen.type(typed(stack))
    asked(screen, stack)
    screen.key("C-c")
    assert "Traceback" not in screen.ends()
    screen.type("echo code $?")  # typed letters are shown again
    assert "echo code $?" in screen.until("code 130")
    assert held(stack) == before


def test_the_right_password_puts_the_key_there_and_only_there(stack, screen, lab):
    screen.type(typed(stack))
    asked(screen, stack)
    screen.type(WRONG)
    stacks.until(lambda: screen.screen().count("'s password:") == 2, 30, "the next prompt")
    screen.type(PASSWORD)
    shown = screen.ends(90)
    host = lab["nodes"][0]["host"]
    assert f"nvidia@{host}: the key is there now." in shown
    assert f"{host}: the login of nvidia works." in shown
    assert "pulumi up --stack lab" in shown
    assert keys(stack).strip() == stack.key.with_name("id.pub").read_text().strip()
    modes = stacks.inside(lab, 0, "stat -c '%a %U' /home/nvidia/.ssh /home/nvidia/.ssh/authorized_keys")
    assert modes.split("\n")[:2] == ["700 nvidia", "600 nvidia"]
    found = yaml.safe_load(held(stack))["config"]
    assert found[f"{stacks.PROJECT}:nodes"][0]["host"] == host
    for secret in (PASSWORD, WRONG):
        assert where(secret, stack.folder, runtime_folder()) == []
        assert secret not in shown
        there = "grep -rlF -e {} /home /var/log /tmp /run/lab 2>/dev/null || true"
        assert stacks.inside(lab, 0, there.format(json.dumps(secret))).strip() == ""


def test_sudo_rules_are_installed_with_the_password_typed_into_sudo(stack, screen, lab):
    stacks.inside(lab, 0, "mv /etc/sudoers.d/90-nopasswd /root/90-nopasswd")
    try:
        screen.type(" ".join([sys.executable, *words(stack, "--install-sudoers")]))
        screen.until("[sudo] password for nvidia:")
        assert where(PASSWORD) == []
        screen.type(PASSWORD)
        shown = screen.ends(90)
        assert "sudo asks user" not in " ".join(shown.split())
        assert stacks.inside(lab, 0, "stat -c '%a %U %G' /etc/sudoers.d/trtspark") == "440 root root\n"
        assert (
            stacks.inside(
                lab, 0, "visudo -c >/dev/null; ls /etc/sudoers.d/*.new /tmp/tmp.* 2>/dev/null || true"
            )
            == ""
        )
        assert stacks.inside(lab, 0, "su nvidia -c 'sudo -n true && ! sudo -n id 2>/dev/null'") == ""
    finally:
        stacks.inside(
            lab, 0, "mv /root/90-nopasswd /etc/sudoers.d/90-nopasswd; rm -f /etc/sudoers.d/trtspark"
        )


def test_a_spark_that_takes_keys_only_is_told_apart(stack, lab):
    stacks.inside(lab, 0, "rm -f /home/nvidia/.ssh/authorized_keys")
    other = stack.folder / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True, timeout=20)
    stacks.inside(lab, 0, "sed -i '1i PasswordAuthentication no' /etc/ssh/sshd_config; systemctl restart ssh")
    try:
        screen = Terminal("keys-only", stack.folder, stack.env, 160, 50)
        try:
            screen.type(typed(stack).replace(str(stack.key), str(other)))
            shown = screen.ends(30)
        finally:
            screen.close()
    finally:
        stacks.inside(lab, 0, "sed -i 1d /etc/ssh/sshd_config; systemctl restart ssh")
    assert "it takes no passwords, keys only." in shown
    assert other.with_name("other.pub").read_text().split()[1] in shown.replace("\n", "")
