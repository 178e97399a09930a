"""What a worker of the service does with a job: a dub by the one pipeline, in the job's own folder."""

from __future__ import annotations

import csv
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from bootdub.serve.http_client import PublicHttpClient
from bootdub.serve.places import file_under
from bootdub.serve.record import StoredJob
from bootdub.serve.settings import ServeSettings
from bootdub.serve.store import JobStore
from bootdub.serve.worker import do_jobs, write_log
from common.errors import UserError
from common.files import read_json, write_json
from common.media import probe
from common.media.patched import SoundPatch, write_patched
from common.media.soundtrack import SoundPlace
from common.progress import ProgressCallback
from stage2_dubber.dub.pipeline import DubPipeline
from stage2_dubber.dub.request import DubRequest

REPORT, CONTACT_SHEET = "report.json", "contact-sheet.png"
FETCHING = "fetching"


def output_name(asked: dict[str, Any]) -> str:
    """Of the dubbed video in the job's folder."""
    return f"output.{asked['format']}"


def dub_jobs(settings: ServeSettings) -> None:
    """The process of a worker."""
    from bootdub.messages import quieten_libraries
    from common.media.isolation.isolated import start_decoding
    from common.media.isolation.limits import limits, set_limits

    quieten_libraries()
    write_log()
    set_limits(limits().with_words(settings.words))
    start_decoding()
    store = JobStore(settings.work)

    # One at a time in memory; a preset chooses how the model is loaded, too.
    @lru_cache(maxsize=1)
    def load(preset: str) -> DubPipeline:
        return DubPipeline.from_pretrained(settings.model, settings.device, settings.dtype, preset=preset)

    load(settings.preset)
    do_jobs(store, JobDubber(settings, store, load))


class JobDubber:
    """Does a job; one that was killed goes on where it was, and one that was done is not done again.

    Args:
        settings, store: of the service.
        load: gives the pipeline of a preset.
        client: fetches inputs; None: as the settings allow.
    """

    def __init__(
        self,
        settings: ServeSettings,
        store: JobStore,
        load: Callable[[str], DubPipeline],
        client: PublicHttpClient | None = None,
    ) -> None:
        self._settings, self._store, self._load = settings, store, load
        self._client = client or PublicHttpClient(settings.hosts)

    def __call__(self, job: StoredJob, progress: ProgressCallback) -> dict[str, Any]:
        folder, asked = self._store.job_folder(job.id), job.asked
        output = folder / output_name(asked)
        # The report is the last file of a dub: where it stands, only the end of the job was not noted.
        if not (folder / REPORT).is_file():
            try:
                request = self._request(folder, asked, output, progress)
                self._load(asked["preset"] or self._settings.preset).run(request, progress=progress)
            except UserError as error:
                raise UserError(self._as_asked(str(error), folder)) from error
        report = read_json(folder / REPORT)
        return {
            "frames": report["frames"],
            "dubbed_frames": report["dubbed_frames"],
            "duration": probe(output).duration,
            "warnings": [self._as_asked(warning, folder) for warning in report["warnings"]],
        }

    def _as_asked(self, sentence: str, folder: Path) -> str:
        """A sentence with files named as clients know them: they need not learn where the service lies."""
        for place in (folder, self._settings.root):
            sentence = sentence if place is None else sentence.replace(f"{place}/", "")
        return sentence

    def _request(
        self, folder: Path, asked: dict[str, Any], output: Path, progress: ProgressCallback
    ) -> DubRequest:
        progress(FETCHING, 0, None)
        video = self._input(folder, "video", asked["video"])
        audios = {
            name: self._input(folder, f"audio-{number}", place)
            for number, (name, place) in enumerate(asked["audios"].items())
        }
        options = {**asked["dub"], "refine": self._settings.refine}
        if asked["boxes"] is not None:
            options["track"] = folder / "boxes.json"
            write_json(options["track"], {"boxes": asked["boxes"]})
        audio = next(iter(audios.values()))
        if asked["segments"]:
            audio = _composed(folder, video, audios, asked["segments"])
            options |= _parts(folder, asked["segments"])
        sheet = folder / CONTACT_SHEET if asked["contact_sheet"] else None
        return DubRequest.of(
            video, audio, output, overwrite=True, report=folder / REPORT, contact_sheet=sheet, **options
        )

    def _input(self, folder: Path, name: str, place: dict[str, str]) -> Path:
        """The file of an input; what has to be fetched is fetched once."""
        if "file" in place:
            return folder / place["file"]
        if "path" in place:
            return file_under(self._settings.root, place["path"])
        target = folder / f"{name}{_suffix(place['url'])}"
        if not target.is_file():
            self._client.fetch(place["url"], target, self._settings.most_bytes)
        return target


def _suffix(url: str) -> str:
    suffix = PurePosixPath(urlsplit(url).path).suffix.lower()
    return suffix if suffix[1:].isalnum() and len(suffix) < 8 else ""


def _composed(folder: Path, video: Path, audios: dict[str, Path], segments: list[dict[str, Any]]) -> Path:
    """A sound on the video's clock: its own, with each segment's speech in its place."""
    target = folder / "sound.wav"
    if not target.is_file():
        patches = []
        for segment in segments:
            zero, begin, end = (_exact(segment[name]) for name in ("zero", "start", "end"))
            patches.append(SoundPatch(audios[segment["audio"]], SoundPlace(zero, begin, end)))
        write_patched(target, video if probe(video).has_audio else None, patches)
    return target


def _parts(folder: Path, segments: list[dict[str, Any]]) -> dict[str, Any]:
    """Options that say which parts are dubbed: times for a single one, a table for several."""
    if len(segments) == 1:
        part = segments[0]
        face = {"face": part["face"]} if "face" in part else {}
        return {"start": part["start"], "end": part["end"], "offset": -part["start"], **face}
    table = folder / "cues.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("start", "end", "face", "audio"))
        writer.writerows((part["start"], part["end"], part["face"], "") for part in segments)
    return {"cues": table}


def _exact(seconds: float) -> Fraction:
    return Fraction(seconds).limit_denominator(1_000_000)
