"""Functions that run in a decoding process where their file is named by a path.

One small server is started per process that asks, at the first question; it forks a process for each call,
which takes milliseconds, holds the limits and ends with the call. Pictures come back in shared memory.

Files that are open already are read where they are: the program opens only its own, shards of training data.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from common.errors import UserError
from common.media.isolation import messages
from common.media.isolation.limits import limits

P = ParamSpec("P")
R = TypeVar("R")

# Without site's and the caller's own search path the server would not find this package.
_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from common.media.isolation.server import serve; serve(int(sys.argv[2]))"
)
_inside = False


def enter_decoding_process() -> None:
    """From now on this process is one that decodes: :func:`isolated` functions run where they are called."""
    global _inside
    _inside = True


def isolated(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` in a decoding process where its first argument, a source, is a path.

    It must be a function of a module of ``common.media``, its arguments and results what messages can hold.
    Of a generator each value comes over as it is made, and the process ends when the iteration does.
    """
    generates = inspect.isgeneratorfunction(function)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        source = args[0]
        if _inside or not isinstance(source, (str, os.PathLike)) or not hasattr(os, "fork"):
            return function(*args, **kwargs)
        words = inspect.signature(function).bind(*args, **kwargs)
        words.apply_defaults()
        values = _values(function, os.fspath(cast(Any, source)), words.args[1:])
        return cast(R, values if generates else _only(values))

    return run


def start_decoding() -> None:
    """Start the server, so that it loads its libraries while the caller loads others."""
    if hasattr(os, "fork"):
        _server()


def _only(values: Iterator[object]) -> object:
    found = list(values)
    return found[0]


def _values(function: Callable[..., object], name: str, args: tuple[object, ...]) -> Iterator[Any]:
    from common.media.source import warn_once

    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            _server().hand_over(theirs)
        channel = messages.Channel(ours)
        place = (function.__module__, function.__qualname__)
        channel.send("call", (str(Path.cwd()), *place, (name, *args), limits()))
        for kind, value in channel.messages():
            if kind == "value":
                yield value
                del value  # A slot is free when nothing refers to it.
                with suppress(OSError):  # It has ended; how, its last message says.
                    channel.send("next", channel.read.left())
            elif kind == "warning":
                warn_once(value)
            elif kind == "end":
                return
            elif kind == "refused":
                raise UserError(value)
            elif kind == "ended":
                raise UserError(_ended(name, value))
            else:
                raise RuntimeError(f"{function.__qualname__} failed in the decoding process:\n{value}")
    raise UserError(_ended(name, 0))


def _ended(name: str, by: int) -> str:
    if by == getattr(signal, "SIGXCPU", None):
        return (
            f"The file '{name}' keeps its decoder busy for {limits().seconds:g} s without a result: it is "
            "damaged, or lift the bound with --limit seconds=N."
        )
    why = signal.Signals(by).name if by else "no reason is known"
    return f"The file '{name}' ends its decoder ({why}): it is damaged; convert it with another program."


class _Server:
    """The process that forks; it ends when nobody can ask it any more."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._connection, theirs = socket.socketpair()
        with theirs:
            os.set_inheritable(theirs.fileno(), True)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps(sys.path), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )

    def is_mine(self) -> bool:
        """Whether it was started by this process, and still runs."""
        return self._owner == os.getpid() and self._process.poll() is None

    def hand_over(self, connection: socket.socket) -> None:
        """Let a new process serve ``connection``."""
        try:
            socket.send_fds(self._connection, [b"."], [connection.fileno()])
        except OSError as error:
            raise UserError("The decoding process has been ended from outside: start again.") from error


_starting = threading.Lock()
_running: _Server | None = None


def _server() -> _Server:
    global _running
    with _starting:
        # A forked process must not share its parent's connection.
        if _running is None or not _running.is_mine():
            _running = _Server()
        return _running


def _after_fork() -> None:
    global _starting
    _starting = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
