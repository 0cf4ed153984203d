"""The work on one node: hash what is there, fetch what is missing, hand on what arrives.

One process, a thread per stream (what costs time, that is receiving, hashing and writing, runs without the
interpreter's lock). Its state is three files in this deployment's state folder: status.json for whoever
watches, journal.json with what a next run need not fetch again, weights.json with what was found whole.
"""

import base64
import errno
import os
import threading
import time
from typing import Any

from remote.node import detached
from remote.node import weights_cache as cache
from remote.node.weights_hub import Broken, Hub, Patience
from remote.node.weights_incoming import Incoming
from remote.node.weights_peer import Reader, Server

STATUS_S, JOURNAL_S, END_S = 0.25, 2.0, 1.0
PEERS_S = 60.0  # how long the addresses of the other nodes may take to come
READERS_S = 900.0  # how long to serve when no reader comes any more
PEER_STALL_S = 120.0
SLACK_S = 5.0  # a stream that notices by itself says more: it goes first


class Group:
    """Files from one source, and the streams that bring them. `readers[i]` is stream i's."""

    def __init__(self, files, readers, patience):
        self.files = sorted(files, key=lambda incoming: -incoming.size)
        self.readers, self.patience = readers, patience
        self.lock = threading.Lock()
        self._hashed = 0

    def choose(self, mine):
        """The file that a stream should work on: its own while there is something left to take, then one
        that nobody has begun, then the one with the fewest streams; None when all pieces are taken.
        """
        with self.lock:
            open_ones = [one for one in self.files if one.error is None and (one.todo and not one.whole)]
            chosen = mine if mine in open_ones else min(open_ones, key=lambda one: one.streams, default=None)
            if chosen is not mine:
                for one, change in ((mine, -1), (chosen, 1)):
                    if one is not None:
                        one.streams += change
            return chosen

    def check(self):
        """Raises Stop when a file cannot be had."""
        for one in self.files:
            if one.error:
                raise cache.Stop(one.error, "checksum")

    def stuck(self, slack):
        """Raises Stop when nothing has arrived for too long, `slack` seconds more, and nothing is hashed or
        written: streams may all wait for an answer, and notice nothing.
        """
        hashed = sum(one.hashed for one in self.files)
        busy = any(one.extents.count == one.size and not one.whole for one in self.files)
        if hashed != self._hashed or busy:
            self._hashed = hashed
            self.patience.last = max(self.patience.last, time.monotonic())
        if not self.whole:
            self.patience.check(slack)

    @property
    def whole(self):
        """Whether everything is there."""
        return all(one.whole for one in self.files)


