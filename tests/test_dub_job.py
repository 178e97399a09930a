"""A clip through the streams of a dubbing job, with editors that only mark what they were given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from dub_clips import BOX, picture, steady, uneven, write_clip, write_speech
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.media import read_frames
from common.speech.mel import MelEncoder
from stage2_dubber.dub.compositing.options import Compositing
from stage2_dubber.dub.editing.ahead import Ahead
from stage2_dubber.dub.editing.edit import Edit
from stage2_dubber.dub.faces.follow import follow_face
from stage2_dubber.dub.inputs import check_request
from stage2_dubber.dub.job import Composite, FacePlan, composited_frames, plan_face, plan_followed
from stage2_dubber.dub.length.options import Timing
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.timeline import Timeline
from stage2_dubber.dub.untouched import Reason

FEATURES = np.zeros((1, 4), np.float32)


class MarkingEditor:
    """Paints every crop one colour, and remembers what it got."""

    crop_size = 64
    fps = 25.0

    def __init__(self, ahead: int = 1) -> None:
        self.seen: list[np.ndarray] = []
        self.calls: list[tuple[int, int]] = []
        self.ahead = ahead

    def stream(
        self, crops: Iterator[np.ndarray], count: int, audio_features: np.ndarray, start_frame: int
    ) -> Iterator[Edit]:
        self.calls.append((start_frame, count))
        held = []
        for number in range(count):
            crop = next(crops)
            self.seen.append(crop)
            held.append(np.full_like(crop, (start_frame + number) % 256))
            if len(held) == self.ahead:
                yield from map(Edit, held)
                held = []
        yield from map(Edit, held)


def _silent(*_: object) -> None:
    return None


def _request(tmp_path: Path, video: Path, **changes: object) -> DubRequest:
    options: dict = {"audio": tmp_path / "a.wav", "output": tmp_path / "o.mp4", "box": BOX, **changes}
    return DubRequest(video=video, **options)


def _run(
    video: Path, plan: FacePlan, editor: MarkingEditor, compositing: Compositing = Compositing.blend
) -> list[Composite]:
    return list(composited_frames(video, plan, editor, FEATURES, compositing))


class CarefulEditor(MarkingEditor):
    """Changes a small patch in the middle, or nothing at all."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def stream(
        self, crops: Iterator[np.ndarray], count: int, audio_features: np.ndarray, start_frame: int
    ) -> Iterator[Edit]:
        low, high = 32 - self.patch // 2, 32 + self.patch // 2
        for crop in crops:
            edited = crop.copy()
            edited[low:high, low:high] = 255 - edited[low:high, low:high] // 2
            yield Edit(edited)


@pytest.mark.parametrize("stamps", [steady(20, 25), steady(33, 30), steady(20, 12), uneven(30)])
def test_all_frames_come_back_and_only_the_square_changes(tmp_path: Path, stamps: list[int]) -> None:
    video = write_clip(tmp_path / "clip with spaces.mp4", stamps)
    plan = plan_face(_request(tmp_path, video), 1.45, 25.0, _silent)
    editor = MarkingEditor(ahead=7)
    source = read_frames(video)
    done = _run(video, plan, editor, Compositing.whole_crop)
    assert [item.frame.index for item in done] == list(range(len(stamps)))
    assert [item.frame.pts for item in done] == stamps
    x, y = plan.crops.centers[0]
    half = plan.crops.sizes[0] / 2
    rows, columns = np.mgrid[0 : source.shape[1], 0 : source.shape[2]]
    outside = (np.abs(columns - x) > half + 1) | (np.abs(rows - y) > half + 1)
    assert outside.any()
    for item, original in zip(done, source, strict=True):
        np.testing.assert_array_equal(item.image[outside], original[outside])
        # The middle of the square takes the edit of the model frame that is nearest in time.
        moment = plan.timeline.nearest[item.frame.index]
        assert (item.image[round(y), round(x)] == moment).all()
        assert abs(moment / 25 - item.frame.time) <= 1 / 25 + 1e-6


