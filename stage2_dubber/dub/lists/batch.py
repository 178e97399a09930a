"""Many dubbing jobs with one model; several processes may share one list.

Beside the list lies a folder of its name and ``.state``: a lock per job, which the kernel drops with the
process that holds it, and a JSON per job that has ended. A job is done once: by whoever gets its lock first.
"""

from __future__ import annotations

import csv
import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.files import atomic_path, read_json, require_writable_dir, write_json
from stage2_dubber.dub.lists.job_list import Job, read_jobs
from stage2_dubber.dub.request import DubRequest

if TYPE_CHECKING:
    from stage2_dubber.dub.result import DubResult

DONE, FAILED, RUNNING = "done", "failed", "running"


@dataclass(frozen=True)
class Outcome:
    """How one job has ended.

    Attributes:
        output: its video.
        state: "done" or "failed"; "running" until then, also after a kill.
        frames, dubbed_frames: of the video; 0 where it failed.
        seconds: wall-clock time that it took.
        message: why it failed, or the warnings.
        ended: seconds since 1970.
    """

    output: str
    state: str
    frames: int
    dubbed_frames: int
    seconds: float
    message: str
    ended: float


@dataclass(frozen=True)
class Batch:
    """A list of jobs that has been checked.

    Attributes:
        table: the list.
        jobs: its rows.
    """

    table: Path
    jobs: list[Job]

    @classmethod
    def read(cls, table: Path, overwrite: bool = False) -> Batch:
        """Read a list and check its paths; rows that are done already are not checked.

        Raises:
            UserError: as :func:`stage2_dubber.dub.lists.job_list.read_jobs`.
        """
        folder = state_folder(table)
        return cls(
            table,
            read_jobs(
                table,
                overwrite,
                lambda key: _is_done(folder / f"{key}.json"),
                lambda job: _is_cut(folder / f"{job.key}.json", job.request.output),
            ),
        )

    @property
    def results(self) -> Path:
        """The table of results."""
        return self.table.with_name(f"{self.table.stem}.results.csv")

    def waiting(self) -> list[Job]:
        """The jobs that are not done."""
        folder = state_folder(self.table)
        return [job for job in self.jobs if not _is_done(folder / f"{job.key}.json")]

    def run(
        self, dub: Callable[[DubRequest], DubResult], tell: Callable[[Job, Outcome], None] | None = None
    ) -> list[Outcome]:
        """Do all jobs that nobody has done or is doing; those that failed in an earlier run are tried again.

        Args:
            dub: does one job.
            tell: called after each job that was done here.

        Returns:
            The outcomes of this process's jobs.
        """
        begun, folder = time.time(), require_writable_dir(state_folder(self.table))
        outcomes = []
        for job in self.jobs:
            record = folder / f"{job.key}.json"
            with _claimed(folder / f"{job.key}.lock") as mine:
                if not mine or _is_done(record) or _ended_after(record, begun):
                    continue
                write_json(record, asdict(Outcome(str(job.request.output), RUNNING, 0, 0, 0, "", 0)))
                outcome = _outcome(job, dub)
                write_json(record, asdict(outcome))
            outcomes.append(outcome)
            self._write_results(folder)
            if tell is not None:
                tell(job, outcome)
        self._write_results(folder)
        return outcomes

    def _write_results(self, folder: Path) -> None:
        columns = ("line", "output", "state", "frames", "dubbed_frames", "seconds", "message")
        with atomic_path(self.results) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, columns, extrasaction="ignore")
            writer.writeheader()
            for job in self.jobs:
                record = folder / f"{job.key}.json"
                waiting = {"output": str(job.request.output), "state": "waiting"}
                known = read_json(record) if record.is_file() else waiting
                writer.writerow({"line": job.line, **known})


def state_folder(table: Path) -> Path:
    """Where locks and outcomes of a list lie."""
    return table.with_name(f"{table.name}.state")


def failed(outcomes: Sequence[Outcome]) -> int:
    """How many have failed."""
    return sum(outcome.state == FAILED for outcome in outcomes)


def _outcome(job: Job, dub: Callable[[DubRequest], DubResult]) -> Outcome:
    begun, output = time.monotonic(), str(job.request.output)
    try:
        result = dub(job.request)
    except UserError as error:
        return Outcome(output, FAILED, 0, 0, _since(begun), str(error), time.time())
    except Exception as error:  # one clip's trouble, whatever it is, must not end the others
        text = f"{type(error).__name__}: {error}"
        return Outcome(output, FAILED, 0, 0, _since(begun), text, time.time())
    warnings = " ".join(result.warnings)
    return Outcome(output, DONE, result.frames, result.dubbed_frames, _since(begun), warnings, time.time())


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 1)


@contextmanager
def _claimed(lock: Path) -> Iterator[bool]:
    """Whether this process has the job; it has until the end of the context."""
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _is_done(record: Path) -> bool:
    if not record.is_file():
        return False
    known = read_json(record)
    return bool(known["state"] == DONE and Path(known["output"]).is_file())


def _is_cut(record: Path, output: Path) -> bool:
    """Whether a job was killed between its output and the record of it."""
    if not record.is_file() or read_json(record)["state"] != RUNNING or not output.is_file():
        return False
    return output.stat().st_mtime_ns >= record.stat().st_mtime_ns


def _ended_after(record: Path, moment: float) -> bool:
    return record.is_file() and bool(read_json(record)["ended"] > moment)