class Agent:
    """`job`: see weights_job.start. `sockets` already listen."""

    def __init__(self, job, sockets):
        self.job, self.store = job, cache.Store(job)
        self.stopping, self.error, self.code, self.note = threading.Event(), None, "", ""
        self.state, self.hashed = "running", 0
        self.bad: list[int] = []
        self.good: set[int] = set()
        self.finished: set[int] = set()
        self.served: dict[int, int] = {}
        self.lock = threading.Lock()
        self.groups: list[Group] = []
        self.beat, self.connected = 0, not any(isinstance(source, int) for source in job["sources"])
        # Two files of one content are one blob, and come once.
        self.incoming: dict[int, Incoming] = {}
        self.arriving: dict[str, Incoming] = {}
        self.journal = cache.of_files(cache.read_json(self._path("journal.json")))
        for number, source in enumerate(job["sources"]):
            if source is not None:
                final = self.store.blob(self.store.files[number])
                self.incoming[number] = self.arriving.setdefault(final, self._incoming(number))
        if sockets:
            key = bytes.fromhex(job["key"])
            Server(sockets, key, self._entry, self._sent, self.finished.add, self._guarded)

    def _incoming(self, number):
        file = self.store.files[number] = {**self.store.files[number], "number": number}
        kept = self.journal.get(self.store.blob(file), {})
        spans = kept.get("spans") if kept.get("digest") == file["digest"] else None
        return Incoming(self.store, file, spans, self._arrived)

    def run(self):
        """All of it; ends when everything is here and every reader has what it came for."""
        threading.Thread(target=self._guarded, args=(self._report,), daemon=True).start()
        self._guarded(self._work)
        self._save()
        self._publish()
        if self.state == "done":
            self._serve()
        for incoming in self.arriving.values():
            incoming.close()

    def _work(self):
        self._hash()
        self._room()
        self._fetch()
        if self.error is None and not self.stopping.is_set():
            self._account()
            if not self.bad and self.job["install"]:
                self.store.install()
            self.state = "done"

    def _account(self):
        """Raises Stop unless every file that was to come is whole, and every hash has its answer."""
        torn = [one for one in self.arriving.values() if not one.whole or not os.path.isfile(one.final)]
        if torn:
            raise cache.Stop(
                "%s is not whole (%d of %d files)" % (torn[0].file["path"], len(torn), len(self.arriving))
            )
        unknown = set(self.job["hash"]) - self.good - set(self.bad)
        if unknown:
            raise cache.Stop("%s was not checked" % self.store.files[min(unknown)]["path"])

    def _guarded(self, work, *args):
        """`work(*args)`, whose failure fails the job: a thread never ends without a word.

        Of an exception that nobody expected the type alone is told: its text may quote the token.
        """
        try:
            work(*args)
        except cache.Stop as stop:
            self.fail(str(stop), stop.code)
        except OSError as error:
            self.fail(*_sentence(error))
        except BaseException as error:
            self.fail(detached.kind(error))
            detached.note(error)

    def fail(self, sentence, code=""):
        """The first reason counts; cluster/weights_failure.py knows what to do about each code."""
        if self.error is None:
            self.error, self.code = sentence, code
        self.state = "failed"
        self.stopping.set()

    # Hashing what is there

    def _hash(self):
        todo: list[int] = list(self.job["hash"])
        good: list[tuple[str, dict[str, Any]]] = []

        def work():
            while todo and not self.stopping.is_set():
                try:
                    number = todo.pop(0)
                except IndexError:
                    return
                file = self.store.files[number]
                path, _, _ = self.store.find(file)
                if path and cache.matches(path, file, self._count):
                    good.append((path, file))
                    self.good.add(number)
                else:
                    self.bad.append(number)

        self._together([(work,)] * min(len(todo), os.cpu_count() or 1))
        if good:
            self.store.remember(good, fetched=False)

    def _count(self, count):
        with self.lock:
            self.hashed += count

    # Fetching

    def _room(self):
        """The disk must hold what is missing, before the first byte is asked for."""
        need = 0
        for incoming in self.arriving.values():
            kept = self.journal.get(incoming.final, {}).get("spans", [])
            need += incoming.size - sum(end - start for start, end in kept)
        if not self.incoming:
            return
        folder = self.store.cache
        os.makedirs(folder, exist_ok=True)
        found = os.statvfs(folder)
        free = found.f_bavail * found.f_frsize
        if need > free:
            raise cache.Stop(
                "%.1f GB of the model are missing, and the disk of %s has %.1f GB free"
                % (need / 1e9, folder, free / 1e9),
                "disk-full",
            )

    def _fetch(self):
        streams, groups = [], []
        for group in self._groups():
            for incoming in group.files:
                if not incoming.size:
                    incoming.open()
            streams += [(self._stream, group, reader) for reader in group.readers]
            groups.append(group)
        for group in groups:
            group.patience.last = time.monotonic()
        self.groups = groups
        self._together(streams)

    def _together(self, works):
        """All of (function, arguments…) at once, until each has ended."""
        threads = [threading.Thread(target=self._guarded, args=work) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _groups(self):
        by_source: dict[str, list[Incoming]] = {}
        for number, source in enumerate(self.job["sources"]):
            if source is not None:
                mine = by_source.setdefault(str(source), [])
                if self.incoming[number] not in mine:
                    mine.append(self.incoming[number])
        for incoming in by_source.pop("sent", []):
            self._take_sent(incoming)
        if "hub" in by_source:
            hub = Hub(self.job["endpoint"], self.job["model"], self.job["commit"], self.job["token"])
            streams = [hub] * self.job["hub_streams"]
            yield Group(by_source.pop("hub"), streams, Patience(self.job["stall"], self.job["first"]))
        peers = self._peers() if by_source else {}
        for source, files in by_source.items():
            links = [tuple(link) for link in peers[source]]
            key = bytes.fromhex(self.job["key"])
            streams = self.job["streams"] or _streams(len(links), self.job["following"])
            readers = [Reader(links, key, lane, self.job["me"]) for lane in range(streams)]
            yield Group(files, readers, Patience(PEER_STALL_S, PEER_STALL_S, "peer-silent"))

    def _take_sent(self, incoming):
        """A file that came with the job."""
        content = base64.b64decode(self.job["sent"][incoming.file["path"]])
        incoming.open()
        incoming.write(memoryview(content), 0, 0)
        if not incoming.whole:
            raise cache.Stop("%s does not have the pinned checksum" % incoming.file["path"], "checksum")

    def _peers(self):
        """{source: [[own address, own interface, its address, its port]]}, which comes when all listen."""
        deadline = time.monotonic() + PEERS_S
        while True:
            found = cache.read_json(self._path("peers.json"))
            if found.get("job") == self.job["job"]:
                self.connected = True
                return found["peers"]
            if time.monotonic() > deadline or self.stopping.is_set():
                raise cache.Stop("the addresses of the other nodes did not come", "peer-silent")
            time.sleep(0.02)

    def _stream(self, group, reader):
        mine = None
        while not self.stopping.is_set() and not group.whole:
            mine = group.choose(mine)
            if mine:
                mine.open()
            piece = mine.take() if mine else None
            if piece:
                self._piece(group, reader, mine, *piece)
            else:
                group.check()
                self.stopping.wait(0.02)
        if isinstance(reader, Reader):
            if self.error is None and not self.stopping.is_set():
                reader.finish()
            reader.close()

    def _piece(self, group, reader, incoming, start, end, attempt):
        reached = [start]

        def sink(block, offset):
            if self.stopping.is_set():
                raise cache.Stop("stopped", "stopped")
            try:
                incoming.write(block, offset, attempt)
            except OSError as error:  # the disk's, which no other connection would mend
                raise cache.Stop(*_sentence(error)) from None
            reached[0] = offset + len(block)

        try:
            reader.read(incoming.file, start, end, sink, group.patience.alive)
            self.note = ""
        except Broken as error:
            incoming.give_back(reached[0], end, attempt)
            self.note = str(error)
            self.stopping.wait(group.patience.pause(error))

    def _arrived(self, incoming):
        with self.lock:
            self.store.remember([(incoming.final, incoming.file)], fetched=True)
        if not self.job["readers"]:
            incoming.close()

    # Serving

    def _entry(self, number):
        """For weights_peer.Server: how to open file `number`, how to wait for its bytes, its size."""
        incoming = self.incoming.get(number)
        if incoming is None:
            file = self.store.files[number]
            path, _, size = self.store.find(file)
            return (lambda: path), (lambda _position, _seconds: size), size

        def wait(position, seconds):
            with incoming.changed:
                if incoming.extents.reach(position) == position and not incoming.whole:
                    incoming.changed.wait(seconds)
                return incoming.size if incoming.whole else incoming.extents.reach(position)

        return (lambda: incoming.final if incoming.whole else incoming.part), wait, incoming.size

    def _sent(self, number, count):
        """A file is read by one node only: once it has gone out, nobody here needs its pages."""
        with self.lock:
            self.served[number] = self.served.get(number, 0) + count
            if self.served[number] < self.store.files[number]["size"]:
                return
        path, _, _ = self._entry(number)
        with open(path(), "rb") as source:
            cache.forget_pages(source.fileno())

    def _serve(self):
        quiet = time.monotonic() + READERS_S
        while len(self.finished) < self.job["readers"] and time.monotonic() < quiet:
            if self.stopping.wait(0.1):
                return

    # Telling

    def _report(self):
        saved = time.monotonic()
        ending = None
        while True:
            self._publish()
            self._guarded(self._quiet)
            if self.stopping.is_set() and self.state != "done":
                # Streams may hang in a dead connection for a while: what has arrived is kept without them.
                ending = ending or time.monotonic() + END_S
                if time.monotonic() > ending:
                    self.fail("stopped", "stopped")
                    self._save()
                    self._publish()
                    os._exit(1)
            elif time.monotonic() - saved > JOURNAL_S:
                self._save()
                saved = time.monotonic()
            time.sleep(STATUS_S)

    def _quiet(self):
        """Raises Stop when a group's streams bring nothing, even while all of them wait for an answer."""
        for group in self.groups if self.state == "running" else ():
            group.stuck(SLACK_S)

    def _publish(self):
        arriving, done, whole = [], 0, 0
        for incoming in self.arriving.values():
            count = incoming.size if incoming.whole else incoming.extents.count
            done, whole = done + count, whole + incoming.whole
            if count and not incoming.whole:
                arriving.append([incoming.file["path"], count, incoming.size])
        document = {
            "job": self.job["job"],
            "pid": os.getpid(),
            "nodes": self.job["nodes"],
            "connected": self.connected,
            "beat": self.beat,
            "state": self.state,
            "error": self.error,
            "code": self.code,
            "note": self.note,
            "bad": self.bad,
            "hashed": self.hashed,
            "checked": len(self.good) + len(self.bad),
            "cpu": sum(os.times()[:2]),
            "bytes": done,
            "size": sum(incoming.size for incoming in self.arriving.values()),
            "arriving": arriving,
            "whole": whole,
        }
        with self.lock:
            self.beat += 1
            cache.write_json(self._path("status.json"), document)

    def _save(self):
        """What has arrived is put on the disk, then on record: it is there after a power cut too."""
        for incoming in self.arriving.values():
            try:
                spans = incoming.saved()
            except OSError:
                continue
            if spans:
                self.journal[incoming.final] = {"digest": incoming.file["digest"], "spans": spans}
            elif incoming.whole:
                self.journal.pop(incoming.final, None)
        cache.write_json(self._path("journal.json"), self.journal, lasting=True)

    def _path(self, name):
        return os.path.join(self.store.folder, name)


def _streams(links, following):
    """Half of the cores receive, hash and write, the other half is the engine's; at least two on each link,
    as one thread's turn comes late on a busy machine.

    `following`: as many as the files that arrive at once where it is fetched, which is no work yet.
    """
    return links * max(2, (following or min(8, (os.cpu_count() or 1) // 2)) // links)


def _sentence(error):
    """(What the system said, the code of that kind of failure)."""
    where = " (%s)" % error.filename if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space is left on the disk%s" % where, "disk-full"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "%s%s: the cache must be this user's to write" % (error.strerror, where), "not-writable"
    return "%s%s" % (error.strerror or error, where), ""
