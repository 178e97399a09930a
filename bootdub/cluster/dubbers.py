"""Workers in a Ray cluster, handed out to the jobs that need them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from queue import Queue
from types import TracebackType
from typing import Any

from bootdub.cluster.worker import ClusterWorker, WorkerOptions
from common.cluster import ClusterMachine, joined_cluster, share
from common.errors import UserError
from common.media import probe
from stage2_dubber.dub.parts import can_be_parted
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.result import DubResult
from stage2_dubber.dub.resume.folder import job_folder

_PARTS_PER_WORKER = 3  # so that workers that have finished help those that have more to do
_RETRIES = 3  # of a job whose worker was killed; it goes on from its pieces


class ClusterDubbers:
    """Workers with the model in memory, for as long as the context lasts.

    Args:
        address: HOST:PORT of the cluster, "auto" for the one that runs here, or "local".
        options: of the workers.
        count: how many there are; None: one per GPU, without GPUs one per four CPUs.
        split_seconds: longer videos are dubbed in parts by several workers.

    Raises:
        UserError: on entering the context, no such cluster, or too small a one.
    """

    def __init__(self, address: str, options: WorkerOptions, count: int | None, split_seconds: float) -> None:
        self._address, self._options, self._wanted = address, options, count
        self._split_seconds = split_seconds
        self._idle: Queue[Any] = Queue()
        self._all: list[Any] = []
        self._stopped = False

    def __enter__(self) -> ClusterDubbers:
        with ExitStack() as stack:
            self._start(stack.enter_context(joined_cluster(self._address, self._wanted)))
            self._leave = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave.close()

    @property
    def count(self) -> int:
        """Workers."""
        return len(self._all)

    def stop(self) -> None:
        """End all workers at once; what they have finished is kept beside their outputs."""
        import ray

        self._stopped = True
        for worker in self._all:
            ray.kill(worker)

    def dub(self, request: DubRequest) -> DubResult:
        """Do one job, by one worker or in parts by several; several threads may call.

        Raises:
            UserError: bad input, or its workers were killed again and again.
            KeyboardInterrupt: :meth:`stop` was called meanwhile.
        """
        divide = self.count > 1 and can_be_parted(request)
        if divide and probe(request.video).duration > self._split_seconds:
            return self._in_parts(request)
        return self._call("dub", request, request)

    def _in_parts(self, request: DubRequest) -> DubResult:
        with job_folder(request.output), ThreadPoolExecutor(self.count) as pool:
            job, parts = self._call("begin", request, request, _PARTS_PER_WORKER * self.count, results=2)
            drawn = [pool.submit(self._call, "draw", request, job, part) for part in parts]
            try:
                for part in drawn:
                    part.result()
            finally:
                for part in drawn:
                    part.cancel()
            return self._call("finish", request, job)

    def _call(self, method: str, request: DubRequest, *values: Any, results: int = 1) -> Any:
        """Let an idle worker do something of a job. Of several results the first stays in the cluster."""
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        with self._one() as worker:
            try:
                made = getattr(worker, method).options(num_returns=results).remote(*values)
                if results == 1:
                    return ray.get(made)
                return made[0], ray.get(made[1])
            except RayTaskError as error:
                raise error.cause from error
            except RayActorError as error:
                if self._stopped:
                    raise KeyboardInterrupt from error
                raise UserError(
                    f"The worker of '{request.output}' was killed {_RETRIES + 1} times: give it more memory, "
                    "or give fewer --workers."
                ) from error

    @contextmanager
    def _one(self) -> Iterator[Any]:
        worker = self._idle.get()
        try:
            yield worker
        finally:
            self._idle.put(worker)

    def _start(self, machines: Sequence[ClusterMachine]) -> None:
        """Start the workers and wait until all have loaded the model."""
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        gpus = 0 if self._options.device == "cpu" else sum(machine.gpus for machine in machines)
        count, each = share([machine.cpus for machine in machines], gpus, self._wanted)
        kind = ray.remote(
            num_cpus=each, num_gpus=1 if gpus else 0, max_restarts=-1, max_task_retries=_RETRIES
        )(ClusterWorker)
        self._all = [kind.remote(self._options) for _ in range(count)]
        try:
            ray.get([worker.__ray_ready__.remote() for worker in self._all])
        except RayTaskError as error:
            raise error.cause from error
        except RayActorError as error:
            raise UserError(f"A worker of the cluster could not start: {_reason(error)}") from error
        for worker in self._all:
            self._idle.put(worker)


def _reason(error: BaseException) -> str:
    """What ended a worker's start: the last line of what Ray says."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
