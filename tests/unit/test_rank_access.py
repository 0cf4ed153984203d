"""A worker's authorized_keys: one line in, and every other byte as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote.node import rank_access

OTHER_KEY = "ssh-ed25519 AAAAother somebody@laptop"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


SOURCES = "10.24.11.11,192.168.100.11"


def allow(key: str = "ssh-ed25519 AAAAkey", stack: str = "dgx", sources: str = SOURCES) -> bool:
    script = "#!/bin/sh\necho @STACK@\n"
    args = {"action": "allow", "stack": stack, "key": key, "sources": sources, "script": script}
    return bool(rank_access.main(args)["changed"])


def revoke(stack: str = "dgx") -> bool:
    return bool(rank_access.main({"action": "revoke", "stack": stack})["changed"])


def authorized(home: Path) -> Path:
    return home / ".ssh" / "authorized_keys"


@pytest.mark.parametrize(
    "text",
    [f"{OTHER_KEY}\n", OTHER_KEY, f"# mine\n\n{OTHER_KEY}\n\n", f"{OTHER_KEY}\r\n", "ssh-rsa AAAA caf\xe9"],
)
def test_authorized_keys_come_back_byte_for_byte(home, text):
    file = authorized(home)
    file.parent.mkdir()
    file.write_bytes(text.encode("latin-1"))
    file.chmod(0o640)
    assert allow()
    assert text.encode("latin-1") in file.read_bytes()
    assert revoke()
    assert file.read_bytes() == text.encode("latin-1")
    assert file.stat().st_mode & 0o777 == 0o640


def test_what_was_not_there_is_gone_again(home):
    assert allow()
    assert authorized(home).stat().st_mode & 0o777 == 0o600
    assert revoke()
    assert not authorized(home).exists()
    assert not (home / ".trtspark").exists()


def test_the_line_allows_one_command_and_nothing_else(home):
    allow()
    [line] = authorized(home).read_text().splitlines()
    script = home / ".trtspark" / "rank-exec-dgx"
    assert line == f'restrict,from="{SOURCES}",command="{script}" ssh-ed25519 AAAAkey trtspark-mpi-dgx'
    assert script.read_text() == "#!/bin/sh\necho dgx\n"
    assert script.stat().st_mode & 0o777 == 0o700


def test_a_second_run_changes_nothing(home):
    assert [allow(), allow()] == [True, False]
    assert [revoke(), revoke()] == [True, False]


def test_a_new_key_replaces_the_old_one(home):
    allow("ssh-ed25519 AAAAold")
    assert allow("ssh-ed25519 AAAAnew")
    assert "AAAAold" not in authorized(home).read_text()


def test_a_line_of_an_older_program_is_found_and_replaced(home):
    allow(sources="")
    assert 'restrict,command="' in authorized(home).read_text()
    assert rank_access.allowed(str(home)) == {"dgx": "ssh-ed25519 AAAAkey"}
    assert look(sources="") == ("ssh-ed25519 AAAAkey", True)
    assert look() == ("", True)
    assert allow()
    [line] = authorized(home).read_text().splitlines()
    assert f'from="{SOURCES}"' in line


def test_the_heads_new_address_replaces_the_old_line(home):
    allow()
    assert look(sources="10.24.11.12") == ("", True)
    assert allow(sources="10.24.11.12")
    assert len(authorized(home).read_text().splitlines()) == 1


def test_another_stacks_access_is_left_alone(home):
    allow(stack="other")
    before = authorized(home).read_bytes()
    allow()
    revoke()
    assert authorized(home).read_bytes() == before
    assert (home / ".trtspark" / "rank-exec-other").exists()


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_file_comes_back(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("keys") / "authorized_keys"
    path.write_bytes(text.encode())
    rank_access.put_line(str(path), "trtspark-mpi-dgx", "restrict ssh-ed25519 A trtspark-mpi-dgx")
    rank_access.put_line(str(path), "trtspark-mpi-dgx", None)
    assert path.read_bytes() == text.encode()


def test_an_empty_file_stays_an_empty_file(home):
    file = authorized(home)
    file.parent.mkdir()
    file.touch()
    allow()
    revoke()
    assert file.read_bytes() == b""


def test_a_key_added_in_between_keeps_the_file_we_made(home):
    allow()
    with authorized(home).open("a") as handle:
        handle.write(OTHER_KEY + "\n")
    revoke()
    assert authorized(home).read_text() == OTHER_KEY + "\n"
    assert not (home / ".trtspark").exists()


def test_the_last_of_two_stacks_takes_the_file_we_made_away(home):
    allow()
    allow(stack="other")
    revoke()
    assert authorized(home).exists()
    revoke("other")
    assert not authorized(home).exists()


def test_a_link_to_the_file_stays_a_link(home):
    place = home / "dotfiles-keys"
    place.write_text(OTHER_KEY)
    (home / ".ssh").mkdir()
    authorized(home).symlink_to(place)
    allow()
    assert "trtspark-mpi-dgx" in place.read_text()
    revoke()
    assert authorized(home).is_symlink()
    assert place.read_text() == OTHER_KEY


@pytest.mark.parametrize("file", [".trtspark/rank-exec-dgx", ".trtspark/made-authorized-keys"])
def test_a_run_that_was_cut_off_while_it_wrote_leaves_nothing(home, file):
    half = home / f"{file}.trtspark-new"
    half.parent.mkdir()
    half.write_text("hal")
    assert revoke()
    assert not half.parent.exists()


def look(key: str = "ssh-ed25519 AAAAkey", sources: str = SOURCES) -> tuple[str, bool]:
    script = "#!/bin/sh\necho @STACK@\n"
    found = rank_access.main(
        {"action": "look", "stack": "dgx", "key": key, "sources": sources, "script": script}
    )
    return found["key"], found["script"] == script


def test_a_look_finds_what_allow_did(home):
    assert look() == ("", False)
    allow()
    assert look() == ("ssh-ed25519 AAAAkey", True)
    assert look("ssh-ed25519 AAAAother") == ("", True)
    assert look("") == ("", False)  # of a create that failed


@pytest.mark.parametrize("edit", ["removed", "restrict", "from", "twice"])
def test_a_look_misses_a_line_that_somebody_changed(home, edit):
    allow()
    text = authorized(home).read_text()
    authorized(home).write_text(
        {
            "removed": "",
            "restrict": text.removeprefix("restrict,"),
            "from": text.replace(f'from="{SOURCES}",', ""),
            "twice": text * 2,
        }[edit]
    )
    assert look() == ("", True)


def test_a_look_misses_the_command(home):
    allow()
    (home / ".trtspark" / "rank-exec-dgx").chmod(0o600)
    assert look() == ("ssh-ed25519 AAAAkey", False)


def test_the_probe_tells_whose_key_may_log_in(home):
    assert rank_access.allowed(str(home)) == {}
    allow("ssh-ed25519 AAAA somebody")
    allow("ssh-ed25519 BBBB", "two")
    assert rank_access.allowed(str(home)) == {
        "dgx": f"ssh-ed25519 AAAA {SOURCES}",
        "two": f"ssh-ed25519 BBBB {SOURCES}",
    }


def test_a_line_that_was_edited_or_whose_command_is_gone_is_none(home):
    allow("ssh-ed25519 AAAA")
    allow("ssh-ed25519 BBBB", "two")
    (home / ".trtspark" / "rank-exec-dgx").unlink()
    keys = home / ".ssh" / "authorized_keys"
    keys.write_text(keys.read_text().replace("restrict,", "") + "ssh-ed25519 C trtspark-mpi-\nssh-rsa \x00\n")
    assert rank_access.allowed(str(home)) == {}
