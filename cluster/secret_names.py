"""Which names stand for a secret: of settings, options, variables, headers and keys of a document."""

from __future__ import annotations

import re

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
#: Words of a name (camelCase, snake_case, kebab-case) under which any value is one, a number too.
_ALWAYS = frozenset(
    {
        *("secret", "password", "passwords", "passwd", "passphrase", "passcode", "pass", "pwd", "pw", "psk"),
        *("credential", "credentials", "creds", "apikey", "authorization", "cookie", "cookies", "otp"),
        *("encryptionsalt", "encryptedkey"),
    }
)
#: And those under which a number is a count.
_OFTEN = frozenset({"token", "tokens", "jwt", "serial", "auth", "bearer", "pat", "passkey"})
#: "key" alone is often a name; with one of these before it, it is a key.
_KEYS = frozenset(
    {
        *("private", "api", "access", "secret", "ssh", "unlock", "mpi", "signing", "encryption", "account"),
        *("subscription", "auth", "shared", "master", "license", "storage", "client", "service", "session"),
        *("deploy", "admin", "fernet"),
    }
)
#: Written as one word: PGPASSWORD, hftoken.
_JOINED = re.compile(
    r"(?:pass(?:word|wd|phrase|code)?s?|apikeys?|secretkey|privatekey|accesskey|authkey|accountkey"
    r"|(?:hf|gh|git|github|gitlab|auth|access|api|id|identity|registry|refresh|bearer|user|session|bot|ngc"
    r"|nvidia|docker|pulumi|wandb|npm|pypi|join|security|private)tokens?)$"
)
_NO_PASS = frozenset({"bypass", "compass", "trespass", "surpass", "multipass", "singlepass", "passes"})
#: With one of these, too, it is a count, a place, or the name or id of one of Swarm's objects.
_HARMLESS = frozenset(
    {
        *(
            "max",
            "num",
            "per",
            "count",
            "counts",
            "name",
            "names",
            "id",
            "ids",
            "file",
            "path",
            "dir",
            "folder",
        ),
        *("rate", "limit", "type", "ready", "expires", "expiry", "ttl", "length", "size", "provider", "min"),
        *("usage", "budget", "helper", "required", "format", "policy", "method", "total", "avg", "mean"),
    }
)
#: Tokens of a text, and passes of a compiler.
_PLAIN = frozenset(
    {
        *(
            "eos",
            "bos",
            "pad",
            "unk",
            "sep",
            "cls",
            "mask",
            "image",
            "special",
            "stop",
            "next",
            "added",
            "first",
        ),
        *("output", "input", "prompt", "completion", "generated", "draft", "context", "forward", "backward"),
        *("prefill", "decode", "fusion", "second", "last", "new", "cached", "reasoning", "accepted", "begin"),
        *("end", "audio", "video", "ignore"),
    }
)


def is_secret(name: str) -> bool:
    """Whether what stands under `name` is a secret."""
    words = [word.lower() for word in _WORDS.findall(name)]
    found = set(words)
    if words[-2:] == ["id", "token"]:
        return True
    if found & _HARMLESS or (found & _PLAIN and found & {"token", "tokens", "pass"}):
        return False
    if found & _ALWAYS or found & _OFTEN or any(_joined(word) for word in words):
        return True
    keys = [place for place, word in enumerate(words) if word in ("key", "keys")]
    return any(place and words[place - 1] in _KEYS for place in keys)


def takes_numbers(name: str) -> bool:
    """Whether a number under that name may be the secret: a password's, but not a count of tokens."""
    words = {word.lower() for word in _WORDS.findall(name)}
    return bool(words & _ALWAYS) or any(_joined(word) and "pass" in word for word in words)


def _joined(word: str) -> bool:
    return bool(_JOINED.search(word)) and word not in _NO_PASS
