"""The pull of one image on one node, by Docker's own API: how far it is, and why it ended.

Docker shares what several pulls fetch at once, and ends a pull when nobody listens to it any more: this
process listens. Its state is status.json in the job's folder, for whoever watches; the folder goes with
a pull that is done, as the image is then its own record.
"""

import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.parse

from remote.node import detached, docker_api, untrusted
from remote.node.stop import Stop

STATUS_S = 0.25
#: Docker itself repeats a layer five times; here the whole pull is asked for again.
PAUSES_S = (5.0, 10.0, 20.0, 60.0)
#: Attempts in a row that bring nothing beyond what one before them had.
FRUITLESS = 3
MANIFEST_S = 30
#: Layers are unpacked to about twice their size; the containerd store keeps them as they came too. Less
#: than that cannot do, so that nothing is refused that would fit.
UNPACKED, KEPT = 2, 3
MESSAGE_BYTES = 1 << 20
WORDS = 800
#: What Docker's text says -> the kind of failure (cluster/image_pull.py explains it). The first counts.
KINDS = (
    ("space", r"no space left on device|disk quota exceeded"),
    ("rate", r"toomanyrequests|429 Too Many|rate limit"),
    (
        "platform",
        r"no matching manifest|no match for platform|does not match the (specified|detected) platform",
    ),
    ("tls", r"x509:|certificate|HTTP response to HTTPS client|tls:"),
    ("login", r"unauthorized|authentication required|no basic auth|denied|401 Unauthorized|403 Forbidden"),
    ("missing", r"manifest unknown|name unknown|not found|invalid reference"),
    ("address", r"no such host|server misbehaving|name resolution"),
    ("network", r"connection refused|timeout|no route|unreachable|EOF|reset by peer|502|503|504"),
)
#: Another try changes nothing about these.
FINAL = ("space", "rate", "platform", "tls", "login", "missing", "room")
DOWNLOADED = ("Verifying Checksum", "Download complete", "Extracting", "Pull complete")


class Failed(Exception):
    """The pull ended: `kind` of KINDS, and Docker's or the registry's own words."""

    def __init__(self, kind, said):
        super().__init__(said)
        self.kind, self.said = kind, said


def kind_of(said):
    """The kind of a failure by Docker's words; "other" for what is unknown."""
    return next((kind for kind, sign in KINDS if re.search(sign, said, re.I)), "other")


def words(said):
    """Somebody else's text, fit to be shown: one line, bounded, printable."""
    text = " ".join(str(said).split())
    return "".join(sign for sign in text if sign.isprintable())[:WORDS]


class Layers:
    """How far the layers are. `sizes`: {the first 12 digits of a digest: bytes}, {} where unknown."""

    def __init__(self, sizes):
        self.sizes = sizes
        self.seen: dict[str, tuple[str, int]] = {}
        self.there: set[str] = set()
        self.totals: dict[str, int] = {}
        self.got: dict[str, int] = {}
        self.unpacked: dict[str, int] = {}

    def hear(self, message):
        """Takes one of Docker's messages; True when it means that something moved."""
        layer, status = str(message.get("id") or ""), str(message.get("status") or "")
        detail = message.get("progressDetail") or {}
        current, total = int(detail.get("current") or 0), int(detail.get("total") or 0)
        if not layer or status.startswith(("Retrying", "Waiting", "Pulling from")):
            return False
        moved = self.seen.get(layer) != (status, current)
        self.seen[layer] = (status, current)
        if status in ("Already exists", "Layer already exists"):
            self.there.add(layer)
        elif status == "Pulling fs layer":
            self.totals.setdefault(layer, self.sizes.get(layer, 0))
        elif status == "Downloading":
            self.totals[layer] = self.sizes.get(layer) or total or self.totals.get(layer, 0)
            self.got[layer] = current
        elif status in DOWNLOADED:
            size = self.sizes.get(layer) or self.totals.get(layer, 0)
            self.totals[layer] = self.got[layer] = size
            if status == "Pull complete":
                self.unpacked[layer] = size
            elif status == "Extracting" and total:
                self.unpacked[layer] = min(size, current)
        return moved

    @property
    def size(self):
        """Bytes that have to come, as they travel; 0 while a layer's size is unknown."""
        totals = {**self.sizes, **self.totals}
        mine = [size for layer, size in totals.items() if layer not in self.there]
        return sum(mine) if self.totals and all(mine) else 0

    @property
    def bytes(self):
        return sum(count for layer, count in self.got.items() if layer not in self.there)


