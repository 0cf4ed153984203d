"""Programs for the nodes as they are sent: one command line, the program on standard input."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster.parsing import parse
from remote import node
from remote.rank0 import processes

ROOT = Path(__file__).parents[2]


def sent(home: Path, args: dict[str, Any], **entries: str) -> subprocess.CompletedProcess[str]:
    """As over ssh: one command line, the program on standard input."""
    return subprocess.run(
        ["sh", "-c", node.command(args)],
        input=node.program(**entries),
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_program_really_sent(tmp_path):
    args = {
        "hub_cache": {"hf_cache": "~/hf", "model": "openai/gpt-oss-20b"},
        "rank_access": {"action": "allow", "stack": "it's", "key": "ssh-ed25519 A", "script": "x"},
    }
    done = sent(tmp_path, args, hub_cache="look", rank_access="main")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer["hub_cache"]["folder"] == f"{tmp_path}/hf"
    assert answer["rank_access"] == {"changed": True}
    assert "rank-exec-it's" in (tmp_path / ".ssh" / "authorized_keys").read_text()


def test_what_a_module_takes_from_others_is_sent_with_it(tmp_path):
    text = node.program(gpu_runtime="main")
    for name in ("as_root", "config_toml", "daemon_json", "docker_daemon", "json_text", "node_lock", "stop"):
        assert f"{name!r}: " in text
    done = sent(tmp_path, {"gpu_runtime": {"action": "unheard of"}}, gpu_runtime="main")
    assert (done.returncode, done.stderr) == (1, "unknown action 'unheard of'.\n")


def test_the_registrys_question_is_sent_whole(tmp_path):
    done = sent(tmp_path, {"registry": {"image": "a/b:1", "seconds": 0.1}}, registry="look")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["registry"]


def test_a_program_that_stops_says_its_sentence_and_no_more(tmp_path):
    keys = tmp_path / ".ssh" / "authorized_keys"
    keys.mkdir(parents=True)
    done = sent(tmp_path, {"rank_access": {"action": "revoke", "stack": "dgx"}}, rank_access="main")
    assert done.returncode == 1
    assert done.stderr == f"{(tmp_path / '.ssh' / 'authorized_keys')} cannot be read (Is a directory).\n"
    assert done.stdout == ""


def test_the_probe_runs_on_any_linux(tmp_path):
    """What is not there is an answer, not a failure."""
    done = sent(tmp_path, {"probe": {"hf_cache": "~/.cache/huggingface", "port": 8355}}, probe="look")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)["probe"]
    assert document["home"] == str(tmp_path)
    facts = parse("here", document)
    assert facts.ram.total > facts.ram.available > 0
    assert facts.disks["cache"].path == f"{tmp_path}/.cache/huggingface"
    assert facts.disks["cache"].free > 0
    assert "lo" in facts.interfaces or not facts.interfaces


EXEC = ROOT / "remote" / "node" / "rank_exec.sh"
#: What comes before the command: the kernel shall end a rank first.
FIRST = "{ echo 1000 >/proc/self/oom_score_adj; } 2>/dev/null"


def rank_exec(folder: Path, running: str, asked: str | None) -> subprocess.CompletedProcess[str]:
    """Run with a `docker` that lists `running` and then prints the words it is called with."""
    docker = folder / "docker"
    docker.write_text(
        f'#!/bin/sh\nif [ "$1" = ps ]; then printf %s "{running}"; '
        'else for word in "$@"; do printf "<%s>" "$word"; done; fi\n'
    )
    docker.chmod(0o755)
    env = {"PATH": f"{folder}:{os.environ['PATH']}"}
    if asked is not None:
        env["SSH_ORIGINAL_COMMAND"] = asked
    return subprocess.run(["sh", str(EXEC)], env=env, capture_output=True, text=True, check=False)


def test_the_forced_command_is_valid_sh():
    subprocess.run(["sh", "-n", str(EXEC)], check=True)


@pytest.mark.parametrize("asked", ["orted -mca x 'a b'", "sh -c 'echo $HOME; id'", "true"])
def test_the_forced_command_runs_what_mpirun_asks_in_the_newest_container(tmp_path, asked):
    done = rank_exec(tmp_path, "new\nold\n", asked)
    assert done.stdout == f"<exec><--interactive><new><bash><-c><{FIRST}; {asked}>"
    score = subprocess.run(
        ["bash", "-c", f"{FIRST}; cat /proc/self/oom_score_adj"], capture_output=True, text=True, check=True
    )
    assert int(score.stdout) == processes.FIRST_TO_END


def test_a_bare_login_only_proves_that_the_container_is_there(tmp_path):
    assert rank_exec(tmp_path, "new\n", None).stdout.endswith(f"<bash><-c><{FIRST}; true>")


def test_no_container_is_an_error_that_says_so(tmp_path):
    done = rank_exec(tmp_path, "", "orted")
    assert (done.returncode, done.stdout) == (125, "")
    assert "no rank container of stack" in done.stderr
