"""Putting a key on a Spark: how often ssh asks, and what its refusals mean; a real prompt is the lab's."""

from __future__ import annotations

import os

import pytest

from cluster.errors import NodeError, Unreachable
from tests import samples
from trtspark import login

KEY = "ssh-ed25519 AAAAkey me@here"
#: Says what it is told, once a line of WORDS; "ok" runs the command.
SSH = """#!/bin/sh
echo session >>"$SSH_LOG"
printf '%s\\n' "$@" >"$SSH_LOG.argv"
n=$(wc -l <"$SSH_LOG")
said=$(printf '%s\\n' "$SSH_SAYS" | sed -n "${n}p")
for last; do :; done
[ "$said" = ok ] && exec sh -c "$last"
echo "$said" >&2
exit 255
"""
NO = "nvidia@10.0.0.1: Permission denied (publickey,password)."


@pytest.fixture
def spark(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SSH_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(login, "_can_ask", lambda: True)
    (tmp_path / "home").mkdir()

    def put(*said):
        monkeypatch.setenv("SSH_SAYS", "\n".join(said))
        try:
            login.put_key(samples.connections(1)[0], KEY)
        finally:
            put.asked = (tmp_path / "log").read_text().count("session")

    put.keys = tmp_path / "home" / ".ssh" / "authorized_keys"
    return put


def test_mistyped_once(spark, capsys):
    spark(NO, "ok")
    assert spark.asked == 2
    assert spark.keys.read_text() == KEY + "\n"
    assert capsys.readouterr().err.count("that password was not accepted; try again") == 1


def test_three_wrong_ones(spark):
    with pytest.raises(NodeError, match="no password of 3 was accepted, and nothing was changed"):
        spark(NO, NO, NO, "ok")
    assert spark.asked == 3
    assert not spark.keys.exists()


def test_a_spark_that_takes_keys_only_is_not_asked_again(spark):
    with pytest.raises(NodeError, match="takes no passwords") as caught:
        spark("nvidia@10.0.0.1: Permission denied (publickey).", "ok")
    assert spark.asked == 1
    assert KEY in str(caught.value)


def test_what_is_no_refusal_is_told_as_everywhere(spark):
    with pytest.raises(Unreachable, match="does not answer on port"):
        spark("ssh: connect to host 10.0.0.1 port 22: Connection timed out", "ok")
    assert spark.asked == 1


def test_a_login_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(login, "_can_ask", lambda: True)
    monkeypatch.setattr(login, "TYPING_S", 0.1)
    monkeypatch.setattr(login, "_asking", lambda *_: ["sleep", "60"])
    with pytest.raises(NodeError, match="did not end within"):
        login.put_key(samples.connections(1)[0], KEY)


def test_nobody_to_ask(spark, monkeypatch):
    monkeypatch.setattr(login, "_can_ask", lambda: False)
    with pytest.raises(NodeError, match="no terminal to ask for the password on"):
        login.put_key(samples.connections(1)[0], KEY)
