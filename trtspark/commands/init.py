"""`trtspark init`: from two machines and a cable to a stack's configuration."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.errors import TrtSparkError
from remote import local_paths
from trtspark import terminal
from trtspark.project import Choice, Stack
from trtspark.questions import Questions

if TYPE_CHECKING:
    from cluster.config import Settings
    from cluster.facts import Facts
    from remote.preflight import Examination
    from trtspark.discovery import Neighbour
    from trtspark.setting_up import Flags, Plan

DEFAULT_STACK = "dgx"
DEFAULT_MODEL = "openai/gpt-oss-120b"
#: The check whose fix this command can write into the configuration (cluster/checks).
NO_DOCKER_GROUP = "docker.answers"


def run(
    context: typer.Context,
    node: Annotated[
        list[str] | None, typer.Option(help="[USER@]HOST[:PORT] of a Spark, the head first; repeatable.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="The user where --node names none (nvidia).")] = None,
    ssh_key: Annotated[str | None, typer.Option(help="A private key's path (your agent and ~/.ssh).")] = None,
    accept_host_key: Annotated[
        list[str] | None, typer.Option(help="SHA256:… of a host key that you have compared; repeatable.")
    ] = None,
    install_key: Annotated[
        bool | None,
        typer.Option(help="Put your public key on a Spark that refuses it; ssh asks the password."),
    ] = None,
    docker_group: Annotated[
        bool | None, typer.Option(help="Let `pulumi up` put the users into group docker.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model: a Hugging Face id, or a number of the list.")
    ] = None,
    hf_token_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file with a Hugging Face token.")
    ] = None,
    find: Annotated[bool, typer.Option(help="Look for Sparks on this network.")] = True,
    print_sudoers: Annotated[
        bool, typer.Option("--print-sudoers", help="Print the sudo rules as a block to paste, and end.")
    ] = False,
    install_sudoers: Annotated[
        bool | None,
        typer.Option(help="Install the sudo rules on nodes that lack them; sudo asks for the password."),
    ] = None,
) -> None:
    """Set a stack up: find the Sparks, check logins and host keys, look at them, choose the model.

    Asks for what no option answers, shows what the machines lack, and writes the configuration through
    Pulumi. On a stack that is there it changes only what is answered otherwise.

    Examples:

      trtspark init

      trtspark --stack dgx init --node nvidia@192.168.1.11 --node nvidia@192.168.1.12 \\
        --accept-host-key SHA256:… --accept-host-key SHA256:… --model openai/gpt-oss-120b
    """
    from cluster.other_model import taken_away
    from trtspark import setting_up
    from trtspark.discovery import neighbours

    ask, choice = Questions(), context.obj
    if print_sudoers:
        _print_sudoers(choice, user or setting_up.DEFAULT_USER, user is not None)
        return
    from remote import hub_token

    token = hub_token.of_file(hf_token_file) if hf_token_file else None
    folder, name, before = _stack(ask, choice)
    flags = setting_up.Flags(
        tuple(node or ()),
        user,
        ssh_key,
        tuple(accept_host_key or ()),
        install_key,
        docker_group,
        model,
        install_sudoers,
    )
    plan = setting_up.Plan(before)
    if ssh_key:
        plan.wanted["sshKey"] = str(local_paths.expanded(ssh_key).resolve())
    seen = _seen(neighbours) if find and not node and ask.interactive else []
    plan.wanted["nodes"] = setting_up.ask_nodes(ask, flags, plan, seen, setting_up.at_the_cable)
    _tell_of_the_key(flags, plan)
    facts = _look(name, plan)
    plan.wanted["model"] = _model(ask, flags, plan, name, facts)
    plan.wanted |= taken_away(before, plan.wanted["model"])
    _judge(ask, flags, plan, name)
    plan.settings()
    _write(ask, folder, name, plan, token)
    away = f"cd {shlex.quote(str(folder))} && " if folder != Path.cwd() else ""
    terminal.hint("Next:")
    terminal.out.print(f"{away}pulumi up --stack {name}", markup=False)


def _stack(ask: Questions, choice: Choice) -> tuple[Path, str, dict[str, Any]]:
    """The folder, the stack's name, and what it has set; nothing for a new one."""
    from trtspark.project import PROJECT, exists

    folder = choice.folder()
    name = ask.text(choice.stack, "--stack", "Name of the stack", DEFAULT_STACK)
    if not exists(folder, name):
        return folder, name, {}
    stack = Stack(folder, name)
    keys = [key.removeprefix(f"{PROJECT}:") for key in stack.config if key.startswith(f"{PROJECT}:")]
    return folder, name, {key: stack.raw(key) for key in keys}


