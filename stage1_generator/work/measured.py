"""What a run of stage 1 has taken per hour of source video, and what another amount of video would take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.data.index import INDEX_NAME, read_index
from common.errors import UserError
from common.files import read_json
from common.timings import read_timings
from stage1_generator.companions.records import read_plan
from stage1_generator.config import Stage1Config
from stage1_generator.work.paths import WorkPaths, work_paths


@dataclass(frozen=True)
class StepRate:
    """One step.

    Attributes:
        name: of it.
        rate: seconds of video that it works on per second of one core.
        share: seconds of video that it works on per second of source video.
        bytes: that it leaves per second of source video.
    """

    name: str
    rate: float
    share: float
    bytes: float

    @property
    def cores(self) -> float:
        """Seconds of one core per second of source video."""
        return self.share / self.rate


def measured_rates(config: Stage1Config) -> list[StepRate]:
    """The steps of the run in the work folder, in the order in which they ended.

    Raises:
        UserError: nothing was prepared there, or before CPU time was noted.
    """
    paths, fps = work_paths(config), config.geometry.fps
    timings = read_timings(Path(config.work))
    records = [read_json(path) for path in sorted((paths.prepared / "videos").glob("*.json"))]
    source = sum(record["model_frames"] for record in records) / fps
    if not source or any("cpu_seconds" not in row for row in timings.values()):
        raise UserError(
            f"The work folder '{config.work}' holds no measured run of stage 1: run it on some videos first."
        )
    rates = []
    for name, row in timings.items():
        folder, frames = _left(name, paths, config)
        if frames is None:
            frames = row["frames"]
        rate = row["frames"] / fps / max(row["cpu_seconds"], 1e-6)
        rates.append(StepRate(name, rate, frames / fps / source, _size(folder) / source))
    return rates


def estimate(
    rates: Sequence[StepRate], hours: float, workers: int, cores: int, price: float | None
) -> list[str]:
    """What so many ``hours`` of source video would take, as lines of a table.

    Args:
        rates: measured.
        hours: of source video.
        workers: processes at once.
        cores: of each.
        price: of a core for an hour, in any currency; None: no cost is told.
    """
    lines = [f"{'step':<24}{'video s / core s':>17}{'core hours':>16}{'TB':>10}"]
    for step in rates:
        written = step.bytes * hours * 3600 / 1e12
        lines.append(f"{step.name:<24}{step.rate:>17.3g}{step.cores * hours:>16,.0f}{written:>10,.4g}")
    core_hours = sum(step.cores for step in rates) * hours
    storage = sum(step.bytes for step in rates) * hours * 3600 / 1e12
    lines.append(f"{'all':<24}{'':>17}{core_hours:>16,.0f}{storage:>10,.4g}")
    wall = core_hours / (workers * cores)
    lines.append(f"{workers} workers of {cores} cores: {wall:,.0f} hours ({wall / 24:,.1f} days)")
    if price is not None:
        lines.append(f"at {price:g} per core hour: {core_hours * price:,.0f}")
    return lines


def _left(step: str, paths: WorkPaths, config: Stage1Config) -> tuple[Path, int | None]:
    """The folder of a step, and the frames that it works on in all; None: those of its last run."""
    folders = {
        "prepare": paths.prepared,
        "encode": paths.encoded,
        "synthesize": paths.companions,
        "blend": paths.blended,
        "filter": paths.filtered,
        "retime": paths.retimed,
        "own_mouths": paths.own_mouths,
    }
    folder = folders.get(step) or paths.root / step.removeprefix("pack ")
    if step in ("synthesize", "blend", "filter"):
        return folder, sum(plan.length for plan in read_plan(paths.companions).plans)
    if (folder / INDEX_NAME).is_file() and (step == "encode" or step.startswith("pack ")):
        length = config.geometry.clip_frames if step == "encode" else config.pairs.clip_frames
        return folder, read_index(folder).num_samples * length
    return folder, None


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
