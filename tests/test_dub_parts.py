"""A job in parts, by several processes: the files of one process, byte for byte."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from dub_clips import BOX, steady, write_clip, write_package, write_speech
from hypothesis import given
from hypothesis import strategies as st
from own_mouth_clips import talker, write_talker
from safetensors.numpy import save_file

from common.errors import UserError
from common.files import write_json
from common.lip_shapes.encoder import LipEncoder
from common.lip_shapes.model import LipShapePredictor
from common.media.gops.plan import Cut
from stage2_dubber.dub import outputs
from stage2_dubber.dub.parts import PartDubber, PartedJob, divided
from stage2_dubber.dub.pipeline import DubPipeline
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.resume.folder import job_folder

FRAMES = 38
NO_FACE = range(11, 23)
MADE = ("output", "contact_sheet", "side_by_side", "report")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    write_package(folder / "toy")
    write_clip(folder / "v.mkv", steady(FRAMES, 25))
    write_json(folder / "boxes.json", {"boxes": [None if i in NO_FACE else list(BOX) for i in range(FRAMES)]})
    clip = talker(count=FRAMES)
    write_talker(folder / "talker.mkv", clip)
    save_file({"landmarks": clip.landmarks}, folder / "landmarks.safetensors")
    write_speech(folder / "a.wav", 1.6)
    LipShapePredictor(80, 16, 1, 0.0).save_pretrained(folder / "reader")
    return folder


@pytest.fixture
def pipelines(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[DubPipeline]:
    monkeypatch.setattr(outputs, "PIECE_FRAMES", 6)
    reader = LipEncoder(folder / "reader")
    monkeypatch.setattr("stage2_dubber.dub.models.shipped_lip_encoder", lambda: reader)
    return [DubPipeline.from_pretrained(folder / "toy") for _ in range(2)]


def _request(folder: Path, output: Path, video: str, track: str, **options: Any) -> DubRequest:
    names = {"contact_sheet": ".png", "side_by_side": ".beside.mkv", "report": ".json"}
    written = {name: output.with_suffix(suffix) for name, suffix in names.items()}
    given = {"track": folder / track, "num_steps": 1, "passes": 1, **written, **options}
    return DubRequest.of(folder / video, folder / "a.wav", output, **given)


def _sent(job: PartedJob) -> PartedJob:
    return pickle.loads(pickle.dumps(job))


@pytest.mark.parametrize(
    ("video", "track", "renderer", "parts"),
    [
        ("v.mkv", "boxes.json", "editor", (range(0, 12), range(12, 18), range(18, 38))),
        ("talker.mkv", "landmarks.safetensors", "own-mouths", (range(0, 12), range(12, 24), range(24, 38))),
    ],
    ids=["editor", "own mouths"],
)
def test_parts_make_the_files_of_one_process(
    tmp_path: Path,
    folder: Path,
    pipelines: list[DubPipeline],
    video: str,
    track: str,
    renderer: str,
    parts: tuple[range, ...],
) -> None:
    whole, parted = (
        _request(folder, tmp_path / f"{name}.mkv", video, track, renderer=renderer)
        for name in ("whole", "parted")
    )
    alone = pipelines[0].run(whole)
    first, second = (PartDubber(pipeline) for pipeline in pipelines)
    with job_folder(parted.output) as work:
        job = first.begin(parted, 3)
        assert job.parts == parts
        for part in reversed(job.parts[1:]):
            second.draw(_sent(job), part)
        pieces = {path: path.stat().st_mtime_ns for path in work.path.glob("dubbed-*")}
        first.draw(_sent(job), job.parts[0])
        second.draw(_sent(job), job.parts[-1])  # is there already
        result = second.finish(_sent(job))
        assert pieces and all(path.stat().st_mtime_ns == time for path, time in pieces.items())
    for name in MADE:
        assert getattr(parted, name).read_bytes() == getattr(whole, name).read_bytes(), name
    assert (result.frames, result.dubbed_frames) == (alone.frames, alone.dubbed_frames)
    assert not list(tmp_path.glob(".part-*"))


def test_another_model_draws_no_part(tmp_path: Path, folder: Path, pipelines: list[DubPipeline]) -> None:
    request = _request(folder, tmp_path / "d.mkv", "v.mkv", "boxes.json", renderer="editor")
    with (
        pytest.raises(UserError, match="begun it with other files, another model"),
        job_folder(request.output),
    ):
        job = PartDubber(pipelines[0]).begin(request, 2)
        other = DubPipeline.from_pretrained(write_package(tmp_path / "other", clip_frames=9))
        PartDubber(other).draw(_sent(job), job.parts[0])
    assert not request.output.exists()


@given(st.lists(st.tuples(st.integers(1, 250), st.booleans()), min_size=1, max_size=40), st.integers(1, 9))
def test_parts_cover_all_that_is_encoded_once(pieces: list[tuple[int, bool]], most: int) -> None:
    cuts, first = [], 0
    for length, copied in pieces:
        if not copied:
            cuts.append(Cut(first, first + length))
        first += length
    parts = divided(cuts, [], most)
    assert (len(parts) > 1) == (most > 1 and len(cuts) > 1) and len(parts) <= most
    for cut in cuts:
        assert sum(cut.first in part and cut.stop <= part.stop for part in parts) == 1
