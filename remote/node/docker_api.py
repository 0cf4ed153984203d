"""Docker's own API by its unix socket, and the login that its user has for a registry."""

import base64
import http.client
import json
import os
import socket
import subprocess

from remote.node import stop, untrusted

SOCKET = "/var/run/docker.sock"
ANSWER_S = 60
HELPER_S = 20
#: What Docker's client calls Docker Hub in its settings.
HUB = "https://index.docker.io/v1/"


class Docker(http.client.HTTPConnection):
    """One connection to the engine; `timeout` is for every single read, in seconds."""

    def __init__(self, path=SOCKET, timeout=ANSWER_S):
        super().__init__("docker", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def get(path, docker=SOCKET):
    """(HTTP status, JSON answer) of a GET. Raises Stop when Docker cannot be asked."""
    connection = Docker(docker)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, untrusted.load(untrusted.read(response) or b"{}")
    except PermissionError:
        raise stop.Stop("this user may not use Docker's socket (%s)" % docker) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise stop.Stop("Docker does not answer at %s (%s)" % (docker, error)) from None
    finally:
        connection.close()


def split(image):
    """(repository, tag or digest) of an image's name, as `docker pull` takes them; the tag is "latest" by
    default.
    """
    name, at, digest = image.partition("@")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return head + slash + last, digest if at else tag or "latest"


def registry(image):
    """The registry's HOST[:PORT], or HUB."""
    first, slash, _ = image.partition("/")
    known = slash and ("." in first or ":" in first or first == "localhost")
    return first if known and first not in ("docker.io", "index.docker.io") else HUB


def login(image):
    """The X-Registry-Auth header for a pull of `image`: what this user's `docker login` left, if anything.

    It is a secret: it goes to Docker and nowhere else.
    """
    return base64.urlsafe_b64encode(json.dumps(_credentials(registry(image))).encode()).decode()


def _credentials(server):
    folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    try:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as handle:
            config = json.load(handle)
        helper = (config.get("credHelpers") or {}).get(server) or config.get("credsStore")
        if helper:
            return _from_helper(helper, server)
        for address, entry in (config.get("auths") or {}).items():
            if _host(address) == _host(server) and (entry.get("auth") or entry.get("identitytoken")):
                user, _, password = base64.b64decode(entry.get("auth") or "").decode().partition(":")
                token = {"identitytoken": entry["identitytoken"]} if entry.get("identitytoken") else {}
                return {"username": user, "password": password, "serveraddress": server, **token}
    except (OSError, ValueError, AttributeError, KeyError):
        pass  # no login, or none that can be read: the registry says whether it needs one
    return {}


def _from_helper(helper, server):
    """What `docker-credential-HELPER` knows. Raises OSError or ValueError."""
    try:
        done = subprocess.run(
            ["docker-credential-" + os.path.basename(helper), "get"],
            input=server,
            capture_output=True,
            text=True,
            timeout=HELPER_S,
        )
    except subprocess.TimeoutExpired:
        return {}
    if done.returncode:
        return {}
    found = untrusted.load(done.stdout)
    if found["Username"] == "<token>":
        return {"identitytoken": found["Secret"], "serveraddress": server}
    return {"username": found["Username"], "password": found["Secret"], "serveraddress": server}


def _host(address):
    return address.split("://")[-1].partition("/")[0]
