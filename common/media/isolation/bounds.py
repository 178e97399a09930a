"""What the operating system enforces on a decoding process: memory, and computing without a result."""

from __future__ import annotations

import math
import resource

from common.media.isolation.limits import DecodingLimits, set_limits

_GIGABYTE = 1 << 30

_seconds: float | None = None


def hold(limits: DecodingLimits) -> None:
    """Bind this process to ``limits``.

    The memory bound is on data (RLIMIT_DATA), private memory of all kinds: the address space (RLIMIT_AS)
    would count some 500 MB of libraries that are merely mapped. Not every system enforces it; Linux does.
    """
    global _seconds
    set_limits(limits)
    _seconds = limits.seconds
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_DATA, int(limits.memory * _GIGABYTE))
    still_working()


def still_working() -> None:
    """Say that a picture, a packet or a block of sound has come out; the time until the next one begins."""
    if _seconds is None:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    _lower(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + _seconds))


def _lower(kind: int, value: int) -> None:
    """Set the soft limit; the hard one stays, and bounds it."""
    hard = resource.getrlimit(kind)[1]
    bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bounded, hard))