def test_the_editor_sees_model_time_and_not_source_frames(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "v.mkv", steady(36, 30), lossless=True)
    plan = plan_face(_request(tmp_path, video), 1.45, 25.0, _silent)
    editor = MarkingEditor()
    _run(video, plan, editor)
    assert len(editor.seen) == 30
    for moment, crop in enumerate(editor.seen):
        index = int(plan.timeline.shown[moment])
        np.testing.assert_array_equal(crop, plan.crops.extract(picture(index), index, 64))


def test_an_edit_that_changes_nothing_changes_no_byte(tmp_path: Path) -> None:
    """Also where crops are smaller than the face, and where the source has frames the model never saw."""
    video = write_clip(tmp_path / "v.mp4", steady(24, 30))
    plan = plan_face(_request(tmp_path, video), 1.45, 25.0, _silent)
    done = _run(video, plan, CarefulEditor(patch=0))
    np.testing.assert_array_equal(np.stack([item.image for item in done]), read_frames(video))


def test_only_what_the_edit_changed_is_taken(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(12, 25))
    plan = plan_face(_request(tmp_path, video), 1.45, 25.0, _silent)
    done = _run(video, plan, CarefulEditor(patch=12))
    x, y = plan.crops.centers[0]
    pixel = plan.crops.sizes[0] / 64  # source pixels per pixel of the crop
    rows, columns = np.mgrid[0:120, 0:160]
    away = np.maximum(np.abs(columns - x), np.abs(rows - y)) / pixel
    for item in done:
        changed = np.abs(item.image.astype(int) - item.frame.image)
        assert (changed[away > 22] == 0).all()
        assert changed[away < 5].mean() > 30


class BrighteningEditor(MarkingEditor):
    """Adds light in the middle of every crop, and returns a picture that has lost all detail."""

    def __init__(self, light: float = 40) -> None:
        super().__init__()
        self.light = light

    def stream(
        self, crops: Iterator[np.ndarray], count: int, audio_features: np.ndarray, start_frame: int
    ) -> Iterator[Edit]:
        for _ in range(count):
            crop = next(crops)
            change = np.zeros(crop.shape, np.float32)
            change[24:40, 24:40] = self.light
            yield Edit(np.full_like(crop, crop.mean()), change)


def test_a_residual_keeps_the_sources_detail_and_every_byte_outside(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "v.mkv", steady(12, 25), lossless=True)
    plan = plan_face(_request(tmp_path, video), 1.45, 25.0, _silent)
    done = _run(video, plan, BrighteningEditor(), Compositing.residual)
    for item in done:
        source, image = item.frame.image.astype(int), item.image.astype(int)
        moved = image - source
        centre = plan.crops.centers[item.frame.index].astype(int)
        middle = (slice(centre[1] - 4, centre[1] + 4), slice(centre[0] - 4, centre[0] + 4))
        room = source[middle] < 215
        assert (np.abs(moved[middle][room] - 40) <= 2).all()
        # The lost detail of the edited picture is nowhere to be seen.
        assert (moved >= 0).all()
        side = plan.crops.sizes[item.frame.index] / 64
        far = np.ones(source.shape[:2], bool)
        reach = round(side * (8 + 14))
        far[centre[1] - reach : centre[1] + reach + 1, centre[0] - reach : centre[0] + reach + 1] = False
        assert (moved[far] == 0).all()


def test_fused_takes_the_edit_where_much_is_new_and_adds_to_the_source_where_little_is(
    tmp_path: Path,
) -> None:
    video = write_clip(tmp_path / "v.mkv", steady(12, 25), lossless=True)
    plan = plan_face(_request(tmp_path, video), 1.45, 25.0, _silent)
    x, y = plan.crops.centers[0].astype(int)
    middle = (slice(y - 3, y + 3), slice(x - 3, x + 3))

    def made(light: float, way: Compositing) -> np.ndarray:
        return np.stack([item.image for item in _run(video, plan, BrighteningEditor(light), way)])

    fused, source = made(60, Compositing.fused), read_frames(video)
    # The edited picture of this editor is flat.
    spread = [frames[(slice(None), *middle)].std(axis=(1, 2)) for frames in (fused, source)]
    assert (spread[0] < 1).all() and (spread[1] > 2).all()
    np.testing.assert_array_equal(made(7, Compositing.fused), made(7, Compositing.residual))


