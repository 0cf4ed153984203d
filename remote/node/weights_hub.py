"""Files from the Hub by HTTP ranges, over whatever a long download meets.

A file's address redirects to a storage server by a link that expires: the link is kept while it works and
asked for anew when it does not. The token goes to the Hub itself, never along a redirect to another host.
"""

import http.client
import re
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

from remote.node import hub_wait
from remote.node.weights_cache import Stop

BLOCK = 256 << 10  # small enough that a slow line still counts as alive
CONNECT_S = 20.0
REDIRECTS = 5
AGENT = "trtllm-dgx-spark"
FILL_S = 10.0  # what came by then is handed on
SLOWEST = 100  # bytes per second: less is no download
NUMBER = re.compile(r"[0-9]{1,18}")


class Broken(Exception):
    """This try failed and another may not; its text says why. `pause`: seconds the server asked for, None
    where it did not.
    """

    def __init__(self, why, pause=None):
        super().__init__(why)
        self.pause = pause


class _Unfollowed(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args):
        return None


class Hub:
    """One Hub's files of one commit. `token` may be ""."""

    def __init__(self, endpoint, model, commit, token, timeout=CONNECT_S, fill=FILL_S):
        self.endpoint, self.model, self.commit = endpoint, model, commit
        self.token, self.timeout, self.fill = token, timeout, fill
        self.links = {}
        self.open = urllib.request.build_opener(_Unfollowed).open

    def address(self, file):
        """Where the file is asked for first."""
        if file.get("url"):
            return file["url"]
        path = urllib.parse.quote(file["path"])
        return "%s/%s/resolve/%s/%s" % (self.endpoint, self.model, self.commit, path)

    def read(self, file, start, end, sink, alive):
        """Bytes [start, end) as `sink(block, offset)`; `alive()` is called whenever something arrives.

        Raises Broken where another try may help, Stop where it will not.
        """
        try:
            with self._answer(file, start, end) as answer:
                self._skip(answer, start if answer.status == 200 else 0)
                buffer = memoryview(bytearray(BLOCK))
                while start < end:
                    count = self._fill(answer, buffer[: end - start])
                    if not count:
                        raise Broken("the Hub ended the file %d bytes early" % (end - start))
                    alive()
                    sink(buffer[:count], start)
                    start += count
        except http.client.HTTPException as error:  # its text quotes what the server sent
            raise Broken("the Hub's answer cannot be read (%s)" % type(error).__name__) from None
        except (TimeoutError, ConnectionError, ssl.SSLError) as error:
            raise Broken("the connection to the Hub broke (%s)" % (error or type(error).__name__)) from None

    def _fill(self, answer, view):
        """Bytes put into `view`: as many as fit, or as came in FILL_S. Raises Broken for a trickle."""
        filled, begun = 0, time.monotonic()
        while filled < len(view):
            piece = answer.read1(len(view) - filled)
            if not piece:
                break
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
            if time.monotonic() - begun > self.fill:
                if filled < SLOWEST * self.fill and filled < len(view):
                    raise Broken("the Hub sends %d bytes in %.0f s" % (filled, self.fill))
                break
        return filled

    def _answer(self, file, start, end):
        first = self.address(file)
        kept = self.links.get(first)
        url = kept or first
        for _ in range(REDIRECTS):
            answer = self._ask(url, start, end)
            status = answer.status
            if status in (200, 206):
                self._check(answer, file, start)
                if url != first:
                    self.links[first] = url
                return answer
            answer.close()
            if status in (301, 302, 303, 307, 308):
                url = _redirected(url, answer.headers.get("Location", ""))
                continue
            self.links.pop(first, None)
            self._refused(status, answer, file, url)
        raise Broken("the Hub redirects in circles")

    def _ask(self, url, start, end):
        request = urllib.request.Request(url)
        request.add_header("User-Agent", AGENT)
        request.add_header("Accept-Encoding", "identity")
        if end > start:
            request.add_header("Range", "bytes=%d-%d" % (start, end - 1))
        if self.token and self._is_hub(url):
            request.add_header("Authorization", "Bearer " + self.token)
        try:
            return self.open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            return error
        except urllib.error.URLError as error:
            reason = error.reason
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise Stop(
                    "the certificate of %s is not trusted here (%s)" % (_host(url), reason.verify_message),
                    "certificate",
                ) from None
            if isinstance(reason, socket.gaierror):
                raise Broken("the name %s cannot be resolved" % _host(url)) from None
            raise Broken("%s cannot be reached (%s)" % (_host(url), reason)) from None
        except ValueError as error:  # its text may be the token
            if not (self.token.isascii() and self.token.isprintable()):
                raise Stop("the token is not one line of printable ASCII", "token-refused") from None
            raise Broken("%s cannot be asked (%s)" % (_host(url), type(error).__name__)) from None

    def _refused(self, status, answer, file, url):
        page = "%s/%s" % (self.endpoint, self.model)
        if not self._is_hub(url) and url != self.address(file) and status in (400, 401, 403, 404, 410):
            raise Broken("a link to %s expired" % file["path"])
        if file.get("url"):
            if status in (401, 403, 404, 410):
                raise Stop("%s answers %d for %s" % (_host(url), status, file["path"]), "no-vocabulary")
        elif status == 401 and not self.token:
            raise Stop("the Hub wants a token for %s" % self.model, "token-missing")
        elif status == 401:
            raise Stop("the Hub does not accept the token", "token-refused")
        elif status == 403:
            raise Stop("the token has no access to %s; accept it at %s" % (self.model, page), "no-access")
        elif status == 404:
            raise Stop("%s is not at %s" % (file["path"], self.address(file)), "not-found")
        asked = hub_wait.seconds(answer.headers) if status in (429, 503) else None
        if asked is None:
            raise Broken("the Hub answered %d" % status)
        why = "too many requests; a token raises the limit" if status == 429 else "it answered 503"
        raise Broken("the Hub asks to wait %.0f s (%s)" % (asked, why), asked)

    def _check(self, answer, file, start):
        """The answer must be the file that was planned, from where it was asked."""
        if answer.status == 206:
            span, _, total = answer.headers.get("Content-Range", "").partition("/")
            if not span.startswith("bytes %d-" % start):
                raise Broken("the Hub sent another range")
        else:
            total = answer.headers.get("Content-Length", "")
        found = number(total)
        if total not in ("", "*") and found != file["size"]:
            said = "unknown" if found is None else found
            raise Broken("%s has %s bytes on the Hub, not %d" % (file["path"], said, file["size"]))

    def _skip(self, answer, count):
        """A server without ranges sends everything."""
        while count:
            read = len(answer.read(min(count, BLOCK)))
            if not read:
                raise Broken("the Hub ended the file early")
            count -= read

    def _is_hub(self, url):
        mine, other = urllib.parse.urlsplit(self.endpoint), urllib.parse.urlsplit(url)
        return (mine.scheme, mine.netloc) == (other.scheme, other.netloc)


