"""Host keys: pinned on a person's word only, whoever asks."""

from __future__ import annotations

import base64

import pytest

from cluster.errors import NodeError
from remote.ssh import fingerprint
from trtspark import host_keys
from trtspark.questions import Questions


def key(kind, seed):
    return f"{kind} {base64.b64encode(seed * 8).decode()}"


NEW, OTHER = key("ssh-ed25519", b"newkey"), key("ecdsa-sha2-nistp256", b"second")
OLD = key("ssh-ed25519", b"oldkey")
OFFERED = {"ssh-ed25519": NEW, "ecdsa-sha2-nistp256": OTHER}


class Person(Questions):
    def __init__(self, says):
        super().__init__(interactive=True)
        self.says, self.asked = says, []

    def yes(self, given, flag, question, default=False):
        self.asked.append((question, default))
        return self.says


def settle(ask, accepted=(), pinned=None, known=()):
    return host_keys.settle(ask, "spark", OFFERED, accepted, pinned, known)


def test_without_a_terminal_an_unknown_key_is_an_error_that_names_it():
    with pytest.raises(NodeError, match="not known yet") as caught:
        settle(Questions(interactive=False))
    assert f"--accept-host-key {fingerprint(NEW)}" in str(caught.value)


def test_a_fingerprint_on_the_command_line_must_be_that_very_one():
    script = Questions(interactive=False)
    assert settle(script, [fingerprint(OTHER)]) == OTHER
    with pytest.raises(NodeError):
        settle(script, [fingerprint(OLD)])


def test_a_person_sees_it_and_no_is_the_default(capsys):
    person = Person(True)
    assert settle(person) == NEW
    assert person.asked == [("Is that spark's own?", False)]
    assert fingerprint(NEW) in capsys.readouterr().err
    with pytest.raises(NodeError, match="not accepted"):
        settle(Person(False))


def test_what_is_known_is_not_asked_again():
    script = Questions(interactive=False)
    assert settle(script, pinned=NEW) == NEW
    assert settle(script, known=[OTHER]) == OTHER


@pytest.mark.parametrize("where", ["pinned", "known"])
def test_another_key_than_before_is_said_loudly(capsys, where):
    before = {"pinned": OLD} if where == "pinned" else {"known": [OLD]}
    with pytest.raises(NodeError):
        settle(Questions(interactive=False), **before)
    said = capsys.readouterr().err.replace("\n", " ")
    assert "NOT the one known before" in said
    assert fingerprint(OLD) in said


def test_a_pin_of_the_stack_is_worth_more_than_known_hosts():
    with pytest.raises(NodeError):
        settle(Questions(interactive=False), pinned=OLD, known=[NEW])