@pytest.mark.parametrize("way", [Compositing.residual, Compositing.fused])
def test_a_residual_of_nothing_changes_no_byte(tmp_path: Path, way: Compositing) -> None:
    class Nothing(MarkingEditor):
        def stream(
            self, crops: Iterator[np.ndarray], count: int, audio_features: np.ndarray, start_frame: int
        ) -> Iterator[Edit]:
            for _ in range(count):
                crop = next(crops)
                yield Edit(255 - crop, np.zeros(crop.shape, np.float32))

    video = write_clip(tmp_path / "v.mkv", steady(12, 25), lossless=True)
    plan = plan_face(_request(tmp_path, video), 1.45, 25.0, _silent)
    for item in _run(video, plan, Nothing(), way):
        np.testing.assert_array_equal(item.image, item.frame.image)


def test_frames_without_a_face_pass_through_untouched(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(80, 25))
    boxes: list[list[float] | None] = [list(BOX)] * 80
    boxes[0:5] = [None] * 5
    boxes[30:50] = [None] * 20
    boxes[53:80] = [None] * 27
    track = tmp_path / "track.json"
    track.write_text(str({"boxes": boxes}).replace("None", "null").replace("'", '"'))
    plan = plan_face(_request(tmp_path, video, box=None, track=track), 1.45, 25.0, _silent)
    editor = MarkingEditor(ahead=5)
    done = _run(video, plan, editor)
    source = read_frames(video)
    dubbed = [item.frame.index for item in done if item.position is not None]
    assert dubbed == list(range(5, 30)), "three frames with a face are too few to dub"
    assert editor.calls == [(5, 25)], "speech must be heard at the frame's own time"
    assert [item.position for item in done if item.position is not None] == list(range(25))
    for item, original in zip(done, source, strict=True):
        if item.position is None:
            np.testing.assert_array_equal(item.image, original)
    assert len(plan.warnings) == 1 and "55 of 80" in plan.warnings[0]


def test_two_stretches_are_two_streams(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(90, 30))
    boxes: list[list[float] | None] = [list(BOX)] * 90
    boxes[30:54] = [None] * 24
    track = tmp_path / "track.json"
    track.write_text(str({"boxes": boxes}).replace("None", "null").replace("'", '"'))
    plan = plan_face(_request(tmp_path, video, box=None, track=track), 1.45, 25.0, _silent)
    editor = MarkingEditor(ahead=4)
    done = _run(video, plan, editor)
    assert editor.calls == [(0, 25), (45, 30)]
    assert [item.frame.index for item in done if item.position is None] == list(range(30, 54))


def test_no_face_at_all_is_an_error(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(6, 25))
    track = tmp_path / "track.json"
    track.write_text('{"boxes": [null, null, null, null, null, null]}')
    with pytest.raises(UserError, match=r"No face was found in '.*v\.mp4'"):
        plan_face(_request(tmp_path, video, box=None, track=track), 1.45, 25.0, _silent)


def test_a_face_that_only_flashes_by_is_an_error(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(40, 25))
    track = tmp_path / "track.json"
    boxes = [list(BOX)] * 4 + [None] * 36
    track.write_text(str({"boxes": boxes}).replace("None", "null").replace("'", '"'))
    with pytest.raises(UserError, match="No face stays in view"):
        plan_face(_request(tmp_path, video, box=None, track=track), 1.45, 25.0, _silent)


