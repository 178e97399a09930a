"""What ``bootdub serve`` is told, as one object that goes to all its processes."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError

MOST_MEGABYTES, MOST_HOURS = 2000, 0.5


@dataclass(frozen=True)
class ServeSettings:
    """How a service runs.

    Attributes:
        work: folder of the store and of all jobs' files.
        root: folder in which requests may name files; None: in none.
        hosts: names of hosts from which inputs are fetched and to which webhooks go; ``*``: all public ones.
        host: address that it listens on.
        workers: processes that dub, each with a model of its own.
        queue: jobs that may wait; more are refused.
        keep_hours: how long an ended job and its files are kept.
        megabytes: of one input.
        minutes: of computing that one job may take.
        limits: ``NAME=VALUE`` words as of ``--limit``.
        model: folder of the model package.
        refine: folder of a package that refines the lips of every dub; None: none does.
        public_url: what clients reach it by, for links in webhooks; empty: links there are paths.
        device, dtype, preset: as of ``bootdub batch``.

    Raises:
        UserError: a value makes no sense, or ``refine`` is no such package.
    """

    work: Path
    model: Path
    root: Path | None = None
    hosts: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    workers: int = 1
    queue: int = 100
    keep_hours: float = 24
    megabytes: float = MOST_MEGABYTES
    minutes: float = 240
    limits: tuple[str, ...] = ()
    refine: Path | None = None
    public_url: str = ""
    device: str = "auto"
    dtype: str = "auto"
    preset: str = "auto"

    def __post_init__(self) -> None:
        if self.root is not None and not self.root.is_dir():
            raise UserError(f"The root '{self.root}' is no folder: give the one that holds the inputs.")
        for name in ("workers", "queue", "keep_hours", "megabytes", "minutes"):
            if not getattr(self, name) > 0:
                raise UserError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)}: give a positive number."
                )
        if self.refine is not None:
            # numpy, which --help need not wait for.
            from stage2_dubber.dub.refining.checks import check_refiner

            check_refiner(self.refine)

    @property
    def most_bytes(self) -> int:
        """Of one input."""
        return round(self.megabytes * 1_000_000)

    @property
    def words(self) -> tuple[str, ...]:
        """The words of ``--limit``, the service's own first."""
        return (f"hours={MOST_HOURS}", *self.limits)


def require_keys(host: str, keys: Sequence[str]) -> None:
    """Refuse to listen to other machines without keys.

    Raises:
        UserError: anybody on the network could dub.
    """
    if not keys and not is_local(host):
        raise UserError(
            f"Other machines reach '{host}' and no key exists: make one with --new-key NAME, or listen on "
            "127.0.0.1."
        )


def is_local(host: str) -> bool:
    """Whether a name or an address means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
