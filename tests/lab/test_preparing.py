"""Docker on a real node prepared and given back: fresh, an owner's, and broken by hand.

On the system's Docker (20.10 on Debian 12), and among the long tests on a Spark's own generation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster import gpu_clock as clock_plan
from cluster import preparation
from cluster.errors import TrtSparkError
from cluster.facts import Facts
from cluster.parsing import parse
from lab.engines import DOCKER
from lab.state import Lab
from remote import gpu_clock, gpu_runtime, node
from remote.ssh import Connection, SshShell
from tests.lab import stack as stacks
from tests.lab.sparks import Spark, fresh, lab, sparks_of

pytestmark = [pytest.mark.lab, pytest.mark.long]
NAME = "t-prep"
GENERATIONS = ["", pytest.param(DOCKER, marks=pytest.mark.long)]
DAEMON, TOML = "/etc/docker/daemon.json", "/etc/nvidia-container-runtime/config.toml"


@pytest.fixture(scope="module", params=GENERATIONS, ids=["docker-20.10", "docker-29"])
def spark(request: pytest.FixtureRequest) -> Iterator[Spark]:
    """One fresh Spark whose sudo asks for no password; its user is not in group docker."""
    words = ["--docker", request.param] if request.param else []
    with fresh(NAME, "--nodes", "1", "--variant=sudo-nopasswd", *words):
        yield sparks_of(NAME)[0]


def description() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Lab(NAME).description.read_text())
    return found


def login() -> Connection:
    there = description()
    one = there["nodes"][0]
    return Connection(one["host"], one["user"], one["port"], one["host_key"], there["identity"])


def props(spark: Spark, group: bool = True) -> dict[str, Any]:
    uuid = spark.run("nvidia-smi --query-gpu=uuid --format=csv,noheader")
    owner = {"stack": "lab", "takeOver": ""}
    return {**owner, "gpu": uuid, "connection": login().as_props(), "group": group}


def docker_info(spark: Spark) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(spark.root("docker info --format '{{json .}}'"))
    return found


def daemon_started(spark: Spark) -> str:
    return spark.root("stat -c %Y.%Z /proc/$(cat /var/run/docker.pid)")


def machine(spark: Spark) -> str:
    """Everything that preparing may change."""
    return spark.root(
        f"cat {DAEMON} 2>&1; md5sum {TOML}; stat -c '%n %a %U' {DAEMON} {TOML} 2>&1; id -nG nvidia;"
        " ls -A /etc/docker /etc/nvidia-container-runtime /var/lib/trtspark 2>&1;"
        " docker info --format '{{.DefaultRuntime}} {{json .GenericResources}}'"
    )


@contextmanager
def given_back(spark: Spark) -> Iterator[None]:
    """Whatever is prepared in between is given back, and the machine is what it was."""
    before = machine(spark)
    try:
        yield
    finally:
        gpu_runtime.give_back(props(spark))
    assert machine(spark) == before


@contextmanager
def settings(spark: Spark, text: str) -> Iterator[None]:
    """An owner's daemon.json, which the running Docker has read where it can."""
    spark.root(f"cat >{DAEMON} <<'JSON'\n{text}\nJSON")
    spark.root("systemctl reset-failed docker; systemctl restart docker || true")
    try:
        yield
    finally:
        spark.root(f"rm -f {DAEMON}; systemctl reset-failed docker; systemctl restart docker")


# --- by the node's own program


def test_a_fresh_spark_and_back(spark):
    with given_back(spark):
        done = gpu_runtime.prepare(props(spark))
        assert done == {"changed": [DAEMON, TOML], "docker": "restarted", "login": False}
        # The next login is a new one, with the new group.
        assert SshShell(login()).run("docker info --format '{{.DefaultRuntime}}'").out == "nvidia\n"
        found = gpu_runtime.look(props(spark))
        assert found[preparation.GROUP] == "member"
        assert found[preparation.HAS_GPU] == f"NVIDIA_GPU={props(spark)['gpu']}"
        started = daemon_started(spark)
        assert gpu_runtime.prepare(props(spark)) == {"changed": [], "docker": "", "login": False}
        assert daemon_started(spark) == started


