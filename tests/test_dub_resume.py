"""A dub that was killed goes on where it was and gives the same files; a finished one leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dub_clips import BOX, uneven, write_clip, write_package, write_speech
from forked_python import forked_python
from own_mouth_clips import talker, write_talker
from safetensors.numpy import save_file

from common.diffusion.options import SamplingOptions
from common.errors import UserError
from common.face.box_backend import BoxDetector
from common.lip_shapes.encoder import LipEncoder
from common.lip_shapes.model import LipShapePredictor
from common.media import probe
from common.models.conventions import RELEASE, TBDUB_STUDENT, Conventions
from common.models.package_info import read_info, write_info
from common.own_mouths.config import OwnMouthsConfig, Renderer
from common.own_mouths.plan import MouthPlan, MouthPlanner
from common.partial import KEPT_DAYS, clear_abandoned
from stage2_dubber.dub import outputs
from stage2_dubber.dub.compositing.options import Compositing
from stage2_dubber.dub.editing.editor import WindowEditor
from stage2_dubber.dub.length.options import Timing
from stage2_dubber.dub.pipeline import DubPipeline
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.resume.folder import GOES_ON, folder_of
from stage2_dubber.dub.resume.key import job_key

FRAMES, PIECE = 26, 8
SPARSE = {"num_steps": 1, "passes": 1, "audio_scale": 1.0, "reference_scale": 1.0}


class _Killed(BaseException):
    """What nothing catches."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    write_package(folder / "toy")
    write_clip(folder / "v.mp4", uneven(FRAMES))
    write_speech(folder / "a.wav", 1.2)
    clip = talker(count=FRAMES)
    write_talker(folder / "talker.mkv", clip)
    save_file({"landmarks": clip.landmarks}, folder / "track.safetensors")
    return folder


@pytest.fixture
def pipeline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> DubPipeline:
    monkeypatch.setattr(outputs, "PIECE_FRAMES", PIECE)
    return DubPipeline.from_pretrained(folder / "toy")


def _job(folder: Path, output: Path, **options: Any) -> dict[str, Any]:
    return {
        "video": folder / "v.mp4",
        "audio": folder / "a.wav",
        "output": output,
        "box": BOX,
        **SPARSE,
        "contact_sheet": output.with_suffix(".png"),
        "side_by_side": output.with_name(f"beside {output.name}"),
        "report": output.with_suffix(".json"),
        **options,
    }


def _made(job: dict[str, Any]) -> list[bytes]:
    return [Path(job[name]).read_bytes() for name in ("output", "contact_sheet", "side_by_side", "report")]


def _dies_at(monkeypatch: pytest.MonkeyPatch, frame: int) -> list[int]:
    """Let the job die when it comes to ``frame`` for the first time; the frames that are encoded."""
    encoded: list[int] = []
    as_coded = outputs._as_coded

    def dies(item: Any, info: Any) -> Any:
        encoded.append(item.frame.index)
        if item.frame.index == frame and encoded.count(frame) == 1:
            raise _Killed
        return as_coded(item, info)

    monkeypatch.setattr(outputs, "_as_coded", dies)
    return encoded


