"""Every error a user can meet.

TrtSparkError
├── ConfigError      a key of the stack's configuration is wrong
├── NodeError        a machine cannot do what it must: says which, what was found, what to do
│   ├── Unreachable      no ssh session: address, user, key or host key
│   │   └── LoginRefused     sshd answers, and accepts no key of this user
│   └── NotPrepared      reached, but something it needs is missing or broken
├── PlanError        the machines are fine one by one but do not fit together
└── NotReady         a wait ended at its deadline: what was waited for, and the last thing seen

Messages are one line: a sentence for where and what was found, one for what to do.
"""

from __future__ import annotations

from cluster.plain_text import plain


class TrtSparkError(Exception):
    """Shown to the user as it is, without a stack trace; here, by Pulumi, and in a log."""

    def __init__(self, *texts: object) -> None:
        """What a machine or a server said in it cannot act on a terminal."""
        super().__init__(*(plain(one) if isinstance(one, str) else one for one in texts))


class ConfigError(TrtSparkError):
    """A key of the stack's configuration is wrong."""


class NodeError(TrtSparkError):
    """A machine cannot do what it must."""

    def __init__(self, node: str, found: str, todo: str) -> None:
        """`node` is its name (and address), `found` and `todo` a sentence each.

        What a machine said in them cannot act on the terminal.
        """
        found, todo = plain(found), plain(todo)
        super().__init__(f"{node}: {found} {todo}")
        self.node, self.found, self.todo = node, found, todo


class Unreachable(NodeError):
    """No ssh session could be had."""


class LoginRefused(Unreachable):
    """sshd answers, and accepts no key of this user."""


class NotPrepared(NodeError):
    """The machine was reached, but something it needs is missing or broken."""


class PlanError(TrtSparkError):
    """The machines do not fit together."""


class NotReady(TrtSparkError):
    """A wait ended at its deadline."""