def test_without_the_key_nobody_is_put_into_group_docker(spark):
    before = machine(spark)
    with pytest.raises(TrtSparkError, match="Docker does not answer"):
        gpu_runtime.prepare(props(spark, group=False))
    assert machine(spark) == before


def test_an_owners_settings_keep_their_order_their_style_and_their_bytes(spark):
    text = '{\n  "log-driver": "local",\n  "labels": ["whose=mine"],\n  "debug": false\n}'
    with settings(spark, text):
        with given_back(spark):
            gpu_runtime.prepare(props(spark))
            now = spark.root(f"cat {DAEMON}")
            assert now.startswith(text.removesuffix("\n}") + ',\n  "runtimes": {\n    "nvidia": {')
            assert spark.root(f"cat {DAEMON}.before-trtspark") == text
        assert docker_info(spark)["Labels"] == ["whose=mine"]


def test_an_empty_file_is_no_settings(spark):
    spark.root(f": >{DAEMON}")
    try:
        with given_back(spark):
            gpu_runtime.prepare(props(spark))
            assert docker_info(spark)["DefaultRuntime"] == "nvidia"
    finally:
        spark.root(f"rm -f {DAEMON}")


def test_a_broken_file_is_refused_untouched_and_docker_goes_on(spark):
    spark.root(f"printf '{{' >{DAEMON}")
    try:
        before, started = machine(spark), daemon_started(spark)
        with pytest.raises(TrtSparkError, match=r"is not valid JSON .* it was not touched"):
            gpu_runtime.prepare(props(spark))
        assert (machine(spark), daemon_started(spark)) == (before, started)
    finally:
        spark.root(f"rm -f {DAEMON}")


def test_edited_in_between_only_ours_is_taken_back(spark):
    before = machine(spark)
    gpu_runtime.prepare(props(spark))
    edited = json.loads(spark.root(f"cat {DAEMON}")) | {"log-driver": "local"}
    spark.root(f"cat >{DAEMON} <<'JSON'\n{json.dumps(edited)}\nJSON")
    spark.root(f'sed -i \'s/log-level = "info"/log-level = "debug"/\' {TOML}')
    gpu_runtime.give_back(props(spark))
    assert json.loads(spark.root(f"cat {DAEMON}")) == {"log-driver": "local"}
    assert 'log-level = "debug"' in spark.root(f"cat {TOML}")
    assert '#swarm-resource = "DOCKER_RESOURCE_GPU"' in spark.root(f"cat {TOML}")
    spark.root(f'rm {DAEMON}; sed -i \'s/log-level = "debug"/log-level = "info"/\' {TOML}')
    assert machine(spark) == before


def test_what_a_reload_takes_does_not_restart_docker(spark):
    resource = f"NVIDIA_GPU={props(spark)['gpu']}"
    with settings(spark, json.dumps({"node-generic-resources": [resource]})):
        spark.root("gpasswd -a nvidia docker")
        SshShell(login()).close()
        started = daemon_started(spark)
        with given_back(spark):
            assert gpu_runtime.prepare(props(spark))["docker"] == "reloaded"
            assert docker_info(spark)["DefaultRuntime"] == "nvidia"
        assert docker_info(spark)["DefaultRuntime"] == "runc"
        assert daemon_started(spark) == started
        spark.root("gpasswd -d nvidia docker")
        SshShell(login()).close()


def test_settings_that_dockerd_would_not_start_with_are_refused_where_it_can_be_asked(spark):
    """As far as Docker 23 and later tell; an older one is not asked, and gets the file back if it dies."""
    text = '{"bogus-directive": true}'
    spark.root(f"cat >{DAEMON} <<'JSON'\n{text}\nJSON")
    try:
        with pytest.raises(TrtSparkError, match=r"would not start with our keys|is as it was"):
            gpu_runtime.prepare(props(spark))
        assert spark.root(f"cat {DAEMON}") == text
    finally:
        spark.root(f"rm -f {DAEMON}; systemctl reset-failed docker; systemctl restart docker")
        gpu_runtime.give_back(props(spark))