@pytest.mark.parametrize(
    ("frame", "suffix", "options"),
    [
        (21, ".mp4", {}),
        (3, ".mkv", {"lossless": True}),
        (25, ".mov", {"codec": "prores"}),
        (12, ".mp4", {"codec": "hevc", "pix_fmt": "yuv420p10le"}),
    ],
    ids=["h264", "ffv1", "prores", "hevc-10"],
)
def test_a_job_goes_on_from_its_last_piece(
    tmp_path: Path,
    folder: Path,
    pipeline: DubPipeline,
    frame: int,
    suffix: str,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole, cut = (_job(folder, tmp_path / f"{name}{suffix}", **options) for name in ("whole", "cut"))
    windows = len(pipeline(**whole).seams) + 1
    encoded = _dies_at(monkeypatch, frame)
    with pytest.raises(_Killed):
        pipeline(**cut)
    assert not cut["output"].exists() and GOES_ON in caplog.text
    kept = len(list(folder_of(cut["output"]).glob("window-*")))
    sampled: list[Any] = []
    noise = WindowEditor._noise
    monkeypatch.setattr(WindowEditor, "_noise", lambda *args: sampled.append(args) or noise(*args))
    begun = len(encoded)
    pipeline(**cut)
    assert encoded[begun] == frame // PIECE * PIECE, "finished pieces were encoded again"
    assert kept and len(sampled) == windows - kept, "windows were sampled again"
    assert _made(cut) == _made(whole)
    assert not list(tmp_path.glob(".part-*"))


def test_a_job_that_copies_frames_goes_on_too(
    tmp_path: Path, folder: Path, pipeline: DubPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = {"start": 0.5, "outside": "silence"}
    whole, cut = (_job(folder, tmp_path / f"{name}.mp4", **part) for name in ("whole", "cut"))
    result = pipeline(**whole)
    assert result.report is not None and 0 < result.report.copied_frames < FRAMES - result.dubbed_frames + 1
    encoded = _dies_at(monkeypatch, 21)
    with pytest.raises(_Killed):
        pipeline(**cut)
    assert encoded[0] == result.report.copied_frames, "frames were encoded that are copied"
    pipeline(**cut)
    assert _made(cut) == _made(whole)


@pytest.mark.parametrize("rules", [RELEASE, TBDUB_STUDENT], ids=["x-dub", "student"])
def test_windows_that_are_decoded_as_one_video_go_on_too(
    tmp_path: Path, folder: Path, pipeline: DubPipeline, rules: Conventions, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder / "toy", tmp_path / "model")
    write_info(tmp_path / "model", replace(read_info(folder / "toy"), conventions=rules))
    pipeline = DubPipeline.from_pretrained(tmp_path / "model")
    options = {"contact_sheet": None, "side_by_side": None, "report": None, "lossless": True}
    whole, cut = (_job(folder, tmp_path / f"{name}.mkv", **options) for name in ("whole", "cut"))
    pipeline(**whole)
    _dies_at(monkeypatch, 21)
    with pytest.raises(_Killed):
        pipeline(**cut)
    pipeline(**cut)
    assert cut["output"].read_bytes() == whole["output"].read_bytes()


@pytest.mark.parametrize(("renderer", "frame"), [("own-mouths", 21), ("auto", 18)])
def test_own_mouths_go_on_too(
    tmp_path: Path, folder: Path, pipeline: DubPipeline, renderer: str, frame: int, monkeypatch
) -> None:
    """Also where the editor draws the stretches that they do not reach."""
    LipShapePredictor(80, 16, 1, 0.0).save_pretrained(folder / "reader")
    monkeypatch.setattr("stage2_dubber.dub.models.shipped_lip_encoder", lambda: LipEncoder(folder / "reader"))
    plan = MouthPlanner.plan

    def partly(self: MouthPlanner, *args: object, **options: object) -> MouthPlan:
        made = plan(self, *args, **options)
        return replace(made, reached=np.abs(np.arange(len(made)) - FRAMES / 2) > 5)

    monkeypatch.setattr(MouthPlanner, "plan", partly)
    given = {
        "video": folder / "talker.mkv",
        "track": folder / "track.safetensors",
        "box": None,
        "renderer": renderer,
        "own_mouths": OwnMouthsConfig(occluders=renderer == "auto"),
    }
    whole, cut = (_job(folder, tmp_path / f"{name}.mkv", **given) for name in ("whole", "cut"))
    result = pipeline(**whole)
    edited = result.frames - result.own_mouth_frames
    assert edited == 0 if renderer == "own-mouths" else 0 < edited < FRAMES
    _dies_at(monkeypatch, frame)
    with pytest.raises(_Killed):
        pipeline(**cut)
    pipeline(**cut)
    assert _made(cut) == _made(whole)


def test_a_detector_that_has_seen_the_video_is_not_asked_again(
    tmp_path: Path, folder: Path, pipeline: DubPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    detect = BoxDetector.detect
    monkeypatch.setattr(BoxDetector, "detect", lambda self, image: asked.append(1) or detect(self, image))
    job = _job(folder, tmp_path / "o.mp4")
    _dies_at(monkeypatch, 5)
    with pytest.raises(_Killed):
        pipeline(**job)
    assert len(asked) == FRAMES
    pipeline(**job)
    assert len(asked) == FRAMES
    pipeline(**job | {"output": tmp_path / "other.mp4", "overwrite": True})
    assert len(asked) == 2 * FRAMES


CHANGES: dict[str, Any] = {
    "video": "other.mp4",
    "audio": "other.wav",
    "sampling": SamplingOptions(seed=5),
    "timing": Timing(offset=0.1),
    "detector": "insightface",
    "face": "2",
    "box": (40.0, 30.0, 100.0, 90.0),
    "follow_box": True,
    "track": "other.wav",
    "cues": "other.wav",
    "lossless": True,
    "codec": "hevc",
    "crf": 30,
    "pix_fmt": "yuv444p",
    "audio_track": 1,
    "compositing": Compositing.blend,
    "renderer": Renderer.editor,
    "own_mouths": OwnMouthsConfig(occluders=False),
    "contact_sheet": "sheet.png",
    "side_by_side": "beside.mkv",
    "refine": ".",
}


BESIDE = {"output", "overwrite", "report", "provenance", "consent", "c2pa_cert", "c2pa_key"}
"""What changes no picture."""


def test_every_option_but_places_makes_another_job(tmp_path: Path, folder: Path) -> None:
    """Also one that is new, of which nothing is known here."""
    (tmp_path / "other.mp4").write_bytes((folder / "v.mp4").read_bytes())
    write_speech(tmp_path / "other.wav", 0.9)
    plain = DubRequest(folder / "v.mp4", folder / "a.wav", tmp_path / "o.mp4")
    sound, model = np.zeros(16, np.int16), ["model"]
    keys = [job_key(plain, sound, model)]
    assert keys[0] == job_key(replace(plain, output=tmp_path / "p.mp4", overwrite=True), sound, model)
    options = {item.name for item in fields(DubRequest)} - BESIDE
    for name, value in {**dict.fromkeys(options, "changed"), **CHANGES}.items():
        path = isinstance(value, str) and "." in value
        keys.append(job_key(replace(plain, **{name: tmp_path / value if path else value}), sound, model))
    keys += [job_key(plain, sound + 1, model), job_key(plain, sound, ["other"])]
    keys.append(job_key(plain, sound, model, painter=folder))
    os.utime(folder / "v.mp4", (1, 1))
    keys.append(job_key(plain, sound, model))
    assert len(set(keys)) == len(keys)


def test_work_of_another_job_is_not_used(
    tmp_path: Path, folder: Path, pipeline: DubPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = {"seed": 5}
    job, other = _job(folder, tmp_path / "o.mp4"), _job(folder, tmp_path / "other.mp4", **change)
    pipeline(**other)
    _dies_at(monkeypatch, FRAMES - 1)
    with pytest.raises(_Killed):
        pipeline(**job)
    pipeline(**job | change)
    assert _made(job) == _made(other)


def test_killed_when_outputs_stand_already(
    tmp_path: Path, folder: Path, pipeline: DubPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command ends the job, whichever output is there; one whose output was there is refused."""
    place = tmp_path / "place"
    place.mkdir()
    job = _job(folder, place / "o.mp4")

    def dies(path: object, **_: object) -> None:
        raise _Killed

    with monkeypatch.context() as patched, pytest.raises(_Killed):
        patched.setattr("stage2_dubber.dub.resume.folder.shutil.rmtree", dies)
        pipeline(**job)
    before = _made(job)
    assert folder_of(job["output"]).is_dir()
    shutil.copytree(place, tmp_path / "left")
    for survivor in ("output", "report", "contact_sheet"):
        shutil.rmtree(place)
        shutil.copytree(tmp_path / "left", place)
        for name in ("output", "report", "contact_sheet", "side_by_side"):
            if name != survivor:
                job[name].unlink()
        pipeline(**job)
        assert _made(job) == before and not folder_of(job["output"]).exists(), survivor
        with pytest.raises(UserError, match="exists already"):
            pipeline(**job)


def test_outputs_that_stand_are_not_another_jobs(
    tmp_path: Path, folder: Path, pipeline: DubPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _job(folder, tmp_path / "o.mp4")

    def dies(path: object, **_: object) -> None:
        raise _Killed

    with monkeypatch.context() as patched, pytest.raises(_Killed):
        patched.setattr("stage2_dubber.dub.resume.folder.shutil.rmtree", dies)
        pipeline(**job)
    with pytest.raises(UserError, match="exists already"):
        pipeline(**job | {"seed": 3})


def test_two_processes_at_one_output(tmp_path: Path, folder: Path, pipeline: DubPipeline) -> None:
    job = _job(folder, tmp_path / "o.mp4")
    refused: list[UserError] = []

    def again(stage: str, done: float, total: float | None) -> None:
        if not refused and stage == "dubbing":
            with pytest.raises(UserError, match="being made by another process") as error:
                pipeline(**job)
            refused.append(error.value)

    pipeline(**job, progress=again)
    assert refused and job["output"].is_file()


def test_forgotten_work_is_removed_and_waiting_work_is_not(
    tmp_path: Path, folder: Path, pipeline: DubPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _job(folder, tmp_path / "o.mp4")
    _dies_at(monkeypatch, 9)
    with pytest.raises(_Killed):
        pipeline(**job)
    kept = folder_of(job["output"])
    clear_abandoned(tmp_path)
    assert kept.is_dir()
    long_ago = time.time() - (KEPT_DAYS + 1) * 86_400
    os.utime(kept, (long_ago, long_ago))
    clear_abandoned(tmp_path)
    assert not kept.exists()


RUNS = """
import os, sys
from pathlib import Path
from stage2_dubber.dub import outputs
from stage2_dubber.dub.pipeline import DubPipeline
outputs.PIECE_FRAMES = 8
folder, output = map(Path, sys.argv[1:])
pipeline = DubPipeline.from_pretrained(folder / "toy")
print(os.getpid(), flush=True)
pipeline(
    video=folder / "v.mp4", audio=folder / "a.wav", output=output, box=(50.0, 30.0, 110.0, 90.0), num_steps=1
)
"""


def test_killed_at_random_moments_it_gives_the_same_file(
    tmp_path: Path, folder: Path, pipeline: DubPipeline
) -> None:
    """The moments are counted in files of the folder, so that a busy machine changes nothing."""
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    pipeline(video=folder / "v.mp4", audio=folder / "a.wav", output=whole, box=BOX, num_steps=1)
    assert _run_and_kill(folder, cut, 6) and not cut.exists()
    assert not _run_and_kill(folder, cut, None)
    assert cut.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.mp4", "whole.mp4"]
    assert probe(cut).frame_count == FRAMES


def _run_and_kill(folder: Path, output: Path, files: int | None) -> bool:
    """Whether the process was killed: when so many files lie in the job's folder."""
    command = [forked_python(), "-c", RUNS, str(folder), str(output)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        fork = int(process.stdout.readline())
        kept = folder_of(output)
        while process.poll() is None:
            if files is not None and kept.is_dir() and len(list(kept.iterdir())) >= files:
                os.kill(fork, signal.SIGKILL)
                break
            time.sleep(0.002)
        return process.wait(200) != 0
    finally:
        process.kill()
        process.communicate()
