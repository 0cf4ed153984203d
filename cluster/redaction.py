"""Taking out of text and data what must not leave the owner's hands: secrets, keys, serial numbers.

Two nets: the values that are known to be secret are replaced wherever they stand, and everything that has
the form of a secret, or stands under a name of one, is replaced whatever its value. What tells machines
apart without naming them (a GPU's UUID, a MAC address) becomes a word that is the same all over a report.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

REMOVED = "[removed]"
#: Shorter values would take ordinary words apart.
_MIN_SECRET_CHARS = 4
#: Words of a name (camelCase, snake_case, kebab-case) under which a secret stands.
_SECRET_WORDS = frozenset(
    {
        *("token", "secret", "password", "passwd", "passphrase", "pass", "pwd", "credential", "credentials"),
        *("apikey", "authorization", "cookie", "serial", "jointoken", "jointokens", "tokens"),
    }
)
#: "key" alone is often a name; with one of these before it, it is a key.
_KEYS = frozenset({"private", "api", "access", "secret", "ssh", "unlock", "mpi", "signing", "encryption"})
#: With one of these, too, it is a count, or the name or id of one of Swarm's objects.
_HARMLESS = frozenset({"max", "num", "per", "count", "name", "id"})

#: hf_token, HF_TOKEN, hfToken, but neither maxNumTokens nor tiktoken.
_NAME = (
    r"(?:(?:[\w.-]*[_.-])?(?<![A-Za-z])(?:token|secret|passw(?:or)?d|passphrase|api[_-]?[kK]ey|access[_-]?[kK]ey"
    r"|private[_-]?[kK]ey|serial(?:[_-]?[nN]umber)?)"
    r"|[\w.-]*[a-z0-9](?:Token|Secret|Passw(?:or)?d|Passphrase|ApiKey|AccessKey|Serial(?:Number)?)"
    r"|(?:[A-Z0-9]+[_-])*(?:TOKEN|SECRET|PASSW(?:OR)?D|PASSPHRASE|API_?KEY|ACCESS_?KEY|SERIAL(?:_?NUMBER)?)"
    r"|Serial(?: Number)?|Password|Token)(?![A-Za-z])"
)
_PATTERNS: Sequence[tuple[re.Pattern[str], str]] = (
    (
        re.compile(
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.S
        ),
        REMOVED,
    ),
    (re.compile(r"SWM(?:TKN|KEY)-[\w+/=-]+"), REMOVED),
    (re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{10,}"), REMOVED),
    (re.compile(r"\b(?:sk|nvapi|ghp|github_pat|pul)-?_?[A-Za-z0-9_-]{20,}"), REMOVED),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), REMOVED),
    (re.compile(r"(?i)\b(bearer)\s+[\w.~+/=-]{6,}"), rf"\1 {REMOVED}"),
    (re.compile(r"(?i)\b(authorization|cookie|set-cookie)\s*[:=]\s*[^\n\"']+"), rf"\1: {REMOVED}"),
    (re.compile(r"://[^/@\s\"']+@"), f"://{REMOVED}@"),
    # Signed links of a CDN.
    (
        re.compile(r"(?i)([?&](?:x-amz-[\w-]+|signature|policy|key-pair-id|sig|token)=)[^&\s\"']+"),
        rf"\1{REMOVED}",
    ),
    (
        re.compile(r"\b(ssh-(?:ed25519|rsa)|ecdsa-sha2-[\w-]+)\s+AAAA[\w+/=]+(?:[ \t]+[^\s\"',]+)?"),
        rf"\1 {REMOVED}",
    ),
    # NAME=value, "name": "value", --name value
    (re.compile(rf"\b({_NAME}\"?\s*[=:]\s*)(\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&\"']+)"), rf"\1{REMOVED}"),
    (re.compile(rf"(--{_NAME}\s+)(\"[^\"\n]*\"|'[^'\n]*'|[^\s\"']+)"), rf"\1{REMOVED}"),
)
_GPU = re.compile(r"\bGPU-[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b")
_MAC = re.compile(r"\b(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b")


class Redaction:
    """What to take out. `secrets`: values that are known, of the configuration say."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        """Longer secrets first: one may be a part of another."""
        self._secrets = sorted({s for s in secrets if len(s) >= _MIN_SECRET_CHARS}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """`text` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, REMOVED)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        text = _GPU.sub(lambda found: f"GPU-{_alias(found[0])}", text)
        return _MAC.sub(lambda found: f"MAC-{_alias(found[0])}", text)

    def data(self, value: Any) -> Any:
        """Plain data likewise: every string, keys too, and all that stands under a secret's name."""
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): REMOVED if _secret(str(key), entry) else self.data(entry)
                for key, entry in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self.data(entry) for entry in value]
        return self.text(value) if isinstance(value, str) else value


def _secret(name: str, value: Any) -> bool:
    """Whether what stands under `name` is one. Numbers and nothing never are; data is looked into."""
    if value is None or isinstance(value, bool | int | float) or value in ("", [], {}):
        return False
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    lower = [word.lower() for word in words]
    if set(lower) & _HARMLESS:
        return False
    if set(lower) & _SECRET_WORDS:
        return not isinstance(value, Mapping | list) or lower[-1] in ("tokens", "credentials")
    keys = [place for place, word in enumerate(lower) if word in ("key", "keys")]
    return any(place and lower[place - 1] in _KEYS for place in keys) and isinstance(value, str)


def _alias(text: str) -> str:
    """The same word for the same thing, which cannot be turned back into it by guessing a few."""
    return hashlib.sha256(b"trtspark report " + text.lower().encode()).hexdigest()[:8]
