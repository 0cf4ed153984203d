"""What single values of the configuration may be: each function returns the value, or raises ValueError.

The error's text says what is wrong with the value, as the part of a sentence that stands in parentheses
after it. Nothing here knows of keys.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator, Mapping
from ipaddress import AddressValueError, IPv4Address
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

#: Characters of one value. The longest that anybody needs is an RSA host key, under a thousand.
MAX_CHARS = 8192
#: Linux's own limit is 4096 bytes; the files below the folder need room in it too.
MAX_PATH_CHARS = 1024
#: Of one name in a path, as Linux's filesystems have it.
MAX_NAME_BYTES = 255
#: An ed25519 public key with its type, as RFC 8709 encodes it; those of the other types are longer.
ED25519_BYTES = 51
#: White space at the ends, which is taken off; \x1c to \x1f, which Python counts as such, are none.
_SPACE = re.compile(r"^[^\S\x1c-\x1f]+|[^\S\x1c-\x1f]+$")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
#: RFC 6750's form of a bearer token, which the Hub's have.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\$?")
#: The Hub's own rule, without "--" and "..".
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_HUB_ID_CHARS = 96
#: What git lets a branch or tag be called, as far as one on the Hub is.
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")
_VARIABLE = re.compile(r"(NCCL|UCX|GLOO)_[A-Z0-9_]+")
_STACK = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
#: Docker's grammar (distribution/reference): components of a repository, a tag, a digest.
_REPOSITORY = re.compile(r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_BARE_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{64}")
_HOST_KEY_TYPES = re.compile(r"ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)")
#: The kernel's own, which hold no files.
_NO_FOLDERS = ("/proc", "/sys", "/dev")


def unprintable(
    values: Any, where: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(path, what is wrong) of every text in plain data that nothing could use: with control characters,
    or without end. White space around a value is nobody's fault; a line break in an option of the engine
    may be meant.
    """
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _unprintable((*where, str(key)), str(key), "its name ")
            yield from unprintable(value, (*where, str(key)))
    elif isinstance(values, list | tuple):
        for index, value in enumerate(values):
            yield from unprintable(value, (*where, index))
    elif isinstance(values, str):
        allowed = "\n\t" if where[:1] == ("extraArgs",) else ""
        yield from _unprintable(
            where, _SPACE.sub("", values).translate({ord(c): None for c in allowed}), "it "
        )


def _unprintable(
    where: tuple[str | int, ...], text: str, what: str
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if len(text) > MAX_CHARS:
        yield where, f"{what}has {len(text)} characters, and {MAX_CHARS} at most"
    elif "\n" in text or "\r" in text:
        yield where, f"{what}holds a line break"
    elif odd := [c for c in text if not c.isprintable()]:
        yield where, f"{what}holds the character U+{ord(odd[0]):04X}, which cannot be printed"


def host(value: str) -> str:
    """A host name or an IPv4 address."""
    if "://" in value:
        raise ValueError("it is a URL; write the host alone")
    if "@" in value:
        raise ValueError("it has a user in it, who belongs under user")
    if value.count(":") > 1:
        raise ValueError("IPv6 addresses do not work here; write the IPv4 address")
    if ":" in value:
        raise ValueError("it has a port in it, which belongs under port")
    if value.endswith(".") and value.strip("."):
        raise ValueError("it ends with a dot; write it without")
    if "_" in value:
        raise ValueError("no host name has _ in it; write its IPv4 address, or another name of it")
    labels = value.split(".")
    if len(value) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("it is neither a host name nor an IPv4 address")
    if labels[-1].isdecimal():
        return _address(value)
    return value


def _address(value: str) -> str:
    try:
        address = IPv4Address(value)
    except AddressValueError:
        raise ValueError("it is not an IPv4 address: that is four numbers, 0 to 255") from None
    if address.is_multicast or address.is_unspecified or address == IPv4Address("255.255.255.255"):
        raise ValueError("it is no machine's own address")
    return value


def fabric_address(value: IPv4Address) -> IPv4Address:
    """An address that an interface can have."""
    if value.is_multicast or value.is_unspecified or value.is_loopback or value.is_reserved:
        raise ValueError("no interface on the fabric can have it")
    return value


def user(value: str) -> str:
    """A login name."""
    if not _USER.fullmatch(value):
        raise ValueError("it is not a login name")
    return value


def host_key(value: str) -> str:
    """A public host key, "type base64", without its comment."""
    if "PRIVATE KEY" in value:
        raise ValueError("it is a private key, which belongs nowhere but on its machine")
    kind, _, rest = value.strip().partition(" ")
    data = (rest.split() or [""])[0]
    if not _HOST_KEY_TYPES.fullmatch(kind):
        raise ValueError("it does not begin with a key type that OpenSSH has")
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    wrong_length = len(decoded) != ED25519_BYTES if kind == "ssh-ed25519" else len(decoded) < ED25519_BYTES
    if not decoded.startswith(len(kind).to_bytes(4, "big") + kind.encode()) or wrong_length:
        raise ValueError("it is cut off, or not a public key of this type")
    return f"{kind} {data}"


def hub_id(value: str) -> str:
    """A model on the Hub."""
    if "://" in value:
        raise ValueError("it is a URL; write the last two parts of it alone")
    fits = _HUB_ID.fullmatch(value) and len(value) <= _HUB_ID_CHARS
    if not fits or "--" in value or ".." in value or value.endswith(".git"):
        raise ValueError("it is not a Hub id, which has the form OWNER/NAME")
    return value


def revision(value: str) -> str:
    """A commit, branch or tag."""
    if not _REVISION.fullmatch(value) or ".." in value or value.endswith((".", ".lock")) or len(value) > 255:
        raise ValueError("it is not the name of a commit, branch or tag")
    return value


def image(value: str) -> str:
    """An image, by tag or digest."""
    if not value:
        raise ValueError("it is empty; `pulumi config rm image` brings the default back")
    if "://" in value:
        raise ValueError("it is a URL; write it without the part before the host")
    name, at, digest = value.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError("after its @ there is no digest, which is sha256: and 64 hex digits")
    first, slash, rest = name.partition("/")
    registry = bool(slash) and (first == "localhost" or "." in first or ":" in first)
    if registry:
        try:
            _registry(first)
        except ValueError as error:
            raise ValueError(f"its registry {first!r} is not HOST or HOST:PORT") from error
        name = rest
    repository, colon, tag = name.rpartition(":")
    if not colon:
        repository, tag = name, ""
    if colon and not _TAG.fullmatch(tag):
        raise ValueError("after its : there is no tag")
    if _BARE_DIGEST.fullmatch(value):
        raise ValueError("it is a digest alone; write the image's name and @ before it")
    if repository != repository.lower() and _REPOSITORY.fullmatch(repository.lower()):
        raise ValueError("Docker wants the part before the tag in lower case")
    if not _REPOSITORY.fullmatch(repository) or len(value) > 512:
        raise ValueError("it is not an image's name")
    return value


def _registry(text: str) -> None:
    name, colon, port = text.partition(":")
    host(name)
    if colon and not (port.isdecimal() and 0 < int(port[:6]) < 65536):
        raise ValueError("no port")


def folder(value: str) -> str:
    """An absolute path on the nodes, or one under ~, of a folder that files can be put into."""
    if not (value.startswith("/") or value == "~" or value.startswith("~/")):
        raise ValueError("it is not absolute")
    path = PurePosixPath(re.sub("^/+", "/", value))
    if ".." in path.parts:
        raise ValueError("it has .. in it")
    if len(value) > MAX_PATH_CHARS:
        raise ValueError(f"it has {len(value)} characters, and {MAX_PATH_CHARS} at most")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in path.parts):
        raise ValueError(f"a name in it is longer than {MAX_NAME_BYTES} bytes, which no file may have")
    # One spelling of each folder, so that another one is no change.
    text = str(path)
    if text == "/" or any(path.is_relative_to(one) for one in _NO_FOLDERS):
        raise ValueError("no model can be kept there")
    return text


