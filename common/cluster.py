"""Joining a Ray cluster, and how many workers it has room for."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from common.errors import UserError
from common.extras import require_extra

LOCAL = "local"
"""The address that means a cluster of this machine alone, for as long as the command runs."""

_RUNNING_HERE = "auto"
_ANSWER_SECONDS = 10.0
# Of a worker, where nobody says how many there are: own mouths are drawn by so many threads.
_CPUS = 4
_MOST_CPUS = 16


@dataclass(frozen=True)
class ClusterMachine:
    """One of the cluster's, and what it offers."""

    cpus: int
    gpus: int


@contextmanager
def joined_cluster(address: str, workers: int | None) -> Iterator[list[ClusterMachine]]:
    """Join a cluster for as long as the context lasts, and tell its machines.

    Args:
        address: HOST:PORT, "auto" for the one that runs here, or :data:`LOCAL`.
        workers: how many the local cluster must have room for.

    Raises:
        UserError: Ray is not installed, or no cluster answers.
    """
    require_extra("ray")
    # Ray would report to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    own: dict[str, Any] = {}
    if address == LOCAL:
        own = {"num_cpus": max(os.cpu_count() or 1, workers or 1), "include_dashboard": False}
    try:
        _require_answer(address)
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **own)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"No Ray cluster answers at '{address}' ({_first_line(error)}): start one with "
            f"'ray start --head', or give --ray {LOCAL}."
        ) from error
    try:
        there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        yield [ClusterMachine(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in there]
    finally:
        ray.shutdown()


def share(cpus: Sequence[int], gpus: int, wanted: int | None) -> tuple[int, int]:
    """How many workers there are, and how many CPUs each has.

    Args:
        cpus: of each machine.
        gpus: of all machines; 0: none is used.
        wanted: workers; None: one per GPU, without GPUs one per four CPUs.

    Raises:
        UserError: the machines have fewer GPUs or CPUs.
    """
    count = wanted or gpus or max(1, sum(here // _CPUS for here in cpus))
    if gpus and count > gpus:
        raise UserError(f"There are {gpus} GPUs in the cluster: give at most as many --workers.")
    for each in range(_MOST_CPUS, 0, -1):
        if sum(here // each for here in cpus) >= count:
            return count, each
    raise UserError(f"There are {sum(cpus)} CPUs in the cluster: give at most as many --workers.")


def _require_answer(address: str) -> None:
    """Ray itself waits for minutes, and ends the process then."""
    if address in (LOCAL, _RUNNING_HERE):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"write it as HOST:PORT, {_RUNNING_HERE} or {LOCAL}")
    socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
