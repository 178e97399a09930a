"""What a service does again and again beside its API."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger("bootdub.serve")


class Rounds:
    """A thread that calls a function until it is stopped; an error is logged and ends nothing.

    Args:
        seconds: between two calls.
        call: the function.
    """

    def __init__(self, seconds: float, call: Callable[[], object]) -> None:
        self._seconds, self._call = seconds, call
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin, with a call at once."""
        self._thread.start()

    def stop(self) -> None:
        """Return when the last call has ended."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._call()
            except Exception:  # a full disk, say, must not end the service for good
                log.exception("the service goes on after an error")
            self._stopping.wait(self._seconds)
