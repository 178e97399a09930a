"""The server that forks decoding processes, and what such a process does."""

from __future__ import annotations

import gc
import importlib
import inspect
import logging
import os
import selectors
import signal
import socket
import traceback
from contextlib import suppress
from typing import Any

# Loaded before any fork, so that each decoding process has it at once, and all that it needs.
import common.media.further_tracks  # noqa: F401
from common.errors import UserError
from common.media.isolation.bounds import hold, still_working
from common.media.isolation.isolated import enter_decoding_process
from common.media.isolation.messages import Channel
from common.media.source import log

_AHEAD = 2
"""Values that are made before the caller asks for them."""


def serve(descriptor: int) -> None:
    """Fork a process for each connection that comes over the socket ``descriptor``; ends when that closes."""
    # Ctrl-C reaches the whole group; the caller decides what ends then, by closing its connections.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    enter_decoding_process()
    gc.freeze()
    control = socket.socket(fileno=descriptor)
    awake, wake = socket.socketpair()
    awake.setblocking(False)
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        _fork_for(control, awake, wake)
    finally:
        # Processes that end later must find no closed socket to wake this one by.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)


def _fork_for(control: socket.socket, awake: socket.socket, wake: socket.socket) -> None:
    """Fork a process for each connection that ``control`` brings, until it is closed."""
    running: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(awake, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is awake:
                    awake.recv(4096)
                    _say_ends(running)
                    continue
                _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
                if not descriptors:
                    return
                request = socket.socket(fileno=descriptors[0])
                child = os.fork()
                if child == 0:
                    _decode(request, [control, awake, wake, *running.values()])
                running[child] = request


def _say_ends(running: dict[int, socket.socket]) -> None:
    """Tell callers of processes that were ended by a signal, and let go of all that have ended."""
    while running:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            return
        with running.pop(child) as request:
            if os.WIFSIGNALED(status):
                # Other callers must not wait for one that reads nothing now.
                request.setblocking(False)
                # Who has gone needs no word, and who is busy learns it from the end of the connection.
                with suppress(OSError):
                    Channel(request).send("ended", os.WTERMSIG(status))


def _decode(request: socket.socket, others: list[socket.socket]) -> None:
    """All that a decoding process does; it never returns."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for other in others:
            other.close()
        _answer(Channel(request, shared=True))
    finally:
        os._exit(0)


def _tell(caller: Channel, kind: str, value: object = None) -> None:
    try:
        caller.send(kind, value)
    except OSError:
        os._exit(0)  # The caller listens no more.


class _Forward(logging.Handler):
    """Warnings about the file go to the caller, who knows which ones were told before."""

    def __init__(self, caller: Channel) -> None:
        super().__init__(logging.WARNING)
        self._caller = caller

    def emit(self, record: logging.LogRecord) -> None:
        _tell(self._caller, "warning", record.getMessage())


def _answer(caller: Channel) -> None:
    _, (folder, module, name, args, limits) = caller.receive()
    os.chdir(folder)
    hold(limits)
    log.handlers, log.propagate = [_Forward(caller)], False
    what = str(args[0])
    try:
        function = inspect.unwrap(getattr(importlib.import_module(module), name))
        found: Any = function(*args)
        for number, value in enumerate(found if inspect.isgeneratorfunction(function) else (found,)):
            _wait(caller, number)
            _tell(caller, "value", value)
            still_working()
        _tell(caller, "end")
    except UserError as error:
        _tell(caller, "refused", str(error))
    except MemoryError:
        _tell(
            caller,
            "refused",
            f"The file '{what}' needs more than {limits.memory:g} GB of memory to be decoded: it is damaged "
            "or very large; lift the bound with --limit memory=N.",
        )
    except Exception:
        _tell(caller, "failed", traceback.format_exc())


def _wait(caller: Channel, number: int) -> None:
    """Let the caller take the values before, all but :data:`_AHEAD`; it tells which slots are free again."""
    if number < _AHEAD:
        return
    try:
        _, left = caller.receive()
    except (EOFError, OSError):
        os._exit(0)  # The caller listens no more.
    assert caller.written is not None
    caller.written.give_back(left)
