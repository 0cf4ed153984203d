"""A model's files in a node's Hugging Face cache: where they belong, and which are known to be whole.

The standard layout: hub/models--ORG--NAME/blobs/DIGEST holds the content, snapshots/COMMIT/PATH links to
it, refs/main names the commit. A blob may itself be a link into the cache-wide store of newer clients
(hub/blobs/…): whatever is read or mended goes through it. A file that was hashed once is on record with its
size and modification time (weights.json in this program's state folder), so that the next look is quick.
"""

import hashlib
import os

from remote.node import hub_names, whole_file
from remote.node.cache_folder import expand
from remote.node.detached import read_json as read_json
from remote.node.detached import unlink as unlink
from remote.node.detached import write_json as write_json
from remote.node.stop import Stop as Stop

BLOCK = 1 << 20
#: How far a file is known to be the Hub's.
VERIFIED, PRESENT, MISSING = "verified", "present", "missing"


class Store:
    """One model at one commit in one cache. `job`: hf_cache, stack, model, commit, files
    [{path, size, digest, lfs, extra}]; an `extra` file lies in the cache folder itself.
    """

    def __init__(self, job):
        """Raises Stop where a name or a number could not be the Hub's: they become paths here."""
        problem = hub_names.wrong(job["commit"], job["files"])
        if not problem and not hub_names.is_path(job["model"]):
            problem = "the model's name is %s" % hub_names.shown(job["model"])
        if problem:
            raise Stop(problem)
        self.cache = os.path.realpath(expand(job["hf_cache"]))
        self.model = os.path.join(self.cache, "hub", "models--" + job["model"].replace("/", "--"))
        self.snapshot = os.path.join(self.model, "snapshots", job["commit"])
        self.commit, self.files = job["commit"], job["files"]
        self.folder = state_folder(job["stack"])

    def blob(self, file):
        """Where the content belongs; through the link when the blob is one."""
        if file.get("extra"):
            return os.path.realpath(os.path.join(self.cache, file["path"]))
        return os.path.realpath(os.path.join(self.model, "blobs", file["digest"] or "unknown"))

    def link(self, file):
        """The path by which the engine finds it."""
        return os.path.join(self.cache if file.get("extra") else self.snapshot, file["path"])

    def find(self, file):
        """(path of the content, how far it is known, bytes found) of a file."""
        size = 0
        for path in (self.link(file), self.blob(file)):
            path = os.path.realpath(path)
            try:
                found = os.stat(path)
            except OSError:
                continue
            size = found.st_size
            if size == file["size"] and os.path.isfile(path):
                return path, PRESENT, size
        return "", MISSING, size

    def states(self):
        """[(path, state, bytes found)] of all files, from the records alone."""
        known, answer = recorded(self.folder)["files"], []
        for file in self.files:
            path, state, size = self.find(file)
            if path and not file["digest"]:
                state = VERIFIED  # nothing to compare with but the size
            elif path and known.get(path, {}).get("stamp") == stamp(path, file):
                state = VERIFIED
            answer.append((path, state, size))
        return answer

    @property
    def records(self):
        return os.path.join(self.folder, "weights.json")

    def remember(self, entries, fetched):
        """Put files on record as whole: [(path, file)]; `fetched`: they were not there before."""
        document = recorded(self.folder)
        files = document["files"]
        for path, file in entries:
            before = files.get(path, {}).get("fetched", False)
            files[path] = {"stamp": stamp(path, file), "fetched": fetched or before}
        write_json(self.records, document, lasting=True)

    def install(self):
        """Make every file findable where the engine looks, and the commit the one in use."""
        for file in self.files:
            link, blob = self.link(file), os.path.join(self.model, "blobs", file["digest"])
            if file.get("extra") or not file["digest"] or self._leads(link, blob, file):
                continue
            self._inside(link)
            os.makedirs(os.path.dirname(link), exist_ok=True)
            draft = link + ".trtspark"
            unlink(draft)
            os.symlink(os.path.relpath(blob, os.path.dirname(link)), draft)
            os.replace(draft, link)
        main = os.path.join(self.model, "refs", "main")
        if read_text(main) != self.commit:
            os.makedirs(os.path.dirname(main), exist_ok=True)
            write_text(main, self.commit)

    def _inside(self, link):
        """Raises Stop unless the link's folder is in snapshots/COMMIT, whatever links lead there."""
        snapshot = os.path.join(os.path.realpath(self.model), "snapshots", self.commit)
        folder = os.path.realpath(os.path.dirname(link))
        if os.path.commonpath([snapshot, folder]) != snapshot:
            raise Stop("%s leads out of the model's snapshot, to %s" % (os.path.dirname(link), folder))

    def _leads(self, link, blob, file):
        """Whether the engine finds the file already; a copy in place of the link will do without a blob."""
        if not os.path.exists(link) or os.stat(link).st_size != file["size"]:
            return False
        return os.path.realpath(link) == os.path.realpath(blob) or not os.path.exists(blob)


def state_folder(stack):
    """This program's own folder on the node, of one deployment."""
    return os.path.join(os.path.expanduser("~/.local/state/trtspark"), stack)


def recorded(folder):
    """The records in a state folder, as far as they can be understood:
    {"files": {path: {"stamp", "fetched"}}, "made": [folders]}.
    """
    document = read_json(os.path.join(folder, "weights.json"))
    files, made = document.get("files"), document.get("made")
    return {
        "files": of_files(files),
        "made": [one for one in made if isinstance(one, str)] if isinstance(made, list) else [],
    }


def of_files(found):
    """The entries of a record by absolute paths, as far as they are that."""
    entries = found.items() if isinstance(found, dict) else ()
    return {path: entry for path, entry in entries if os.path.isabs(path) and isinstance(entry, dict)}


def torn(folder):
    """Whether the records are there and say nothing."""
    path = os.path.join(folder, "weights.json")
    return os.path.lexists(path) and not read_json(path)


def stamp(path, file):
    """What tells that a file is the one that was hashed: size, modification time, digest."""
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, file["digest"]]


def hasher(file):
    """The digest that names the file: SHA-256, or git's blob id for what is not in large-file storage."""
    if file["lfs"]:
        return hashlib.sha256()
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update(b"blob %d\0" % file["size"])
    return digest


def matches(path, file, moved=lambda count: None):
    """Whether the content is the Hub's; `moved` hears of every block hashed, in bytes."""
    digest, buffer = hasher(file), bytearray(BLOCK)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as source:
        while count := source.readinto(buffer):
            digest.update(view[:count])
            moved(count)
        forget_pages(source.fileno())
    return digest.hexdigest() == file["digest"]


def forget_pages(descriptor):
    """Give the file's memory back: on a Spark it is the GPU's too, and the engine counts what is free."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def read_text(path):
    """Its text without white space around it; "" where there is none."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read().strip()
    except OSError:
        return ""


def write_text(path, text):
    """All of it or nothing."""
    whole_file.write(path, text.encode(), 0o666 & ~_umask())


def _umask():
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
