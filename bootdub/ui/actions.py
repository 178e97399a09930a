"""What the page does, without the page: jobs of the store, faces of a video, frames to compare."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bootdub.serve.dubbing import CONTACT_SHEET, REPORT, output_name
from bootdub.serve.job_options import options_of_upload
from bootdub.serve.record import JobState, StopReason, StoredJob
from bootdub.serve.schemas import GenerationSettings
from bootdub.serve.settings import ServeSettings
from bootdub.serve.store import JobStore, QueueFull
from common.errors import UserError
from common.files import read_json
from common.media import VideoReader
from common.progress import format_duration
from stage2_dubber.dub.faces.sheet import list_faces
from stage2_dubber.dub.request import DubRequest

HISTORY_ROWS = 50


@dataclass(frozen=True)
class FinishedDub:
    """What is shown of a job that is done.

    Attributes:
        video: the dub.
        sheet: source and dubbed faces.
        frames: of the dub.
        warnings: sentences for the user.
    """

    video: Path
    sheet: Path | None
    frames: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class PageActions:
    """The page's work.

    Attributes:
        settings, store: of the service that it stands on.
    """

    settings: ServeSettings
    store: JobStore

    def faces(self, video: str | None) -> tuple[Path, list[str]]:
        """A picture of a video's faces, and what can be chosen.

        Raises:
            UserError: no video, or no face in it.
        """
        if not video:
            raise UserError("There is no video yet: give one first.")
        folder = Path(tempfile.mkdtemp(prefix="bootdub-faces-"))
        found = list_faces(
            DubRequest(Path(video), Path(video), folder / "out.mp4"), folder / "faces.json", _silent
        )
        return found.sheet, ["auto", "largest", *(str(number) for number in range(1, len(found.lines) + 1))]

    def ask(self, video: str | None, audio: str | None, face: str, length: str, preset: str) -> str:
        """Put a job into the queue; its id.

        Raises:
            UserError: an input is missing, or too many jobs wait.
        """
        if not video or not audio:
            raise UserError("A dub needs a video and a voice: give both.")
        names = [f"{kind}{Path(file).suffix.lower()}" for kind, file in (("video", video), ("audio", audio))]
        options = {"sync_mode": length.replace("-", "_"), "face": face, "contact_sheet": True}
        if preset != "auto":
            options["preset"] = preset
        wanted = GenerationSettings.model_validate(
            {"options": options, "outputFileName": _plain(Path(video).stem)}
        )
        asked = options_of_upload(wanted, self.settings, *names)
        id = self.store.new_folder()
        for name, file in zip(names, (video, audio), strict=True):
            shutil.copyfile(file, self.store.job_folder(id) / name)
        try:
            self.store.add(asked, id=id, most=self.settings.queue)
        except QueueFull as error:
            raise UserError("As many jobs wait as may: try again later.") from error
        return id

    def cancel(self, id: str | None) -> None:
        """End a job, where there is one that has not ended."""
        if id:
            self.store.stop(id, StopReason.canceled)

    def said(self, id: str) -> str:
        """How a job stands, in one line."""
        job = self.store.get(id)
        if job.state is JobState.pending:
            before = sum(one.created < job.created for one in self.store.jobs(states=[JobState.pending]))
            return f"Waiting, with {before} before it" if before else "Waiting"
        if job.state is JobState.processing:
            return _progress_line(job)
        words = {JobState.completed: "Done", JobState.canceled: "Cancelled"}
        return words.get(job.state, job.error or "Failed")

    def finished(self, id: str) -> FinishedDub | None:
        """The result of a job; None where it has none (yet)."""
        job, folder = self.store.get(id), self.store.job_folder(id)
        if job.state is not JobState.completed or job.result is None:
            return None
        sheet = folder / CONTACT_SHEET
        named = folder / f"{job.asked['name'] or 'dub'}-dubbed{Path(output_name(job.asked)).suffix}"
        if not named.exists():
            named.hardlink_to(folder / output_name(job.asked))
        return FinishedDub(
            named, sheet if sheet.is_file() else None, job.result["frames"], tuple(job.result["warnings"])
        )

    def compared(self, id: str, frame: int) -> tuple[np.ndarray, np.ndarray] | None:
        """One frame (H, W, 3) of the source and the same of the dub; None where there is no dub."""
        job, folder = self.store.get(id), self.store.job_folder(id)
        if job.state is not JobState.completed:
            return None
        source = _source_frame(read_json(folder / REPORT)["shown"], frame)
        video = folder / job.asked["video"]["file"]
        return _frame(video, source), _frame(folder / output_name(job.asked), frame)

    def history(self) -> list[list[str]]:
        """Time, name, state and id of the newest jobs."""
        found = self.store.jobs(most=HISTORY_ROWS)
        return [
            [_time(job.created), job.asked["name"] or "", job.state.value.lower(), job.id] for job in found
        ]


def _time(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def _source_frame(shown: list[dict[str, int]], frame: int) -> int:
    """Which frame of the source a frame of the dub shows, by the dub's report."""
    for part in shown:
        if part["first"] <= frame <= part["last"]:
            step = 1 if part["source_last"] >= part["source_first"] else -1
            return part["source_first"] + step * (frame - part["first"])
    return frame


def _progress_line(job: StoredJob) -> str:
    if job.stage is None:
        return "Starting"
    if not job.total or job.done is None:
        return job.stage.capitalize()
    share = min(1.0, job.done / job.total)
    text = f"{job.stage.capitalize()}: {job.done:.0f} of {job.total:.0f} frames"
    if job.stage_began is not None and 0 < share < 1:
        text += f", {format_duration((time.time() - job.stage_began) / share * (1 - share))} left"
    return text


def _frame(video: Path, index: int) -> np.ndarray:
    with VideoReader(video) as reader:
        return next(frame.image for frame in reader.frames(index) if frame.index == index)


def _plain(name: str) -> str:
    return (
        "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-_") else "_" for sign in name)[:100]
        or "dub"
    )


def _silent(stage: str, done: float, total: float | None) -> None:
    return None