def _print_sudoers(choice: Choice, user: str, given: bool) -> None:
    """The sudo rules for a user, or for those of the stack's nodes where there is one."""
    from trtspark import sudo_rules
    from trtspark.project import exists

    settings, names = None, [user]
    name = choice.stack or DEFAULT_STACK
    with suppress(TrtSparkError):  # without Pulumi, or before there is a stack, the rules are the usual ones
        folder = choice.folder()
        settings = Stack(folder, name).settings if exists(folder, name) else None
    if settings is not None and not given:
        names = list(dict.fromkeys(one.user for one in settings.nodes))
    terminal.out.print(sudo_rules.text(names, settings), end="", markup=False, highlight=False)


def _seen(neighbours: Callable[[], list[Neighbour]]) -> list[Neighbour]:
    """The machines on this network; says so when there are none."""
    with terminal.err.status("Looking for Sparks on this network"):
        found = neighbours()
    if not found:
        terminal.say(
            "No Sparks found on this network by mDNS. Type their host names or addresses: "
            "`hostname -I` on a Spark prints its addresses."
        )
    return found


def _tell_of_the_key(flags: Flags, plan: Plan) -> None:
    """Say which private key Pulumi will see, and how to avoid it."""
    from trtspark import login, setting_up

    connection = setting_up.connection_of(plan.wanted["nodes"][0], flags.ssh_key or plan.get("sshKey"))
    if notice := login.key_notice(connection, os.environ.get("SSH_AUTH_SOCK")):
        terminal.hint(notice)


def _look(stack: str, plan: Plan) -> tuple[Facts, ...]:
    """The nodes' facts, as far as they can be had: what is wrong is told later, with the model."""
    from remote.logins import connections
    from remote.preflight import examine

    trial = type(plan)(plan.before, {**plan.wanted, "model": plan.get("model") or DEFAULT_MODEL})
    settings = trial.settings()
    with terminal.err.status("Looking at the nodes"):
        return examine(stack, settings, connections(settings)).facts


def _model(ask: Questions, flags: Flags, plan: Plan, stack: str, facts: tuple[Facts, ...]) -> str:
    from remote.logins import connections
    from trtspark import nodes, setting_up, shelf

    current = plan.get("model")
    trial = type(plan)(plan.before, {**plan.wanted, "model": current or DEFAULT_MODEL})
    settings = trial.settings()
    answers = nodes.every(connections(settings), "models_cache", "look", {"hf_cache": settings.hf_cache})
    caches = {
        one.host: answer["models"]
        for one, answer in zip(settings.active_nodes, answers, strict=True)
        if not isinstance(answer, TrtSparkError)
    }
    rows = shelf.rows(settings, stack, facts, caches)
    if current is None:  # on a new stack the default is no model in use
        rows = [replace(row, current=False) for row in rows]
    if flags.model is None and ask.interactive:
        terminal.err.print(setting_up.show_models(rows))
    text = ask.text(
        flags.model,
        "--model",
        "The model (number or Hugging Face id)",
        current or DEFAULT_MODEL,
        lambda text: shelf.chosen(rows, text),
    )
    return shelf.chosen(rows, text)


