"""The table of bad inputs as a whole: how many of each kind, for the count in the tests and in the docs."""

from __future__ import annotations

from collections import Counter

from tests.unit import bad_inputs_config, bad_inputs_nodes, bad_inputs_ssh


def counts() -> Counter[str]:
    """The number of inputs by kind, in the order of the tables."""
    found = Counter(f"configuration: {kind}" for kind, *_ in bad_inputs_config.ROWS)
    found["tokens, at each of their entrances"] = len(bad_inputs_config.ENTRANCES) * len(
        bad_inputs_config.TOKENS
    )
    found["private ssh keys"] = len(bad_inputs_ssh.KEYS)
    found["settings of ssh"] = len(bad_inputs_ssh.SETTINGS)
    found["known_hosts files"] = len(bad_inputs_ssh.KNOWN_HOSTS)
    found["what ssh says of a machine"] = len(bad_inputs_ssh.SAID)
    found["answers of a node that are none"] = len(bad_inputs_nodes.ANSWERS)
    found["documents of a probe that cannot be understood"] = len(bad_inputs_nodes.DOCUMENTS)
    found["what sudo says"] = len(bad_inputs_nodes.SUDO)
    return found


def table() -> str:
    """The counts as a Markdown table."""
    rows = [*counts().items(), ("**all**", counts().total())]
    return "".join(f"| {kind} | {number} |\n" for kind, number in [("Kind", "Inputs"), ("---", "---"), *rows])
