"""What runs on the machines of a cluster: one model in memory, and jobs or parts of jobs done with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bootdub.messages import quieten_libraries
from common.media.isolation.isolated import start_decoding
from common.media.isolation.limits import limits, set_limits
from stage2_dubber.dub.parts import PartDubber, PartedJob
from stage2_dubber.dub.pipeline import DubPipeline
from stage2_dubber.dub.presets.names import Preset
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.result import DubResult


@dataclass(frozen=True)
class WorkerOptions:
    """How every worker loads the model.

    Attributes:
        model: the package's folder, the same on all machines.
        device, dtype, preset: as :meth:`stage2_dubber.dub.pipeline.DubPipeline.from_pretrained` takes them.
        limits: words of ``--limit``, for decoding.
    """

    model: Path
    device: str
    dtype: str
    preset: Preset | str
    limits: tuple[str, ...] = ()


class ClusterWorker:
    """A process of the cluster; its methods are called one at a time."""

    def __init__(self, options: WorkerOptions) -> None:
        quieten_libraries()
        set_limits(limits().with_words(options.limits))
        start_decoding()
        self._pipeline = DubPipeline.from_pretrained(
            options.model, options.device, options.dtype, preset=options.preset
        )
        self._parts = PartDubber(self._pipeline)

    def dub(self, request: DubRequest) -> DubResult:
        """Do a whole job."""
        return self._pipeline.run(request)

    def begin(self, request: DubRequest, most: int) -> tuple[PartedJob, tuple[range, ...]]:
        """Follow the face of a job in at most so many parts; the parts also by themselves."""
        job = self._parts.begin(request, most)
        return job, job.parts

    def draw(self, job: PartedJob, part: range) -> None:
        """Draw one part."""
        self._parts.draw(job, part)

    def finish(self, job: PartedJob) -> DubResult:
        """Join the parts."""
        return self._parts.finish(job)