def _judge(ask: Questions, flags: Flags, plan: Plan, stack: str) -> None:
    """Say what the machines lack and what the owner should do; nothing of it stops the writing."""
    from remote.logins import connections
    from remote.preflight import examine
    from trtspark import sudo_rules

    settings = plan.settings()
    with terminal.err.status("Checking"):
        found = examine(stack, settings, connections(settings))
    no_docker = [one for one in found.findings if one.check == NO_DOCKER_GROUP]
    lacks_group = [one for one in no_docker if "dockerGroup" in one.todo]
    if flags.docker_group is not None:
        plan.wanted["dockerGroup"] = flags.docker_group
    elif lacks_group and not settings.docker_group:
        nodes = ", ".join(one.node for one in lacks_group)
        if ask.yes(None, "--docker-group", f"{nodes}: not in group docker. Shall `pulumi up` change that?"):
            plan.wanted["dockerGroup"] = True
    if plan.get("dockerGroup") and not settings.docker_group:
        settings = plan.settings()
        found = examine(stack, settings, connections(settings))
    lacking = {one.node for one in found.findings if one.check == sudo_rules.MISSING}
    if lacking:
        found = _sudo(ask, flags, settings, stack, found, lacking)
    for error in found.errors:
        terminal.marked("FAIL", "bold red", str(error))
    for one in found.findings:
        terminal.marked(one.level, "bold red" if one.level == "FAIL" else "yellow", str(one))
    for note in found.notes:
        terminal.hint(note)
    if not found.errors and not found.findings:
        terminal.err.print("[green]The nodes have everything they need.[/]")


def _sudo(
    ask: Questions, flags: Flags, settings: Settings, stack: str, found: Examination, lacking: set[str]
) -> Examination:
    """Install the sudo rules where they are wanted, else show them as a block; what is found then."""
    from remote.logins import connections
    from remote.preflight import examine
    from trtspark import sudo_rules

    logins = [one for one in connections(settings) if one.host in lacking]
    where = " and ".join(one.target for one in logins)
    question = f"{where}: sudo asks for a password. Install rules that allow `pulumi up` its commands?"
    if ask.yes(flags.install_sudoers, "--install-sudoers", question):
        for one in logins:
            try:
                sudo_rules.install(one, settings)
                terminal.hint(f"{one.host}: the sudo rules are in place.")
            except TrtSparkError as error:
                terminal.error(str(error))
        return examine(stack, settings, connections(settings))
    terminal.say(f"Paste this into a shell on {where}:")
    names = list(dict.fromkeys(one.user for one in logins))
    terminal.err.print(sudo_rules.text(names, settings), markup=False)
    return found


def _write(ask: Questions, folder: Path, name: str, plan: Plan, token: str | None) -> None:
    from cluster import catalog
    from trtspark import writing
    from trtspark.project import exists

    if not exists(folder, name):
        asks = ask.interactive and not _passphrase()
        writing.create(folder, name, asks)
    stack = Stack(folder, name)
    todo = writing.changes(plan.before, plan.wanted)
    writing.write(stack, todo)
    for key in sorted(todo):
        terminal.hint(f"{name}: {key} {'is set' if todo[key] is not None else 'is taken away'}.")
    if not todo:
        terminal.hint(f"{name}: nothing was changed.")
    model = plan.get("model")
    if token is not None:
        writing.secret(folder, name, writing.SECRET, token)
        terminal.hint(f"{name}: {writing.SECRET} is set, encrypted.")
    elif catalog.known(model).gated and not plan.before.get(writing.SECRET):
        terminal.hint(f"{model} is gated: it takes a Hugging Face token whose account accepted its licence.")
        if ask.interactive and ask.yes(None, "--hf-token-file", "Set one now? Pulumi asks for it."):
            writing.secret(folder, name, writing.SECRET, None)


def _passphrase() -> bool:
    return any(name in os.environ for name in ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"))
