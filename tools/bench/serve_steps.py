"""Jobs of a service that take no model: they count in a file how often they were begun and done."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from bootdub.serve.record import StoredJob
from bootdub.serve.settings import ServeSettings
from bootdub.serve.store import JobStore
from bootdub.serve.worker import do_jobs
from common.progress import ProgressCallback

ASKED: dict[str, Any] = {
    "video": {"path": "v.mp4"},
    "audios": {"": {"path": "a.wav"}},
    "options": {},
    "format": "mp4",
    "name": None,
    "contact_sheet": False,
}


def count(path: Path, word: str) -> None:
    """Add a line to a file that several processes write."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, f"{word}\n".encode())
    os.close(handle)


def counted(path: Path) -> list[str]:
    """The lines that :func:`count` wrote."""
    return path.read_text().split() if path.exists() else []


def steps(settings: ServeSettings) -> None:
    """The process of a worker whose jobs are files of steps, as a dub is of pieces: done ones are kept.

    A job asks for ``steps`` of ``seconds`` each, else the service's file ``steps`` names both; with ``die``
    its worker kills itself.
    """
    store = JobStore(settings.work)

    def task(job: StoredJob, progress: ProgressCallback) -> dict[str, Any]:
        folder = store.job_folder(job.id)
        number, length = (
            (settings.work / "steps").read_text().split()
            if "steps" not in job.asked
            else (job.asked["steps"], job.asked["seconds"])
        )
        wanted, seconds = int(number), float(length)
        count(settings.work / "begun", job.id)
        if job.asked.get("die"):
            os._exit(3)
        # A step is its line: the kill of a worker falls before it or after it.
        for step in range(len(counted(folder / "steps")), wanted):
            time.sleep(seconds)
            count(folder / "steps", str(step))
            progress("stepping", step + 1, wanted)
        if not (folder / "done").is_file():  # as a dub is not done again whose report stands
            count(settings.work / "done", job.id)
            (folder / "done").touch()
        return {"steps": counted(folder / "steps")}

    do_jobs(store, task)