def local_path(value: str) -> str:
    """A path on the operator's machine."""
    if not value:
        raise ValueError("it is empty")
    if len(value) > MAX_PATH_CHARS:
        raise ValueError(f"it has {len(value)} characters, and {MAX_PATH_CHARS} at most")
    return value


def web_address(value: str) -> str:
    """An address of HTTP without a name or password in it."""
    try:
        parts = urlsplit(value)
    except ValueError:
        raise ValueError("it is not an address of HTTP") from None
    if parts.username or parts.password:
        raise ValueError("it has a user or password in it")
    try:
        parts.port  # noqa: B018 - it is read where it is asked for
    except ValueError:
        raise ValueError("its port is no number from 0 to 65535") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\\]", value):
        raise ValueError("it is not an address of HTTP")
    return value


def file_name(value: str) -> str:
    """The name of a file, without a folder."""
    if not _FILE.fullmatch(value):
        raise ValueError(f"{value!r} is not a file's name")
    return value


def variable(name: str) -> str:
    """The name of an environment variable of the ranks' communication."""
    if "=" in name:
        raise ValueError(f"{name.partition('=')[0]}={name.partition('=')[2]}: a name has no = in it")
    if not _VARIABLE.fullmatch(name):
        raise ValueError(f"{name} is not NCCL_…, UCX_… or GLOO_… in capital letters")
    return name


def stack(value: str) -> str:
    """The name of a Pulumi stack."""
    if not _STACK.fullmatch(value):
        raise ValueError("it is not a stack's name")
    return value


def token(value: str) -> str:
    """A token of the Hub. What it holds is never in the error."""
    if "\n" in value or "\r" in value:
        raise ValueError("it holds a line break")
    if not value.isascii():
        raise ValueError("it holds characters other than ASCII")
    if value and not _TOKEN.fullmatch(value):
        raise ValueError("it holds a space or another character that no token has")
    return value


def as_text(value: object, true: str, false: str) -> object:
    """Booleans and numbers as the text that was meant; anything else as it is."""
    if isinstance(value, bool):
        return true if value else false
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else str(value)
    return value


def listed_text(value: object) -> object:
    """Anything but a list with numbers, which Python takes for addresses."""
    if isinstance(value, list | tuple) and any(isinstance(one, int) for one in value):
        raise ValueError("an address is four numbers with dots, in quotation marks")
    return value


def number(value: object) -> object:
    """Anything but true and false, which Python takes for 1 and 0."""
    if value is True or value is False:
        raise ValueError("it is not a number")
    return value
