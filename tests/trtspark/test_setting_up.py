"""`trtspark init`: entries of nodes, what a re-run keeps, and where secrets go."""

from __future__ import annotations

import subprocess

import pytest
from typer.testing import CliRunner

from cluster.errors import ConfigError, NodeError, Unreachable
from tests import samples
from trtspark import setting_up, terminal, writing
from trtspark.cli import app
from trtspark.discovery import Neighbour
from trtspark.project import Choice
from trtspark.questions import Questions


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("192.168.1.11", {"host": "192.168.1.11", "user": "nvidia"}),
        ("me@spark-1a2b.local", {"host": "spark-1a2b.local", "user": "me"}),
        ("me@10.0.0.1:2222", {"host": "10.0.0.1", "user": "me", "port": 2222}),
        ("Nick@Spark-1.local.", {"host": "Spark-1.local", "user": "Nick"}),
        ("10.0.0.1:22", {"host": "10.0.0.1", "user": "nvidia"}),
    ],
)
def test_a_node_as_it_is_typed(text, entry):
    assert setting_up.node_of(text, "nvidia") == entry


@pytest.mark.parametrize(
    "text", ["", "-oProxyCommand=x", "a b", "me@", "host:0", "host:70000", "a@b@c", "h;reboot"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(ConfigError, match="is no node"):
        setting_up.node_of(text, "nvidia")


def test_what_the_stack_knows_more_of_a_machine_stays():
    before = [{"host": "10.0.0.1", "user": "old", "fabric": ["192.168.100.11"]}]
    found = setting_up.merged({"host": "10.0.0.1", "user": "new"}, before)
    assert found == {"host": "10.0.0.1", "user": "new", "fabric": ["192.168.100.11"]}
    assert setting_up.merged({"host": "10.0.0.2"}, before) == {"host": "10.0.0.2"}


def test_a_machine_with_two_addresses_is_one_machine():
    seen = [Neighbour("a", "10.0.0.1"), Neighbour("a", "169.254.1.1"), Neighbour("b", "10.0.0.2")]
    assert setting_up._first_two(seen, "me") == ["me@10.0.0.1", "me@10.0.0.2"]
    for head in ("10.0.0.1", "169.254.1.1", "a", "a.local"):
        assert setting_up._match(seen, [{"host": head}], set()) == seen[2:]


def test_only_what_differs_is_written():
    before = {"model": "a/b", "nodes": [{"host": "h"}], "port": "8355"}
    assert writing.changes(before, {"model": "a/b", "nodes": [{"host": "h"}]}) == {}
    wanted = {"model": "a/c", "revision": None, "dockerGroup": True}
    assert writing.changes(before, wanted) == {"model": "a/c", "dockerGroup": True}


def test_a_plan_is_checked_as_a_preview_would():
    nodes = [{"host": "10.0.0.1", "hostKey": samples.HOST_KEY}]
    plan = setting_up.Plan({"model": "a/b", "maxBatchSize": "4"}, {"nodes": nodes, "dockerGroup": True})
    assert plan.settings().docker_group
    plan.wanted["model"] = "nonsense"
    with pytest.raises(ConfigError, match="model"):
        plan.settings()


def test_a_secret_is_never_an_argument(monkeypatch, tmp_path):
    calls = []

    def pulumi(words, **more):
        calls.append((words, more))
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(writing.subprocess, "run", pulumi)
    writing.secret(tmp_path, "dgx", "hfToken", "hf_very_secret")
    [(words, more)] = calls
    assert "hf_very_secret" not in " ".join(words)
    assert more["input"] == "hf_very_secret"


def test_without_a_terminal_a_question_is_an_error_that_names_its_option():
    script = Questions(interactive=False)
    with pytest.raises(ConfigError, match="--node is missing"):
        script.text(None, "--node", "The head")
    assert script.text(None, "--model", "The model", "a/b") == "a/b"
    assert script.text("given", "--model", "The model", "a/b") == "given"
    assert script.yes(None, "--docker-group", "Change that?") is False


def test_scripts_have_an_option_for_every_question():
    """Each flag that a question names exists."""
    import re

    from typer.testing import CliRunner

    from tests.lab.stack import ROOT
    from trtspark.cli import app

    sources = [(ROOT / p).read_text() for p in ("trtspark/setting_up.py", "trtspark/commands/init.py",
                                             "trtspark/host_keys.py", "trtspark/login.py")]  # fmt: skip
    asked = set(re.findall(r'"(--[a-z-]+)"', "".join(sources))) - {"--stack"}
    shown = CliRunner().invoke(app, ["init", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).stdout
    assert asked
    assert not [flag for flag in asked if flag not in shown]


class Typed(Questions):
    """A person at a terminal who types these lines; an empty one takes the default."""

    def __init__(self, *lines):
        super().__init__(interactive=True)
        self.lines, self.asked = list(lines), []

    def text(self, given, flag, question, default=None, check=str):
        while True:
            self.asked.append((question, default))
            line = self.lines.pop(0) or default
            if line is None:
                continue  # a question without a default is asked again
            try:
                return check(line)
            except ConfigError as error:
                terminal.error(str(error))


@pytest.fixture
def machines(monkeypatch):
    """host -> host key; others are out of reach."""
    keys = {}

    def offered(host, _port):
        if host not in keys:
            raise Unreachable(host, "it shows no ssh host key.", "Is it on?")
        return {"ssh-ed25519": keys[host]}

    addresses = {"spark-a": "10.0.0.1", "10.0.0.1": "10.0.0.1", "alias": "10.0.0.1", "10.0.0.9": "10.0.0.9"}
    monkeypatch.setattr(setting_up, "_addresses", lambda host: {addresses.get(host, host)})
    monkeypatch.setattr(setting_up.host_keys, "offered", offered)
    monkeypatch.setattr(setting_up.host_keys, "known", lambda *_: [])
    monkeypatch.setattr(
        setting_up.host_keys, "settle", lambda _ask, _name, found, *_: next(iter(found.values()))
    )
    monkeypatch.setattr(setting_up.login, "ensure", lambda *_: None)
    return keys


def key(number):
    return samples.HOST_KEY[:-4] + f"{number:04d}"


def asked_nodes(ask, seen=(), before=None):
    plan = setting_up.Plan({"nodes": before} if before else {})
    return setting_up.ask_nodes(ask, setting_up.Flags(), plan, seen, lambda _connection: [])


def test_two_sparks_are_asked_for_by_name_or_address(machines):
    machines |= {"10.0.0.1": key(1), "10.0.0.2": key(2)}
    ask = Typed("10.0.0.1", "", "10.0.0.2", "")
    assert [one["host"] for one in asked_nodes(ask)] == ["10.0.0.1", "10.0.0.2"]
    assert all("host name or address" in question for question, _ in ask.asked)
    assert [default for _, default in ask.asked] == [None, None, None, setting_up.NO_MORE]


def test_one_spark_alone_is_a_dash(machines):
    machines |= {"10.0.0.1": key(1)}
    assert len(asked_nodes(Typed("10.0.0.1", "-"))) == 1


@pytest.mark.parametrize("again", ["spark-a", "SPARK-A.", "alias", "10.0.0.1", "10.0.0.9"])
def test_the_same_machine_is_refused_where_it_was_typed(machines, capsys, again):
    """By its name, its address, and its host key (10.0.0.9 has another address and the same key)."""
    machines |= {"spark-a": key(1), "10.0.0.9": key(1), "10.0.0.2": key(2)}
    ask = Typed("spark-a", again, "10.0.0.2", "-")
    assert [one["host"] for one in asked_nodes(ask)] == ["spark-a", "10.0.0.2"]
    assert "error:" in capsys.readouterr().err
    assert ["Worker 1" in question for question, _ in ask.asked] == [False, True, True, False]


def test_a_wrong_answer_keeps_the_others(machines):
    """A head that is out of reach, a worker that is mistyped: each is asked for again, and nothing else."""
    machines |= {"10.0.0.1": key(1), "10.0.0.2": key(2)}
    ask = Typed("10.0.0.7", "10.0.0.1", "10.0.0.8", "h;reboot", "10.0.0.2", "")
    assert [one["host"] for one in asked_nodes(ask)] == ["10.0.0.1", "10.0.0.2"]


def test_a_stack_that_is_there_offers_its_nodes_and_no_more(machines):
    machines |= {"10.0.0.1": key(1)}
    ask = Typed("", "")
    assert len(asked_nodes(ask, before=[{"host": "10.0.0.1", "user": "me"}])) == 1
    assert [default for _, default in ask.asked] == ["me@10.0.0.1", setting_up.NO_MORE]


def test_options_that_name_one_machine_twice_are_an_error(machines):
    machines |= {"spark-a": key(1), "alias": key(1)}
    script = Questions(interactive=False)
    flags, plan = setting_up.Flags(nodes=("spark-a", "alias")), setting_up.Plan({})
    with pytest.raises(NodeError, match=r"alias: .*spark-a"):
        setting_up.ask_nodes(script, flags, plan, (), lambda _: [])


def test_a_bad_token_file_is_told_before_anything_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(Choice, "folder", lambda _self: pytest.fail("it went on"))
    (tmp_path / "token").write_text("hf_first\nhf_second\n")
    done = CliRunner().invoke(app, ["init", "--hf-token-file", str(tmp_path / "token")])
    assert "token cannot be sent: it holds a line break" in str(done.exception)
    assert "hf_" not in str(done.exception)