@pytest.mark.parametrize(
    ("rate", "start", "end", "frames"),
    [(25, 0.4, 0.6, range(10, 15)), (25, 0.4, 0.44, range(10, 11)), (50, 0.44, 0.46, range(22, 23))],
)
def test_a_part_is_dubbed_however_short(
    tmp_path: Path, rate: int, start: float, end: float, frames: range
) -> None:
    """Also one frame that falls between two of the model's."""
    good = _good(tmp_path) | {"video": write_clip(tmp_path / "v.mkv", steady(40, rate), lossless=True)}
    request = DubRequest(**good, timing=Timing(start=start, end=end))
    face = follow_face(request, _silent, inputs=check_request(request))
    plan = plan_followed(request.video, face, 1.45, 25.0)
    done = _run(request.video, plan, MarkingEditor(), Compositing.whole_crop)
    assert [item.frame.index for item in done if item.position is not None] == list(frames)
    changed = [item.frame.index for item in done if (item.image != item.frame.image).any()]
    assert changed == list(frames)


def test_what_is_seen_too_shortly_does_not_depend_on_the_part(tmp_path: Path) -> None:
    """A face that stays is dubbed to the part's edge; one that is there for a moment only is not."""
    boxes: list[list[float] | None] = [None] * 100
    boxes[:23], boxes[40:45], boxes[60:] = [list(BOX)] * 23, [list(BOX)] * 5, [list(BOX)] * 40
    track = tmp_path / "track.json"
    track.write_text(json.dumps({"boxes": boxes}))
    good = _good(tmp_path, 2.0) | {"video": write_clip(tmp_path / "w.mp4", steady(100, 25))}
    request = DubRequest(**(good | {"box": None}), track=track, timing=Timing(start=0.8, end=2.48))
    plan = plan_followed(
        request.video, follow_face(request, _silent, inputs=check_request(request)), 1.45, 25.0
    )
    assert [segment.source for segment in plan.segments] == [range(20, 23), range(60, 62)]
    assert [(u.first, u.last) for u in plan.untouched if u.reason is Reason.short] == [(40, 44)]
    absent = replace(request, timing=Timing(start=1.0, end=1.4))
    with pytest.raises(UserError, match="No face is in view between --start and --end"):
        plan_followed(request.video, follow_face(absent, _silent, inputs=check_request(absent)), 1.45, 25.0)


def test_a_part_without_a_frame_is_refused_before_the_work(tmp_path: Path) -> None:
    request = DubRequest(**_good(tmp_path), timing=Timing(start=0.41, end=0.43))
    with pytest.raises(UserError, match=r"from 0\.41 to 0\.43 s is so short that no frame begins in it"):
        check_request(request)


def test_a_clip_shorter_than_the_minimum_is_taken_whole(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(3, 25))
    plan = plan_face(_request(tmp_path, video), 1.45, 25.0, _silent)
    assert all(item.position is not None for item in _run(video, plan, MarkingEditor()))


def test_tracking_tells_how_far_it_is(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(12, 25))
    told: list[tuple] = []
    plan_face(_request(tmp_path, video), 1.45, 25.0, lambda *args: told.append(args))
    assert [done for _, done, _ in told] == list(range(1, 13))
    assert {total for _, _, total in told} == {12}


def test_following_a_face_ends_soon_when_nobody_wants_it_any_more(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(12, 25))
    stopping, told = Event(), list[float]()

    def stop_after_three(stage: str, done: float, total: float | None) -> None:
        told.append(done)
        if done == 3:
            stopping.set()

    face = follow_face(_request(tmp_path, video), stop_after_three, stopping)
    assert told == [1, 2, 3] and len(face.track) == 3


def test_a_face_that_was_followed_already_makes_the_same_plan(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "v.mp4", steady(12, 25))
    request = _request(tmp_path, video)
    with Ahead() as ahead:
        face = ahead.start(lambda: follow_face(request, _silent, ahead.stopping))
        plan = plan_followed(video, face(), 1.45, 25.0)
    other = plan_face(request, 1.45, 25.0, _silent)
    assert plan.segments == other.segments
    np.testing.assert_array_equal(plan.crops.sizes, other.crops.sizes)