def test_the_sudoers_lines_of_the_docs_are_enough(spark):
    """sudo asks for a password for all else."""
    block = (stacks.ROOT / "docs/preparing.md").read_text().partition("```sudoers\n")[2].partition("```")[0]
    lines = "\n".join(line.strip() for line in block.splitlines())
    spark.root(
        "mv /etc/sudoers.d/90-nopasswd /root/90-nopasswd; umask 0337; "
        f"cat >/etc/sudoers.d/trtspark <<'TEXT'\n{lines}\nTEXT\nvisudo -c -f /etc/sudoers.d/trtspark"
    )
    try:
        assert "password is required" in spark.ssh("sudo -n id").stderr
        with given_back(spark):
            gpu_runtime.prepare(props(spark))
            edited = json.loads(spark.root(f"cat {DAEMON}")) | {"log-driver": "local"}
            spark.root(f"cat >{DAEMON} <<'JSON'\n{json.dumps(edited)}\nJSON")
            gpu_runtime.prepare({**props(spark), "gpu": "GPU-another"})
            spark.root(f"rm {DAEMON}")
    finally:
        spark.root("rm -f /etc/sudoers.d/trtspark; mv /root/90-nopasswd /etc/sudoers.d/90-nopasswd")


def test_a_cap_on_the_clock_is_kept_over_a_power_cut_and_given_back(spark):
    """By the documents' sudo rules alone, with a systemd unit that the simulated driver takes for real."""
    blocks = (stacks.ROOT / "docs/preparing.md").read_text().split("```sudoers\n")
    lines = "\n".join(line.strip() for line in blocks[3].partition("```")[0].splitlines())
    asks = {"stack": "lab", "takeOver": "", "connection": login().as_props(), "limit": 2200}
    spark.root(
        "mv /etc/sudoers.d/90-nopasswd /root/90-nopasswd; umask 0337; "
        f"cat >/etc/sudoers.d/trtspark <<'TEXT'\n{lines}\nTEXT\nvisudo -c -f /etc/sudoers.d/trtspark"
    )
    spark.root("echo clock=2418 >/etc/lab/gpu-state")
    smi = "nvidia-smi --query-gpu=clocks.sm --format=csv,noheader,nounits"
    try:
        assert spark.run(smi) == "2418"
        assert spark.ssh("nvidia-smi -lgc 0,2200").returncode == 4, "it takes root"
        assert gpu_clock.cap(asks)
        assert not gpu_clock.cap(asks)
        assert spark.run(smi) == "2190"
        assert gpu_clock.look(asks) == clock_plan.wanted(2200)
        assert parsed(spark).clock_limit == 2200
        lab("power", "off", "spark-1", name=NAME)
        lab("power", "on", "spark-1", name=NAME)
        assert spark.run(smi) == "2190"
        spark.root("nvidia-smi -rgc")
        assert gpu_clock.look(asks)["now"] == "not in force (2418 MHz)"
        assert gpu_clock.cap(asks)
        with pytest.raises(TrtSparkError, match="3003"):
            gpu_clock.cap({**asks, "limit": 3100})
        assert gpu_clock.give_back(asks)
        assert spark.run(smi) == "2418"
        assert not spark.root(
            "ls /etc/systemd/system/trtspark* /var/lib/trtspark/gpu-clock* 2>/dev/null || true"
        )
    finally:
        spark.root(
            "rm -f /etc/sudoers.d/trtspark /etc/lab/gpu-state; "
            "[ ! -e /root/90-nopasswd ] || mv /root/90-nopasswd /etc/sudoers.d/90-nopasswd"
        )


def parsed(spark: Spark) -> Facts:
    result = SshShell(login()).run(node.command({"probe": {}}), stdin=node.program(probe="look"))
    return parse("spark-1", node.answer(result.out)["probe"])


# --- by Pulumi: what somebody breaks by hand is shown and mended


