"""Links to results that work without a key, for a while: players and webhooks send none."""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import parse_qs, urlencode

_HOURS = 24


def signed(path: str, secret: str, until: int | None = None) -> str:
    """The path with a query that :func:`is_signed` knows; ``until``: seconds since 1970, default a day on."""
    end = until if until is not None else int(time.time()) + _HOURS * 3600
    return f"{path}?{urlencode({'expires': end, 'signature': _digest(path, end, secret)})}"


def is_signed(path: str, query: str, secret: str) -> bool:
    """Whether a path was signed and its time is not over."""
    values = {name: found[0] for name, found in parse_qs(query).items()}
    end, given = values.get("expires", ""), values.get("signature", "")
    if not (end.isascii() and end.isdigit() and len(end) < 16 and given.isascii()):
        return False
    return hmac.compare_digest(_digest(path, int(end), secret), given) and int(end) > time.time()


def _digest(path: str, until: int, secret: str) -> str:
    return hmac.new(secret.encode(), f"link:{path}:{until}".encode(), hashlib.sha256).hexdigest()
