"""How long the Hub asks to wait when it refuses (429, or 503): by Retry-After, else by RateLimit.

Retry-After is in seconds or a date (RFC 9110). Without it the Hub says `RateLimit: "resolvers";r=0;t=211`: of
each quota what remains, and in how many seconds it begins anew.
"""

from __future__ import annotations

import datetime
import email.utils
import re
import time
from collections.abc import Mapping

#: All that is waited for the Hub's sake without anything arriving, seconds; its quotas are for 300.
LONGEST_S = 1800.0
_EMPTY = re.compile(r";\s*r=0\s*(?:;|$)")
_RESET = re.compile(r";\s*t=(\d{1,9})(?:\.\d*)?\s*(?:;|$)")


def seconds(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds to wait by an answer's headers; None when they do not tell. `now`: since the epoch."""
    text = (headers.get("Retry-After") or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:12])
    when = _date(text)
    if when is not None:
        return max(0.0, when - (time.time() if now is None else now))
    quotas = (headers.get("RateLimit") or "").split(",")
    resets = [float(found[1]) for one in quotas if _EMPTY.search(one) and (found := _RESET.search(one))]
    return max(resets, default=None)


def _date(text: str) -> float | None:
    try:
        found = email.utils.parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
