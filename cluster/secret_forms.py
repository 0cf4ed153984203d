"""What a secret looks like wherever it stands: tokens of known services, keys, headers, signed links."""

from __future__ import annotations

import re
from collections.abc import Sequence

REMOVED = "[removed]"
_START = r"(?<![A-Za-z0-9_-])"
#: Tokens by what they begin with, as the services that issue them document it.
_TOKENS = (
    r"(?:hf|api_org)_(?=[A-Za-z0-9]*[A-Z0-9])[A-Za-z0-9]{10,}|(?:hf|api_org)_[a-z]{16,}",  # Hugging Face
    r"sk-[A-Za-z0-9_-]{16,}|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{8,}",  # OpenAI and others, Stripe
    r"gh[pousr]_[A-Za-z0-9]{10,}|github_pat_[A-Za-z0-9_]{10,}",
    r"nvapi-[A-Za-z0-9_-]{8,}",
    r"(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}",
    r"xox[a-z]-[A-Za-z0-9-]{8,}|xapp-[A-Za-z0-9-]{8,}",  # Slack
    r"gl(?:pat|ptt|dt|rt|soat|cbt|ft|agent|oas)-[A-Za-z0-9_.-]{8,}",
    r"npm_[A-Za-z0-9]{20,}|pypi-[A-Za-z0-9_-]{16,}",
    r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{8,}",
    r"pul-[A-Za-z0-9]{16,}",
    r"AIza[A-Za-z0-9_-]{20,}|ya29\.[A-Za-z0-9_.-]{10,}",
    r"SG\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    r"hv[sbr]\.[A-Za-z0-9_-]{10,}",
    r"tskey-[A-Za-z0-9-]{8,}|dop_v1_[a-f0-9]{16,}|shp(?:at|ss|ca|pa)_[a-fA-F0-9]{16,}",
    r"AGE-SECRET-KEY-1[A-Z0-9]{10,}",
    r"SWM(?:TKN|KEY)-[\w+/=-]+",
    r"eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?|eyJ[A-Za-z0-9+/=_-]{24,}",  # JWT; Docker's X-Registry-Auth
)
_LOGIN = (
    r"\bsshpass\s+-p\s*|\blogin\b[^\n]{0,200}?\s-p[ =]?|\b(?:mysql|mariadb)\w*\b[^\n]{0,200}?\s-p"
    r"|\bredis-cli\b[^\n]{0,200}?\s-a[ =]?"
)
_BLOCK = r"-----BEGIN[A-Z0-9 %+]*PRIVATE(?: |%20|\+)KEY(?:(?: |%20|\+)BLOCK)?-----"
_BLOCK_END = r"-----END[A-Z0-9 %+]*PRIVATE(?: |%20|\+)KEY(?:(?: |%20|\+)BLOCK)?-----"
FORMS: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(rf"{_BLOCK}.*?(?:{_BLOCK_END}|\Z)", re.S), REMOVED),
    (re.compile(r"PuTTY-User-Key-File-.*?(?:Private-(?:MAC|Hash): *[0-9a-fA-F]+|\Z)", re.S), REMOVED),
    (
        re.compile(r"b3BlbnNzaC1rZXktdjE[A-Za-z0-9+/=\s]*"),
        REMOVED,
    ),  # an OpenSSH key without its lines around it
    *((re.compile(f"{_START}(?:{one})"), REMOVED) for one in _TOKENS),
    # name:password in an address, whatever is in the password; a name alone may be a token.
    (re.compile(r"://[^\s\"'<>/@:]{0,100}:(?:'(?![,\s)\]};:])|[^\s\"'<>]){0,300}@"), f"://{REMOVED}@"),
    (re.compile(r"://[^/@\s\"']{1,300}@"), f"://{REMOVED}@"),
    (re.compile(r"https://hooks\.slack\.com/services/[\w/]+"), f"https://hooks.slack.com/services/{REMOVED}"),
    # Signed links.
    (
        re.compile(
            r"(?i)([?&](?:x-(?:amz|goog|oss)-[\w-]+|signature|policy|key-pair-id|awsaccesskeyid|googleaccessid|sig"
            r"|sv|code|token|auth|key)=)[^&\s\"']+"
        ),
        rf"\1{REMOVED}",
    ),
    (
        re.compile(r"\b((?i:bearer|basic|negotiate))\s+(?=[\w.~+/=-]*[A-Z0-9=])[\w.~+/=-]{6,}"),
        rf"\1 {REMOVED}",
    ),
    (re.compile(r"\b((?i:bearer|basic|negotiate))\s+[\w.~+/=-]{20,}"), rf"\1 {REMOVED}"),
    (
        re.compile(r"\b(ssh-(?:ed25519|rsa)|ecdsa-sha2-[\w-]+)\s+AAAA[\w+/=]+(?:[ \t]+[^\s\"',]+)?"),
        rf"\1 {REMOVED}",
    ),
    # Pulumi's own encrypted values.
    (re.compile(r"\bv1:[A-Za-z0-9+/=]{12,}:[A-Za-z0-9+/=]{12,}"), REMOVED),
    # .netrc, curl -u, sshpass -p, docker login -p
    (re.compile(r"\b(login\s+\S+\s+password\s+)\S+"), rf"\1{REMOVED}"),
    (
        re.compile(r"(\s(?:-u|--user|--proxy-user|-U)[ =]?[\"']?[^\s:\"'-][^\s:\"']*:)[^\s\"']+"),
        rf"\1{REMOVED}",
    ),
    (
        re.compile(rf"({_LOGIN})(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s\"']+)"),
        rf"\1{REMOVED}",
    ),
    (re.compile(r"(?i)\b(pass(?:word|phrase) for [^:\n]{1,80}:\s*)\S+"), rf"\1{REMOVED}"),
    # YAML's blocks
    (
        re.compile(
            r"(?i)((?:password|passphrase|token|secret)[ \t]*:[ \t]*[|>][-+]?[ \t]*\n)"
            r"(?:[ \t]+\S.*\n?)+"
        ),
        rf"\1  {REMOVED}\n",
    ),
    # "the password is hunter2"
    (
        re.compile(
            r"(?i)\b((?:password|passphrase|passwd|api[ _-]?key|token|secret)\s+(?:is|was|of)\s+)"
            r"(?:\"[^\"\n]+\"|'[^'\n]+'|`[^`\n]+`|(?=[\w!@#$%^&*+/=.-]*\d)[^\s,;]{6,})"
        ),
        rf"\1{REMOVED}",
    ),
)
#: Headers whose whole line is one secret.
_HEADER = re.compile(
    r"(?i)(?P<quote>[\"']?)\b(?P<name>(?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]{0,40}(?:api-?key|auth|token)[\w-]{0,40}"
    r"|api-key)(?P<sep>\s*[:=]\s*)(?P<value>[^\n]+)"
)


def headers(text: str) -> str:
    """`text` without what such headers hold: to the end of the line, or of the quotes around the header."""
    return _HEADER.sub(_cut, text)


def _cut(found: re.Match[str]) -> str:
    value, quoted = found["value"], found["quote"]
    start = found[0][: found.start("value") - found.start()]
    closing = re.search(rf"(?<!\\){quoted}", value) if quoted else None
    rest = value[closing.start() :] if closing else ""
    if not quoted and value[0] in "\"'":
        # NAME="…": to the end of its quotes.
        end = value.find(value[0], 1)
        rest = value[end + 1 :] if end >= 0 else ""
    # Lines that a JSON text holds end with \n in two letters.
    if not rest and (cut := re.search(r"\\[nr]", value)):
        rest = value[cut.start() :]
    return f"{start}{REMOVED}{rest}"