@pytest.fixture(scope="module")
def stack(spark: Spark, tmp_path_factory: pytest.TempPathFactory) -> Iterator[stacks.Stack]:
    """Prepared from fresh, with the ranks stopped: this is about the machine."""
    one = stacks.create(Path(tmp_path_factory.mktemp("prep")) / "project", description())
    one.set("dockerGroup", True)
    one.set("running", False)
    yield one
    one.pulumi("destroy", "--yes", "--skip-preview", ok=False)


def test_without_the_key_the_preview_says_the_one_line(spark, stack):
    stack.set("dockerGroup", None)
    run = stack.pulumi("preview", ok=False)
    stack.set("dockerGroup", True)
    assert run.code != 0
    assert "sudo usermod -aG docker nvidia" in run.text
    assert "pulumi config set dockerGroup true" in run.text


def test_the_preview_says_that_docker_restarts(spark, stack):
    before = machine(spark)
    run = stack.pulumi("preview", "--diff")
    assert "Docker will restart" in run.text
    assert "group docker: not a member -> member" in run.text
    assert machine(spark) == before


def test_up_from_fresh(spark, stack):
    stack.machine_before = machine(spark)
    stack.up()
    assert gpu_runtime.look(props(spark))[preparation.GROUP] == "member"
    assert set(stack.up().counts) == {"unchanged"}
    assert "unchanged" in stack.pulumi("refresh", "--yes", "--skip-preview").text


def without(key: str) -> str:
    return (
        f"python3 - <<'PY'\nimport json\np='{DAEMON}'\nf=json.load(open(p))\ndel f['{key}']\n"
        "json.dump(f,open(p,'w'))\nPY"
    )


BROKEN = {
    "the default runtime is gone from the file": (without("default-runtime"), preparation.DEFAULT),
    "the runtime is gone from the file": (without("runtimes"), preparation.RUNTIME),
    "the line of config.toml is a comment again": (
        f"sed -i 's/^swarm-resource/#swarm-resource/' {TOML}",
        preparation.LINE,
    ),
    "the running Docker has another default": (
        f'cp -p {DAEMON} /root/kept; sed -i \'s/"default-runtime": "nvidia"/"default-runtime": "runc"/\' '
        f"{DAEMON}; systemctl reload docker; sleep 1; cat /root/kept >{DAEMON}; rm /root/kept",
        preparation.HAS_DEFAULT,
    ),
    "the running Docker does not offer the GPU": (
        f"cp -p {DAEMON} /root/kept; {without('node-generic-resources')}\n"
        f"systemctl reset-failed docker; systemctl restart docker; cat /root/kept >{DAEMON}; rm /root/kept",
        preparation.HAS_GPU,
    ),
    "the user is not in group docker": ("gpasswd -d nvidia docker", preparation.GROUP),
}


@pytest.mark.parametrize(("breaking", "thing"), BROKEN.values(), ids=BROKEN)
def test_a_thing_broken_by_hand_is_shown_and_mended(spark, stack, breaking, thing):
    spark.root(breaking)
    shown = stack.pulumi("refresh", "--yes", "--skip-preview", "--diff", ok=False)
    assert thing in shown.text, shown.text
    assert "head-gpu-runtime" in shown.text
    stack.up()
    found = gpu_runtime.look(props(spark))
    assert found == {**found, **WHOLE, preparation.HAS_GPU: f"NVIDIA_GPU={props(spark)['gpu']}"}
    assert set(stack.up().counts) == {"unchanged"}


WHOLE = {
    preparation.GROUP: "member",
    preparation.RUNTIME: "there",
    preparation.DEFAULT: "nvidia",
    preparation.LINE: preparation.SWARM_RESOURCE,
    preparation.HAS_RUNTIME: "there",
    preparation.HAS_DEFAULT: "nvidia",
}


def test_broken_and_not_refreshed_the_next_up_mends_it_too(spark, stack):
    spark.root(without("default-runtime"))
    run = stack.pulumi("preview", "--diff")
    assert f"{preparation.DEFAULT}: none -> nvidia" in run.text
    stack.up()
    assert gpu_runtime.look(props(spark))[preparation.DEFAULT] == "nvidia"


def test_destroy_gives_the_machine_back(spark, stack):
    stack.destroy()
    assert machine(spark) == stack.machine_before