def test_work_beside_a_failure_is_stopped_and_waited_for() -> None:
    begun, ended = Event(), Event()

    def job(stopping: Event) -> None:
        begun.set()
        if stopping.wait(60):
            ended.set()

    with pytest.raises(KeyboardInterrupt), Ahead() as ahead:
        ahead.start(lambda: job(ahead.stopping))
        assert begun.wait(60)
        raise KeyboardInterrupt
    assert ended.is_set()


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.floats(0.004, 0.3), min_size=1, max_size=60),
    cuts=st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_segments_share_no_model_frame_and_give_every_source_frame_one(
    lengths: list[float], cuts: tuple[int, int]
) -> None:
    times = np.concatenate([[0.0], np.cumsum(lengths)])
    timeline = Timeline.of(times, 25.0)
    a, b = sorted(min(cut, len(times)) for cut in cuts)
    runs = [slice(start, stop) for start, stop in ((0, a), (a, b), (b, len(times))) if stop > start]
    segments = timeline.segments(runs)
    used = [moment for segment in segments for moment in segment.model]
    assert used == sorted(set(used))
    for segment in segments:
        taken = [timeline.model_frame(segment, frame) for frame in segment.source]
        assert all(moment in segment.model for moment in taken)
        assert taken == sorted(taken)
        seen = [timeline.source_frame(segment, moment) for moment in segment.model]
        assert set(seen) <= set(segment.source) and seen == sorted(seen)
        if len(segment.model) > 1:
            assert seen == timeline.shown[segment.model].tolist()
    alone = [timeline.segments([run]) for run in runs]
    assert [[segment.source for segment in found] for found in alone] == [
        [range(r.start, r.stop)] for r in runs
    ]


def _good(tmp_path: Path, seconds: float = 0.8) -> dict:
    return {
        "video": write_clip(tmp_path / "v.mp4", steady(20, 25)),
        "audio": write_speech(tmp_path / "a.wav", seconds),
        "output": tmp_path / "out" / "o.mp4",
        "box": BOX,
    }


def test_lengths_that_differ_are_told(tmp_path: Path) -> None:
    same = check_request(DubRequest(**_good(tmp_path))).warnings
    assert len(same) == 1 and "encoded as AAC" in same[0] and ".mkv keeps it" in same[0]
    short = check_request(DubRequest(**_good(tmp_path, 0.5)))
    assert "ends 0.3 s before the video" in short.warnings[0]
    features = short.features(MelEncoder(), 0.8)
    assert len(features) == 40 and (features[26:] == MelEncoder.floor).all()
    assert "2.2 s longer" in check_request(DubRequest(**_good(tmp_path, 3.0))).warnings[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video": "missing.mp4"}, "'.*missing.mp4' does not exist"),
        ({"audio": "missing.wav"}, "'.*missing.wav' does not exist"),
        ({"audio": "v.mp4"}, "no audio stream"),
        ({"video": "a.wav"}, "no video stream"),
        ({"video": "text.mp4"}, "is not media"),
        ({"output": "v.mp4"}, "is also an input"),
        ({"output": "./out/../a.wav"}, "is also an input"),
        ({"output": "old.mp4"}, "--overwrite"),
        ({"output": "new.txt"}, "does not end like a video"),
        ({"output": "new.mp4", "lossless": True}, r"must end in \.mkv"),
        ({"contact_sheet": "sheet.jpg"}, r"must end in \.png"),
        ({"contact_sheet": "out/o.mp4"}, "named twice"),
        ({"output": "text.mp4/o.mp4"}, "output folder"),
        ({"track": "track.json"}, "give one of them"),
        ({"box": None, "detector": "box"}, "--box or --track"),
    ],
)
def test_bad_requests_are_refused_before_any_work(tmp_path: Path, changes: dict, message: str) -> None:
    options = _good(tmp_path)
    (tmp_path / "text.mp4").write_text("this is no video")
    (tmp_path / "old.mp4").write_bytes(b"x")
    for key, value in changes.items():
        options[key] = tmp_path / value if isinstance(value, str) and key != "detector" else value
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message):
        check_request(DubRequest(**options))
    assert [path for path in sorted(tmp_path.rglob("*")) if path.is_file()] == [
        p for p in before if p.is_file()
    ]
