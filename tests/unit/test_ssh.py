"""ssh's options and its failures in the user's words; where the pinned keys come from."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from cluster.config import Settings
from cluster.errors import ConfigError, Unreachable
from remote import logins, private_keys, ssh
from remote.ssh import Connection, SshShell
from tests import samples
from trtspark import login

ED25519 = samples.HOST_KEY
RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQD" + "A" * 37
ECDSA = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABB" + "A" * 16


def connection(**changes: object) -> Connection:
    values = {"host": "spark-2", "user": "nvidia", "port": 22, "host_key": ED25519}
    return Connection(**{**values, **changes})  # type: ignore[arg-type]


def as_ssh_reads_them(words: list[str]) -> dict[str, str]:
    done = subprocess.run(["ssh", "-G", *words, "spark-2"], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_the_key_is_pinned_and_no_file_can_add_another():
    found = as_ssh_reads_them(ssh.options(connection()))
    assert found["stricthostkeychecking"] == "true"
    assert found["userknownhostsfile"] == found["globalknownhostsfile"] == "/dev/null"
    assert found["knownhostscommand"] == f"/bin/echo %H {ED25519}"
    assert found["hostkeyalgorithms"] == "ssh-ed25519"


def test_nothing_is_ever_asked():
    assert as_ssh_reads_them(ssh.options(connection()))["batchmode"] == "yes"


def test_an_rsa_key_is_checked_with_sha2():
    found = as_ssh_reads_them(ssh.options(connection(host_key=RSA)))
    assert found["hostkeyalgorithms"] == "rsa-sha2-512,rsa-sha2-256"


def test_an_explicit_identity_is_the_only_one():
    found = as_ssh_reads_them(ssh.options(connection(identity="/keys/mine")))
    assert (found["identityfile"], found["identitiesonly"]) == ("/keys/mine", "yes")
    assert as_ssh_reads_them(ssh.options(connection()))["identitiesonly"] == "no"


def test_each_login_has_a_shared_connection_of_its_own():
    different = [
        connection(),
        connection(port=2222),
        connection(user="nick"),
        connection(host_key=ECDSA),
        connection(identity="/keys/mine"),
    ]
    assert len({ssh.control_path(entry) for entry in different}) == len(different)
    assert ssh.control_path(connection()) == ssh.control_path(connection())
    assert len(ssh.control_path(connection(host="h" * 200))) < 100


def test_sockets_fit_where_the_folder_for_temporary_files_is_deep(monkeypatch, tmp_path):
    deep = tmp_path / ("d" * 70)
    monkeypatch.setattr(ssh.tempfile, "gettempdir", lambda: str(deep))
    assert len(ssh.control_path(connection())) + 17 <= 103


def test_a_folder_for_sockets_that_others_may_read_is_refused(short_path, monkeypatch):
    monkeypatch.setattr(ssh.tempfile, "gettempdir", lambda: str(short_path))
    folder = ssh.runtime_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    with pytest.raises(Exception, match="not this user's alone"):
        ssh.runtime_folder()


def test_sockets_that_ssh_left_behind_are_removed_before_a_new_one(short_path, monkeypatch):
    monkeypatch.setattr(ssh.tempfile, "gettempdir", lambda: str(short_path))
    monkeypatch.setattr(SshShell, "run", lambda *_: None)
    monkeypatch.setattr(SshShell, "_control", lambda *_: None)
    here = ssh.control_path(connection())
    names = {name: f"{here}.{name}" for name in ("heard", "unheard", "new")}
    names["other"] = ssh.control_path(connection(port=23)) + ".unheard"
    with socket.socket(socket.AF_UNIX) as heard:
        for name, path in names.items():
            with socket.socket(socket.AF_UNIX) as one:
                (heard if name == "heard" else one).bind(path)
            if name != "new":
                os.utime(path, (1, 1))
        heard.listen()
        SshShell(connection()).forward("/run/docker.sock")
    assert {name for name, path in names.items() if Path(path).exists()} == {"heard", "new", "other"}


@pytest.mark.parametrize(
    ("said", "found", "todo"),
    [
        ("Host key verification failed.\r\n", "its host key is not the pinned one", "ssh-keyscan spark-2"),
        (
            "nvidia@spark-2: Permission denied (publickey,password).\r\n",
            "the login of user nvidia was refused",
            "ssh-copy-id -p 2222 nvidia@spark-2",
        ),
        (
            "Received disconnect from 10.0.0.2 port 2222:2: Too many authentication failures\r\n"
            "Disconnected from 10.0.0.2 port 2222\r\n",
            "the login of user nvidia was refused.",
            "your agent's many keys: name the one that is there as sshKey",
        ),
        (
            "ssh: Could not resolve hostname spark-2: Name or service not known\r\n",
            "the host name is unknown",
            "nodes[].host",
        ),
        (
            "ssh: connect to host spark-2 port 2222: Connection refused\r\n",
            "nothing listens on port 2222",
            "systemctl start ssh",
        ),
        (
            "ssh: connect to host spark-2 port 2222: Connection timed out\r\n",
            "does not answer on port 2222",
            "ping spark-2",
        ),
        ("ssh: connect to host spark-2 port 22: No route to host\r\n", "no route to it", "network"),
        ("ssh: connect to host spark-2 port 22: Network is unreachable\r\n", "no route to it", "network"),
        ("kex_exchange_identification: read: Connection reset by peer\r\n", "Connection reset", "by hand"),
        ("", "no message", "by hand"),
    ],
)
def test_every_cause_in_the_users_words(said, found, todo):
    text = str(ssh.explained(connection(port=2222), said))
    assert text.startswith("nvidia@spark-2:2222: ")
    assert found in text
    assert todo in text
    assert "\n" not in text
    assert "\r" not in text


def test_a_changed_host_key_is_not_taken_for_a_refused_login():
    """OpenSSH warns of the changed key and of switched-off authentication in one go."""
    said = (
        "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n"
        "Password authentication is disabled to avoid man-in-the-middle attacks.\r\n"
        "nvidia@spark-2: Permission denied (publickey).\r\nHost key verification failed.\r\n"
    )
    assert "host key is not the pinned one" in str(ssh.explained(connection(), said))


def test_a_connection_survives_pulumis_floats():
    there = {**connection(identity="/k").as_props(), "port": 22.0}
    assert Connection.from_props(there) == connection(identity="/k")
    assert Connection.from_props(connection().as_props()) == connection()


def settings(known_hosts: Path, **node: object) -> Settings:
    nodes = [{"host": "spark-2", **node}]
    return Settings.model_validate({"nodes": nodes, "model": "a/b", "knownHosts": str(known_hosts)})


@pytest.fixture
def known_hosts(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "known_hosts"


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize(("port", "name"), [(22, "spark-2"), (2222, "[spark-2]:2222")])
def test_the_pinned_key_comes_from_known_hosts(known_hosts, hashed, port, name):
    known_hosts.write_text(f"spark-1 {RSA}\n{name} {ED25519}\n")
    if hashed:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known_hosts)], check=True, capture_output=True)
        assert "spark" not in known_hosts.read_text()
    [found] = logins.connections(settings(known_hosts, port=port))
    assert (found.host_key, found.port) == (ED25519, port)


def test_the_strongest_of_several_keys(known_hosts):
    known_hosts.write_text(f"spark-2 {RSA}\nspark-2 {ECDSA}\nspark-2 {ED25519}\n")
    assert logins.connections(settings(known_hosts))[0].host_key == ED25519


def test_the_configured_key_wins(known_hosts):
    known_hosts.write_text(f"spark-2 {ED25519}\n")
    [found] = logins.connections(settings(known_hosts, hostKey=f"{ECDSA} root@spark-2"))
    assert found.host_key == ECDSA


@pytest.mark.parametrize(
    "text", [None, "", "spark-1 ssh-ed25519 AAAA\n", "@revoked spark-2 ssh-ed25519 AAAA\n"]
)
def test_an_unknown_host_key_is_an_error_with_the_way_out(known_hosts, text):
    if text is not None:
        known_hosts.write_text(text)
    with pytest.raises(Unreachable, match="host key is not known") as caught:
        logins.connections(settings(known_hosts, port=2222, user="nick"))
    assert "`ssh -p 2222 nick@spark-2`" in str(caught.value)


@pytest.mark.parametrize("configured", [True, False])
def test_an_rsa_host_key_alone_is_refused(known_hosts, configured):
    known_hosts.write_text(f"spark-2 {RSA}\n")
    where = "nodes.*hostKey" if configured else "known_hosts"
    with pytest.raises(
        Unreachable, match=rf"{where} has its ssh-rsa key.*ssh-keyscan -t ed25519 -p 22 spark-2"
    ):
        logins.connections(settings(known_hosts, **({"hostKey": RSA} if configured else {})))


def test_a_private_key_that_is_not_there_is_an_error(known_hosts):
    config = settings(known_hosts, hostKey=ED25519).model_copy(update={"ssh_key": "~/nothing"})
    with pytest.raises(ConfigError, match="sshKey: found '~/nothing'"):
        logins.connections(config)


def test_which_private_key_is_read(known_hosts):
    keys = known_hosts.parent / ".ssh"
    keys.mkdir()
    for name in ("id_ecdsa", "id_ed25519", "mine"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)]
        subprocess.run(words, check=True)
    explicit = connection(identity=str(keys / "mine"))
    assert private_keys.private_key(explicit, agent=None) == (keys / "mine").read_text()
    assert private_keys.private_key(connection(), agent=None) == (keys / "id_ed25519").read_text()


def test_no_private_key_is_read_where_the_agent_holds_it(known_hosts, ssh_agent):
    keys = known_hosts.parent / ".ssh"
    keys.mkdir()
    for name, phrase in (("id_ed25519", ""), ("locked", "pass word")):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", phrase, "-f", str(keys / name)]
        subprocess.run(words, check=True)
        (keys / f"{name}.pub").unlink()
    locked = connection(identity=str(keys / "locked"))
    # An empty agent serves nobody.
    assert private_keys.key_file(connection(), ssh_agent) == str(keys / "id_ed25519")
    assert private_keys.key_file(locked, ssh_agent) == str(keys / "locked")
    assert "BEGIN OPENSSH PRIVATE KEY" in (private_keys.private_key(connection(), ssh_agent) or "")
    env = {**os.environ, "SSH_AUTH_SOCK": ssh_agent}
    subprocess.run(["ssh-add", "-q", str(keys / "id_ed25519")], env=env, check=True)
    assert private_keys.private_key(connection(), ssh_agent) is None
    assert private_keys.private_key(connection(identity=str(keys / "id_ed25519")), ssh_agent) is None
    # Another key than the configured one does not serve.
    assert private_keys.key_file(locked, ssh_agent) == str(keys / "locked")
    askpass = keys / "askpass"
    askpass.write_text("#!/bin/sh\necho pass word\n")
    askpass.chmod(0o700)
    asked = {**env, "SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-q", str(keys / "locked")], env=asked, check=True)
    assert private_keys.key_file(locked, ssh_agent) is None


def test_an_agent_that_does_not_answer_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no ssh agent answers there.*unset SSH_AUTH_SOCK"):
        private_keys.private_key(connection(identity="/nobody"), agent=str(tmp_path / "gone"))


def test_init_says_which_key_pulumi_will_read(known_hosts, ssh_agent):
    keys = known_hosts.parent / ".ssh"
    keys.mkdir()
    path = keys / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    without = login.key_notice(connection(), None)
    assert f"will read {path}." in without
    assert without.endswith(f'`eval "$(ssh-agent)" && ssh-add {path}`')
    assert login.key_notice(connection(), ssh_agent).endswith(f": `ssh-add {path}`")
    subprocess.run(["ssh-add", "-q", str(path)], env={**os.environ, "SSH_AUTH_SOCK": ssh_agent}, check=True)
    assert login.key_notice(connection(), ssh_agent) == ""


def test_a_key_in_a_folder_with_a_space():
    connection = Connection("spark-1", "nvidia", 22, samples.HOST_KEY, "/home/me/my keys/id")
    words = ["ssh", "-G", *ssh.options(connection), "spark-1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "identityfile /home/me/my keys/id" in done.stdout, done.stderr


def test_a_changed_host_key_is_told_by_both_fingerprints():
    """As OpenSSH 9 says it; the pinned one is counted here, as `ssh-keygen -l` does."""
    sent = "SHA256:" + "k" * 43
    said = (
        "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n"
        f"The fingerprint for the ED25519 key sent by the remote host is\n{sent}.\r\n"
        "Host key verification failed.\r\n"
    )
    one = connection()
    done = subprocess.run(
        ["ssh-keygen", "-lf", "-"], input=one.host_key, capture_output=True, text=True, check=False
    )
    text = str(ssh.explained(one, said))
    assert sent in text
    assert ssh.fingerprint("ssh-ed25519 not-base64") == "unreadable"
    if done.returncode == 0:
        assert done.stdout.split()[1] in text