def _host(url):
    return urllib.parse.urlsplit(url).netloc


def number(text):
    """The whole number that a header holds; None for anything else, digits of other scripts too."""
    text = text.strip()
    return int(text) if NUMBER.fullmatch(text) else None


def _redirected(url, location):
    """Where a redirect leads. Raises Broken unless that is an address of the web."""
    try:
        found = urllib.parse.urljoin(url, location)
        parts = urllib.parse.urlsplit(found)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and location
        fine = fine and found.isascii() and found.isprintable() and " " not in found
    except ValueError:
        fine = False
    if not fine:
        raise Broken("the Hub redirects to an address that is none")
    return found


class Patience:
    """How long to wait before the next try, and when to give up: after `stall` seconds without a byte,
    or `first` where there was none yet; with `code`. Times in seconds, monotonic.

    What the Hub itself asks to wait is no silence, up to hub_wait.LONGEST_S. Several streams share one
    patience, and hear the same.
    """

    def __init__(self, stall=300.0, first=60.0, code="hub-silent"):
        self.stall, self.first, self.code = stall, first, code
        self.begun = self.last = time.monotonic()
        self.any, self.tries = False, 0
        self.until = self.asked = 0.0

    def alive(self):
        """Something arrived."""
        self.last, self.any, self.tries, self.asked = time.monotonic(), True, 0, 0.0

    def check(self, slack, why=""):
        """Raises Stop when nothing has arrived for too long, and `slack` seconds more."""
        limit, quiet = (self.stall if self.any else self.first), time.monotonic() - self.last
        if quiet > limit + slack:
            raise Stop("nothing arrived for %.0f s%s" % (quiet, why), self.code)

    def pause(self, error):
        """Seconds to wait after `error`. Raises Stop with its text when it is enough."""
        asked = getattr(error, "pause", None)
        if asked is not None:
            self._wait_as_asked(error)
        self.check(0.0, ": %s" % error)
        if asked:
            return max(asked, 0.25)  # each of many streams is refused once: no reason to wait longer
        self.tries += 1
        return min(15.0, 0.25 * 2 ** min(self.tries, 6))

    def _wait_as_asked(self, error):
        now = time.monotonic()
        more = max(0.0, now + error.pause - max(now, self.until))
        if self.asked + more > hub_wait.LONGEST_S:
            raise Stop("%s, which is too long" % error, "hub-limit")
        self.until, self.asked, self.last = max(now, self.until) + more, self.asked + more, self.last + more
