"""The provider's `registryAuth`: which credentials go with which registry."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path

from plugins.provider import OperationError
from plugins.wire import Properties

AUTH_PROPERTIES = {
    "address": str,
    "authDisabled": bool,
    "configFile": str,
    "configFileContent": str,
    "password": str,
    "username": str,
}

Credentials = dict[str, str]


def credentials(entries: list[Properties]) -> dict[str, Credentials]:
    """By registry host, what the Engine's X-Registry-Auth takes. Raises OperationError."""
    return {_host(str(entry["address"])): _credentials(entry) for entry in entries}


def _host(address: str) -> str:
    return address.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _credentials(entry: Properties) -> Credentials:
    address = str(entry["address"])
    scheme = "http" if address.startswith("http://") else "https"
    server = {"serveraddress": f"{scheme}://{_host(address)}"}
    username = entry.get("username") or os.environ.get("DOCKER_REGISTRY_USER")
    if entry.get("authDisabled"):
        return {**server, "username": "username", "password": "password"}
    if username:
        password = entry.get("password") or os.environ.get("DOCKER_REGISTRY_PASS", "")
        return {**server, "username": str(username), "password": str(password)}
    if content := entry.get("configFileContent"):
        return {**server, **_from_config(json.loads(str(content)), _host(address))}
    return {**server, **_from_config(_config_file(entry.get("configFile")), _host(address))}


def _config_file(named: str | None) -> Mapping[str, Properties]:
    path = Path(named or os.environ.get("DOCKER_CONFIG") or "~/.docker/config.json").expanduser()
    path = path / "config.json" if path.is_dir() else path
    try:
        content: Mapping[str, Properties] = json.loads(path.read_text())
    except OSError as error:
        raise OperationError(
            "Error loading registry auth config: could not open config file from filePath: "
            f"{path}. Error: {error.strerror}"
        ) from None
    return content


def _from_config(config: Mapping[str, Properties], host: str) -> Credentials:
    if config.get("credHelpers") or config.get("credsStore"):
        raise OperationError(
            f"registry {host}: this stand-in knows no credential helpers; give username and "
            "password, or use the vendor's plugin"
        )
    for address, entry in config.get("auths", {}).items():
        if _host(address) == host and entry.get("auth"):
            username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
            return {"username": username, "password": password}
    return {}
