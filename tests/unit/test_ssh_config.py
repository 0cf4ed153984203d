"""What ssh prints of its settings, as it names the files of keys."""

from __future__ import annotations

import getpass

import pytest

from remote import ssh_config

PRINTED = "hostname 192.168.1.11\nuser nvidia\nport 2222\nidentityfile {}\n"


@pytest.mark.parametrize(
    ("written", "file"),
    [
        ("~/.ssh/spark", ".ssh/spark"),
        ("%d/.ssh/spark", ".ssh/spark"),
        ('"%d/.ssh/my spark"', ".ssh/my spark"),
        ("${KEYS}/spark", "keys/spark"),
        ("%d/.ssh/%n-%h-%p-%r", ".ssh/desk-192.168.1.11-2222-nvidia"),
        ("%d/.ssh/%u%%", f".ssh/{getpass.getuser()}%"),
        ("%d/.ssh/%Z${UNHEARD_OF}", ".ssh/%Z${UNHEARD_OF}"),
    ],
)
def test_a_key_file_is_found_as_ssh_finds_it(written, file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KEYS", str(tmp_path / "keys"))
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.touch()
    assert ssh_config.parsed(PRINTED.format(written), "desk").identities == (str(path),)
