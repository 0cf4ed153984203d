"""Every bad input of the table gets one sentence, with the key or host, what was found and what helps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from cluster.checks import CHECKS
from cluster.config import Settings, load
from cluster.errors import ConfigError, TrtSparkError
from cluster.resolution import HubError
from remote import hub, hub_token, logins, private_keys, ssh, ssh_config
from remote.node import probe
from remote.preflight import look
from remote.ssh import Result
from tests import samples
from tests.unit import bad_inputs, bad_inputs_config, bad_inputs_nodes, bad_inputs_ssh
from tests.unit.test_look import FakeShells

PROJECT = "trtllm-dgx-spark"


def ids(rows: Any) -> list[str]:
    return [f"{kind}-{index}" for index, (kind, *_) in enumerate(rows)]


def one_sentence(text: str, parts: tuple[str, ...]) -> None:
    """All `parts` are there, on lines that any terminal can print, and nothing is repeated without end."""
    for part in parts:
        assert part in text
    assert all(c.isprintable() for c in text)
    text.encode()
    assert len(text) < 1500


@pytest.mark.parametrize(("kind", "values", "parts"), bad_inputs_config.ROWS, ids=ids(bad_inputs_config.ROWS))
def test_configuration(kind, values, parts):
    whole = {"nodes": [{"host": "spark-1"}, {"host": "spark-2"}], "model": "openai/gpt-oss-120b", **values}
    raw = {
        f"{PROJECT}:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in whole.items()
        if value is not None
    }
    with pytest.raises(ConfigError) as caught:
        load(raw, PROJECT)
    one_sentence(str(caught.value), parts)
    assert "hf_a" not in str(caught.value).replace("--secret hfToken", "")


@pytest.fixture
def no_token(tmp_path, monkeypatch):
    """This machine has none; the path is the login file's."""
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in (*hub_token.VARIABLES, hub_token.IDENTITY, "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "token"


def token_at(entrance, text, path, monkeypatch):
    """What our code makes of a token that comes by that entrance."""
    if entrance == "hfToken":  # in the provider; the configuration has rows of its own
        return hub_token.find(text)
    if entrance == "--hf-token-file":
        path.write_text(text)
        return hub_token.Token(hub_token.of_file(path), str(path))
    if entrance == "hf auth login":
        path.write_text(text)
    elif entrance == "HF_OIDC_RESOURCE":
        monkeypatch.setenv(entrance, "some/model")
        monkeypatch.setattr("huggingface_hub.get_token", lambda: text)
    elif "\0" in text:  # no environment can hold it
        monkeypatch.setattr(hub_token, "_variable", lambda: (entrance, text))
    else:
        monkeypatch.setenv(entrance, text)
    return hub.token(samples.settings(1))


@pytest.mark.parametrize(("text", "part"), bad_inputs_config.TOKENS)
@pytest.mark.parametrize("entrance", bad_inputs_config.ENTRANCES)
def test_a_bad_token_is_named_as_the_cause(entrance, text, part, no_token, monkeypatch):
    """None is sent, and none is shown."""
    with pytest.raises(HubError) as caught:
        token_at(entrance, text, no_token, monkeypatch)
    source = str(no_token) if entrance == "--hf-token-file" else entrance
    one_sentence(str(caught.value), (f"The token of {source}".replace("of hf auth", "of `hf auth"), part))
    assert "hf_a" not in str(caught.value)


@pytest.mark.parametrize("entrance", bad_inputs_config.ENTRANCES)
@pytest.mark.parametrize("around", ["{}", "{}\n", " {}\r\n", "\n{}"])
def test_space_around_a_token_is_none_of_it(entrance, around, no_token, monkeypatch):
    assert token_at(entrance, around.format("hf_a"), no_token, monkeypatch).value == "hf_a"


@limits(max_examples=50)
@given(st.text(min_size=1).filter(str.strip))
def test_no_header_is_broken_by_any_token(text):
    try:
        found = hub_token.find(text).value
    except HubError as error:
        found = text.strip()
        said = str(error)
    else:
        said = ""
    assert found == text.strip()
    assert all("!" <= one <= "~" for one in found) or "of hfToken cannot be sent" in said


def test_an_identity_that_is_not_exchanged(no_token, monkeypatch):
    monkeypatch.setenv("HF_OIDC_RESOURCE", "some/model")
    monkeypatch.delenv("HF_OIDC_ID_TOKEN", raising=False)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL", raising=False)
    with pytest.raises(HubError) as caught:
        hub.token(samples.settings(1))
    one_sentence(str(caught.value), ("HF_OIDC_RESOURCE", "OIDCError", "hfToken"))


def test_an_empty_file_of_a_token_and_none(no_token):
    for text, part in (("\n", "is empty"), (None, "cannot be read")):
        no_token.unlink(missing_ok=True)
        if text:
            no_token.write_text(text)
        with pytest.raises(HubError) as caught:
            hub_token.of_file(no_token)
        one_sentence(str(caught.value), (str(no_token), part))


def test_every_token_of_this_machine_is_kept_out_of_a_report(no_token, monkeypatch):
    """A bad one too, which no request could carry and which stops no report."""
    no_token.write_text("hf_first\nhf_second\n")
    monkeypatch.setenv("HF_TOKEN", " hf_aé ")
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_third")
    assert {"hf_first", "hf_second", "hf_aé", "hf_third"} <= set(hub_token.lines_here())
    no_token.unlink()
    no_token.mkdir()
    assert "hf_third" in hub_token.lines_here()


def test_a_login_file_that_cannot_be_read(no_token):
    no_token.mkdir()
    with pytest.raises(HubError) as caught:
        hub.token(samples.settings(1))
    one_sentence(str(caught.value), ("hf auth login", str(no_token), "hfToken"))


@pytest.mark.parametrize("address", ["http://[", "http://a:99999", "http://a:b", "http://a b", "mirror.lan"])
def test_addresses_of_a_hub(address, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(HubError) as caught:
        hub.endpoint()
    one_sentence(str(caught.value), ("HF_ENDPOINT", repr(address)))


@pytest.mark.parametrize("path", ["~nosuchuser/known_hosts", "/" + "a" * 300])
def test_known_hosts_that_cannot_be_there(path, home):
    settings = Settings.model_validate({"nodes": [{"host": "spark-1"}], "model": "a/b", "knownHosts": path})
    with pytest.raises(TrtSparkError) as caught:
        logins.connections(settings)
    one_sentence(str(caught.value), ("spark-1", path, "host key"))


@pytest.mark.parametrize("key", ["~nosuchuser/x", "/" + "a" * 300])
def test_a_key_of_the_settings_of_ssh_that_cannot_be_there(key, home):
    """ssh goes on without it, and so do we."""
    (home / ".ssh" / "config").write_text(f"Host spark-1\n IdentityFile {key}\n")
    nodes = [{"host": "spark-1", "hostKey": samples.HOST_KEY}]
    [found] = logins.connections(Settings.model_validate({"nodes": nodes, "model": "a/b"}))
    assert found.identity is None


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An operator's empty home, in which ssh finds its settings too."""
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / ".ssh" / "config").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(ssh_config.way, "__defaults__", (("ssh", "-F", str(tmp_path / ".ssh/config"), "-G"),))
    return tmp_path


@pytest.fixture(scope="module")
def good_key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "mine"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@pytest.mark.parametrize(("spoiling", "configured", "parts"), bad_inputs_ssh.KEYS)
def test_ssh_keys(spoiling, configured, parts, home, good_key):
    key = home / ".ssh" / "mine"
    for name in ("mine", "mine.pub"):
        shutil.copy(good_key.with_name(name), key.with_name(name))
    subprocess.run(["sh", "-c", spoiling], check=True, env={**os.environ, "KEY": str(key)})
    settings = samples.settings(2, **({"sshKey": configured} if configured else {}))
    with pytest.raises(TrtSparkError) as caught:
        private_keys.private_key(logins.connections(settings)[0], None)
    one_sentence(str(caught.value), parts)


@pytest.mark.parametrize(("text", "parts"), bad_inputs_ssh.SETTINGS)
def test_settings_of_ssh(text, parts, home):
    (home / ".ssh" / "config").write_text(text)
    nodes = [{"host": "spark-1", "hostKey": samples.HOST_KEY}]
    settings = Settings.model_validate({"nodes": nodes, "model": "a/b"})
    with pytest.raises(TrtSparkError) as caught:
        logins.connections(settings)
    one_sentence(str(caught.value), parts)


def test_the_key_that_the_settings_of_ssh_name_is_used(home, good_key):
    (home / ".ssh" / "config").write_text(f"Host spark-1\n IdentityFile {good_key}\n")
    nodes = [{"host": "spark-1", "hostKey": samples.HOST_KEY}]
    [found] = logins.connections(Settings.model_validate({"nodes": nodes, "model": "a/b"}))
    assert private_keys.private_key(found, None) == good_key.read_text()


@pytest.mark.parametrize(("text", "parts"), bad_inputs_ssh.KNOWN_HOSTS)
def test_known_hosts(text, parts, home):
    """Every host without a key is named, at once."""
    path = home / "known_hosts"
    if text is not None:
        path.write_text(text)
    nodes = [{"host": "spark-1"}, {"host": "spark-2", "port": 2222}]
    settings = Settings.model_validate({"nodes": nodes, "model": "a/b", "knownHosts": str(path)})
    with pytest.raises(TrtSparkError) as caught:
        logins.connections(settings)
    for part in parts:
        assert part in str(caught.value)
    for line in str(caught.value).splitlines():
        one_sentence(line, ())


@pytest.mark.parametrize(("said", "parts"), bad_inputs_ssh.SAID)
def test_what_ssh_says(said, parts):
    error = ssh.explained(ssh.Connection("spark-2", "nvidia", 2222, samples.HOST_KEY), said)
    one_sentence(str(error), ("nvidia@spark-2:2222", *parts))


@pytest.mark.parametrize(
    ("path", "there", "folder"),
    [("", "", True), ("new/deep/hub", "", True), ("file/x/hub", "file", False), ("gone", "gone", False)],
)
def test_the_probe_finds_what_is_there_of_a_folder(path, there, folder, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "gone").symlink_to("nowhere")
    found = probe._place(str(tmp_path / path) if path else str(tmp_path))
    assert found["there"].rstrip("/") == str(tmp_path / there).rstrip("/")
    assert found["folder"] is folder


def refused(document: dict[str, Any] | None, result: Result | None) -> str:
    shells = FakeShells(1)
    if document is not None:
        shells.documents["10.24.11.11"].update(document)
        shells.clocks.append("10.24.11.11")
    if result is not None:
        shells.answers["spark11"] = lambda: result
    with pytest.raises(TrtSparkError) as caught:
        look("dgx", samples.settings(1), samples.connections(1), shells)
    return str(caught.value)


@pytest.mark.parametrize(("code", "out", "err", "parts"), bad_inputs_nodes.ANSWERS)
def test_answers_of_a_node(code, out, err, parts):
    one_sentence(refused(None, Result(code, out, err)), ("nvidia@10.24.11.11", *parts))


@pytest.mark.parametrize("change", bad_inputs_nodes.DOCUMENTS, ids=str)
def test_documents_of_a_probe(change):
    one_sentence(refused(change, None), ("10.24.11.11: ", "the probe's answer"))


@pytest.mark.parametrize(("said", "parts"), bad_inputs_nodes.SUDO)
def test_what_sudo_says(said, parts):
    commands = FakeShells(1).documents["10.24.11.11"]["commands"]
    text = refused({"commands": {**commands, "sudo": {"rc": 1, "out": "", "err": said}}}, None)
    one_sentence(text, ("10.24.11.11: ", *parts))


def test_machines_are_refused_by_a_check_that_exists():
    """What each must get is compared in test_facts.py; here is that nothing else than a check speaks."""
    assert {check for _, found in bad_inputs_nodes.refused_machines() for check in found} <= set(CHECKS)


def test_the_table_has_every_kind_and_the_docs_say_how_many():
    counts = bad_inputs.counts()
    assert counts.total() >= 300
    assert all(counts.values())
    text = (Path(__file__).parents[2] / "docs" / "bad-inputs.md").read_text(encoding="utf-8")
    assert bad_inputs.table() in text


@pytest.mark.parametrize(
    "model", ["Qwen/Qwen3-8B", "nvidia/Llama-3.1-8B-Instruct-FP8", "openai/gpt-oss-120b"]
)
def test_without_the_hub_no_other_spelling_is_proposed(model):
    """It may be spelt right, whatever the catalog has: only what is on the nodes can be meant."""
    shells = FakeShells(1)
    empty = {"commit": None, "files": {}, "blobs": {}, "models": []}
    shells.answers["spark11"] = lambda: shells.healthy("10.24.11.11", **empty)
    for download in (True, False):
        settings = samples.settings(1, model=model, downloadWeights=download)
        with pytest.raises(TrtSparkError) as caught:
            look("dgx", settings, samples.connections(1), shells)
        assert model in str(caught.value)
        assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("made", "parts"),
    [
        ("", ("No such file",)),
        ("mkdir $F", ("o200k_base.tiktoken", "No such file")),
        ("touch $F", ("Not a directory",)),
        ("mkdir $F; echo x >$F/o200k_base.tiktoken; mkdir $F/cl100k_base.tiktoken", ("SHA-256", "directory")),
    ],
)
def test_a_folder_of_vocabularies_that_lacks_them(made, parts, tmp_path):
    """Said at preview, where no node has them; where one has, nothing is taken from the folder."""
    subprocess.run(["sh", "-c", made], check=True, env={**os.environ, "F": str(tmp_path / "mine")})
    shells = FakeShells(1)
    settings = samples.settings(1, tiktoken={"folder": str(tmp_path / "mine")})
    shells.answers["spark11"] = lambda: shells.healthy("10.24.11.11", tiktoken=False)
    with pytest.raises(TrtSparkError) as caught:
        look("dgx", settings, samples.connections(1), shells)
    for part in ("tiktoken.folder", str(tmp_path / "mine"), *parts):
        assert part in str(caught.value)
    shells.answers["spark11"] = lambda: shells.healthy("10.24.11.11", tiktoken=True)
    look("dgx", settings, samples.connections(1), shells)
