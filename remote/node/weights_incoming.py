"""A file while it arrives: which bytes are there, how far they are hashed, and when it is whole.

Bytes come in pieces, from several streams, in any order. The digest follows the unbroken beginning: bytes
that arrive just there are hashed from memory, others are read back. Only a file whose digest is the Hub's
gets its name; until then it is DIGEST.trtspark-incomplete, a name that the Hub's own client never takes
for its own.
"""

import bisect
import fcntl
import os
import threading

from remote.node import weights_cache as cache

PIECE = 64 << 20  # bytes: what a stream asks for at once
ATTEMPTS = 3  # how often a file may arrive with the wrong content


class Extents:
    """Which bytes are there, as disjoint [start, end) in order."""

    def __init__(self, found=()):
        self.spans = [list(span) for span in found]

    def add(self, start, end):
        """These bytes are there now."""
        if start >= end:
            return
        low = bisect.bisect_left(self.spans, start, key=lambda span: span[1])
        high = bisect.bisect_right(self.spans, end, key=lambda span: span[0])
        if low < high:
            start, end = min(start, self.spans[low][0]), max(end, self.spans[high - 1][1])
        self.spans[low:high] = [[start, end]]

    def reach(self, position):
        """The end of the unbroken bytes from `position` on; `position` itself where there are none."""
        index = bisect.bisect_right(self.spans, position, key=lambda span: span[0]) - 1
        return max(position, self.spans[index][1]) if index >= 0 else position

    def gaps(self, size):
        """What is missing of `size` bytes, as [(start, end)] of at most PIECE each."""
        found, position = [], 0
        for start, end in [*self.spans, [size, size]]:
            while position < start:
                found.append((position, min(start, position + PIECE)))
                position = found[-1][1]
            position = end
        return found

    @property
    def count(self):
        """Bytes that are there."""
        return sum(end - start for start, end in self.spans)


class Incoming:
    """One file of a Store. `done(path)` is called when it is whole, by the stream that brought its last
    byte. Safe for several threads.
    """

    def __init__(self, store, file, journal, done):
        self.file, self.size, self.final, self.done = file, file["size"], store.blob(file), done
        self.part = self.final + ".trtspark-incomplete"
        self.changed = threading.Condition()
        self.streams, self.whole, self.error, self.attempts = 0, False, None, 0
        self._journal = journal
        self._descriptor: int = -1
        self._restart(Extents())

    def _restart(self, extents):
        self.extents, self.todo = extents, extents.gaps(self.size)
        self._digest, self.hashed, self._hashing = cache.hasher(self.file), 0, False

    def open(self):
        """Make the incomplete file, or take up the one that is there; before anything is written."""
        with self.changed:
            if self._descriptor >= 0:
                return
            os.makedirs(os.path.dirname(self.part), exist_ok=True)
            fresh = not os.path.exists(self.part)
            self._descriptor = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise cache.Stop(
                    "%s is being fetched here by another deployment" % self.file["path"]
                ) from None
            os.ftruncate(self._descriptor, self.size)
            if not fresh and self._journal:
                self._restart(Extents(self._journal))
        self._follow(None, 0)

    def take(self):
        """The next piece (start, end, attempt) for a stream, or None."""
        with self.changed:
            return (*self.todo.pop(0), self.attempts) if self.todo else None

    def give_back(self, start, end, attempt):
        """A stream broke off: these bytes are still missing."""
        with self.changed:
            if start < end and attempt == self.attempts:
                self.todo.insert(0, (start, end))

    def write(self, block, offset, attempt):
        """`block` (a memoryview) belongs at `offset`; one of an attempt that failed is dropped."""
        if self.whole or attempt != self.attempts:
            return
        done, descriptor = 0, self._descriptor
        while done < len(block):
            done += os.pwrite(descriptor, block[done:], offset + done)
        with self.changed:
            if attempt != self.attempts:
                return
            self.extents.add(offset, offset + len(block))
            self.changed.notify_all()
        self._follow(block, offset)

    def _follow(self, block, offset):
        """Hash what can be hashed now, unless another stream is at it."""
        with self.changed:
            if self._hashing or self.whole:
                return
            self._hashing = True
        buffer = None
        while True:
            with self.changed:
                position, reach = self.hashed, self.extents.reach(self.hashed)
                if position == reach and position < self.size:
                    self._hashing = False
                    return
            if position == self.size:
                break
            if block is not None and offset == position:
                view = block
            else:
                if buffer is None:
                    buffer = memoryview(bytearray(cache.BLOCK))
                count = os.preadv(self._descriptor, [buffer[: reach - position]], position)
                view = buffer[:count]
            self._digest.update(view)
            self.hashed = position + len(view)
            block = None
        self._finish()

    def _finish(self):
        if self._digest.hexdigest() != self.file["digest"]:
            with self.changed:
                self.attempts += 1
                if self.attempts >= ATTEMPTS:
                    self.error = "%s: what arrives does not have the Hub's checksum (%d times)" % (
                        self.file["path"],
                        ATTEMPTS,
                    )
                self._restart(Extents())
                self.changed.notify_all()
            return
        # First on the disk, then under its name: a power cut may not leave a name without content.
        os.fdatasync(self._descriptor)
        os.replace(self.part, self.final)
        with self.changed:
            self.whole, self._hashing = True, False
            self.changed.notify_all()
        self.done(self)

    def saved(self):
        """What would be there after a power cut now, for the journal; None before it is begun or after."""
        with self.changed:
            spans = [list(span) for span in self.extents.spans]
            if self._descriptor < 0 or self.whole or not spans:
                return None
        os.fdatasync(self._descriptor)
        with self.changed:
            same = all(self.extents.reach(start) >= end for start, end in spans)
        return spans if same else None

    def close(self):
        """Give the descriptor back and, when whole, its pages: the memory is the GPU's too."""
        with self.changed:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            if self.whole:
                cache.forget_pages(descriptor)
            os.close(descriptor)
