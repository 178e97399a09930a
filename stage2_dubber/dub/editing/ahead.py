"""Work that goes on beside other work, on a GPU on a stream of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class Ahead:
    """A worker that starts jobs at once, one after the other; used as a context manager.

    The worker is a thread. With a GPU as ``device`` it has its own stream, which first waits for what was
    asked of the current one (a thread all the same: the queue of a stream is short and whoever fills it
    waits). A job must then give back what lies in the memory of the host: it is ready when the job is.

    With ``active`` false there is no worker: a job runs when its result is asked for.

    Leaving the context sets ``stopping``, which a long job looks at, and waits for the job that runs. One
    that was not begun is dropped.
    """

    def __init__(self, active: bool = True, device: torch.device | None = None) -> None:
        self.stopping = Event()
        self._pool = ThreadPoolExecutor(1) if active else None
        self._stream: torch.cuda.Stream | None = None
        if active and device is not None and device.type == "cuda":
            import torch  # here and below: who works without a GPU may be quicker than its import

            self._stream = torch.cuda.Stream(device)

    def start(self, job: Callable[[], T]) -> Callable[[], T]:
        """Begin ``job``; the call that is returned waits for it and gives its result, or raises its error."""
        if self._pool is None:
            return job
        if self._stream is None:
            return self._pool.submit(job).result
        import torch

        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        future: Future[T] = self._pool.submit(_on_stream, self._stream, job)
        return future.result

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stopping.set()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _on_stream(stream: torch.cuda.Stream, job: Callable[[], T]) -> T:
    import torch

    with torch.cuda.stream(stream):
        result = job()
    stream.synchronize()
    return result