class Pull:
    """`job`: see pull_job.start."""

    def __init__(self, job, folder):
        self.job, self.folder = job, folder
        self.state, self.kind, self.error, self.note, self.beat = "running", "", "", "", 0
        self.layers = Layers({})
        self.moved = self.begun = time.monotonic()
        self.checked, self.downloading = False, 0.0
        self.lock = threading.Lock()

    def run(self):
        """All of it: until the image is there, or it is clear that it does not come."""
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # Docker ends the pull with the connection
        reporter = threading.Thread(target=self._report, daemon=True)
        reporter.start()
        try:
            self._pull()
        except Failed as failed:
            self.state, self.kind, self.error = "failed", failed.kind, words(failed.said)
        except Stop as stop:
            self.state, self.kind, self.error = "failed", "docker", words(stop)
        reporter.join()
        self._publish()
        if self.state == "done":
            shutil.rmtree(self.folder, ignore_errors=True)

    def _pull(self):
        known, most, fruitless = sizes(self.job["image"]), 0, 0
        pauses = self.job.get("pauses") or PAUSES_S
        while True:
            with self.lock:
                self.layers = Layers(known)
            self.moved = time.monotonic()
            try:
                self._attempt()
                self._usable()
            except Failed as failed:
                got = self.layers.bytes + sum(self.layers.unpacked.values())
                fruitless = 0 if got > most else fruitless + 1
                most = max(got, most)
                over = time.monotonic() - self.begun > self.job["limit"]
                silent = failed.kind == "stalled" and fruitless
                if failed.kind in FINAL or over or silent or fruitless >= FRUITLESS:
                    raise
                self.note = words(failed.said)
                time.sleep(pauses[min(fruitless, len(pauses) - 1)])
            else:
                self.state = "done"
                return

    def _attempt(self):
        repository, tag = docker_api.split(self.job["image"])
        query = urllib.parse.urlencode({"fromImage": repository, "tag": tag})
        connection = docker_api.Docker(self.job["socket"], timeout=self.job["stall"])
        try:
            headers = {"X-Registry-Auth": docker_api.login(self.job["image"])}
            connection.request("POST", "/images/create?" + query, headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                raise _failed(_message(response.read(MESSAGE_BYTES)))
            while line := response.readline(MESSAGE_BYTES):
                if line.strip():
                    self._hear(untrusted.load(line))
        except TimeoutError:
            raise Failed("stalled", self._stalled()) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Failed("network", "the connection to Docker broke: %s" % (error or type(error))) from None
        finally:
            connection.close()

    def _hear(self, message):
        if message.get("error"):
            raise _failed(str(message["error"]))
        now = time.monotonic()
        with self.lock:
            moved = self.layers.hear(message)
        if moved:
            self.moved, self.note = now, ""
        if self.layers.bytes and not self.downloading:
            self.downloading = now
        if now - self.moved > self.job["stall"]:
            raise Failed("stalled", self._stalled())
        if now - self.begun > self.job["limit"]:
            raise Failed("stalled", "%.0f hours were not enough" % (self.job["limit"] / 3600))
        # A moment later: by then Docker has said which layers are there already.
        if self.downloading and not self.checked and now - self.downloading > self.job["settle"]:
            self.checked = True
            self._room()

    def _stalled(self):
        minutes = self.job["stall"] / 60
        return "nothing arrived for %.0f min" % minutes + (" (%s)" % self.note if self.note else "")

    def _room(self):
        """The disk must hold what is still to come, unpacked."""
        _, info = docker_api.get("/info", self.job["socket"])
        containerd = any("io.containerd" in str(value) for _, value in info.get("DriverStatus") or [])
        place = str(info.get("DockerRootDir") or "/var/lib/docker")
        if containerd and os.path.isdir("/var/lib/containerd"):
            place = "/var/lib/containerd"
        need = (self.layers.size - self.layers.bytes) * (KEPT if containerd else UNPACKED)
        found = os.statvfs(place)
        free = found.f_bavail * found.f_frsize
        if need > free:
            said = "about %.1f GB are needed under %s for what is not there yet, and %.1f GB are free"
            raise Failed("room", said % (need / 1e9, place, free / 1e9))

    def _usable(self):
        """What came must be for this machine: an image of one platform alone is pulled on any."""
        found = image(self.job["image"], self.job["socket"])
        if not found:
            raise Failed("other", "Docker said that it was done, and has no such image")
        if found["problem"]:
            raise Failed("platform", found["problem"])

    def _report(self):
        while self.state == "running":
            with contextlib.suppress(OSError):  # a full disk: the end is told by the log, and by the silence
                self._publish()
            time.sleep(STATUS_S)

    def _publish(self):
        with self.lock:
            self.beat += 1
            document = {
                "job": self.job["job"],
                "pid": os.getpid(),
                "state": self.state,
                "kind": self.kind,
                "error": self.error,
                "note": self.note,
                "beat": self.beat,
                "bytes": self.layers.bytes,
                "size": self.layers.size,
                "unpacked": sum(self.layers.unpacked.values()),
            }
            detached.write_json(os.path.join(self.folder, "status.json"), document)


def image(name, docker=docker_api.SOCKET):
    """{} where it is not there; else its registry's digest ("" for none), and `problem` with its platform."""
    status, found = docker_api.get("/images/%s/json" % urllib.parse.quote(name, safe="/:@"), docker)
    if status == 404:
        return {}
    if status != 200:
        raise Stop(
            "Docker does not say whether %s is there (%s)" % (name, words(found.get("message", status)))
        )
    repository, _ = docker_api.split(name)
    digests = [str(one) for one in found.get("RepoDigests") or []]
    mine = [one for one in digests if one.partition("@")[0] == repository] or digests or [""]
    _, about = docker_api.get("/version", docker)
    image_for, machine = str(found.get("Architecture") or ""), str(about.get("Arch") or "")
    differ = image_for and machine and image_for != machine
    problem = "it is for %s, and this machine is %s" % (image_for, machine) if differ else ""
    return {"digest": mine[0], "problem": problem}


def sizes(name):
    """{first 12 digits of a layer's digest: bytes} by the registry, asked as Docker's client asks; {} where
    it does not say: then the totals come with the layers.
    """
    document = _manifest(name)
    if document.get("manifests"):
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "")
        fitting = [
            one
            for one in document["manifests"]
            if (one.get("platform") or {}).get("architecture") == machine and one.get("digest")
        ]
        repository, _ = docker_api.split(name)
        document = _manifest("%s@%s" % (repository, fitting[0]["digest"])) if fitting else {}
    try:
        return {str(one["digest"]).split(":")[1][:12]: int(one["size"]) for one in document["layers"]}
    except (KeyError, IndexError, TypeError, ValueError):
        return {}


def _manifest(name):
    try:
        done = subprocess.run(
            ["docker", "manifest", "inspect", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=MANIFEST_S,
        )
        found = untrusted.load(done.stdout) if done.returncode == 0 else {}
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {}
    return found if isinstance(found, dict) else {}


def _failed(said):
    return Failed(kind_of(said), said)


def _message(body):
    try:
        return str(untrusted.load(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")
