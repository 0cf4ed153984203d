"""Result files, their schema, the tokenizer's way here, and what a result may not tell."""

from __future__ import annotations

import base64
import gzip
import json
from array import array
from pathlib import Path

import pytest

from cluster.errors import ConfigError
from remote.ssh import Result as Said
from tests import samples
from tests.trtspark.bench_samples import result
from trtspark.bench import results, rows, system, tokens
from trtspark.bench.load import Load, Run
from trtspark.bench.stream import Answer

ROOT = Path(__file__).parents[2]


def test_the_published_schema_is_the_programs():
    assert (ROOT / "docs/bench-result.schema.json").read_text() == results.schema()


def test_a_result_survives_its_file(tmp_path):
    one = result()
    path = results.write(one, tmp_path)
    assert results.read(path) == one


def test_a_file_that_is_there_is_kept(tmp_path):
    first, second = (results.write(result(), tmp_path) for _ in range(2))
    assert first != second
    assert len(results.found(tmp_path)) == 2
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "started: Field required"),
        ("nothing", "no result of this version"),
        ('{"format": 2}', "format"),
    ],
)
def test_what_is_no_result_is_refused_with_the_place(tmp_path, text, said):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        results.read(path)


def test_unknown_names_are_refused(tmp_path):
    document = json.loads(result().model_dump_json())
    document["figures"]["speed"] = 9
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"figures\.speed"):
        results.read(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Give another place with --output"):
        results.write(result(), tmp_path / "file")


def test_no_secret_and_no_login_is_in_a_result():
    settings = samples.settings(2, hfToken="hf_verysecret", sshKey="/home/me/.ssh/key")
    told = json.dumps(system.public(settings))
    for private in ("hf_verysecret", "/home/me", "hostKey", "nvidia@", "AAAA"):
        assert private not in told
    assert system.public(settings)["maxBatchSize"] is None


def test_what_identifies_a_machine_stays_out():
    [facts] = samples.facts(1)
    told = json.dumps(system.of_facts(facts))
    assert facts.gpu_uuid not in told
    assert all(hca.mac not in told for hca in facts.hcas if hca.mac)
    assert "NVIDIA GB10" in told
    assert '"rate_gbps": 200' in told


class FakeShell:
    def __init__(self, out: str, code: int = 0) -> None:
        self.said, self.asked = Said(code, out, ""), []

    def run(self, command: str, stdin: str = "", timeout: float = 60) -> Said:
        self.asked.append(command)
        return self.said

    def close(self) -> None: ...

    def renew(self) -> None: ...


TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "alpha": 1, "beta": 2}, "unk_token": "[UNK]"},
}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def packed(text: str) -> str:
    found = base64.b64encode(gzip.compress(text.encode())).decode()
    return json.dumps({"tokenizer_file": {"packed": found}})


def test_the_heads_tokenizer_is_fetched_once_for_a_commit():
    shell = FakeShell("Welcome!\n" + packed(json.dumps(TOKENIZER)))
    found, info = tokens.of_node(shell, "~/.cache/hf", "org/model", "c0ffee" + "0" * 34)
    assert info.exact
    assert found.count("alpha beta gamma") == 3
    assert sorted(found.words()) == [" alpha", " beta"]  # a vocabulary without marks for blanks
    assert "~/.cache/hf" in shell.asked[0]
    tokens.of_node(shell, "~/.cache/hf", "org/model", "c0ffee" + "0" * 34)
    assert len(shell.asked) == 1
    tokens.of_node(shell, "~/.cache/hf", "org/model", "decaf" + "0" * 35)
    assert len(shell.asked) == 2


@pytest.mark.parametrize("shell", [FakeShell("", 1), FakeShell("junk"), FakeShell(packed("{}"))])
def test_without_a_tokenizer_it_approximates_and_keeps_nothing(shell, tmp_path):
    _, info = tokens.of_node(shell, "/cache", "org/model", "c0ffee" + "0" * 34)
    assert not info.exact
    assert "approximated" in info.source
    assert not list(tmp_path.glob("cache/trtspark/tokenizers/*.json"))


def test_rows_and_time_line_hold_every_token_and_every_request():
    second = 1_000_000_000
    good = Answer(
        started=second, ended=4 * second, tokens=array("q", [2 * second, 4 * second]), output_tokens=6
    )
    bad = Answer(started=2 * second, ended=3 * second, error="timeout")
    run = Run(Load(2, 2), [good, bad], began=second, ended=5 * second)
    made = rows.rows(run)
    assert made.ttft_s == [1.0, None]
    assert made.error == ["", "timeout"]
    line = rows.timeline(run)
    assert sum(line.output_tokens) == 6
    assert max(line.running) == 2
    assert line.running[-1] == 0
    assert line.step_s == pytest.approx(0.1)
