"""Following one person with made-up detectors; the user's own boxes and tracks; the registry."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from common.errors import UserError
from common.face import FaceObservation, FaceTrack, build_detector, require_face, track_face
from common.face.canonical import face_in_box
from common.face.types import landmarks_box


def face(x: float, size: float = 50, who: int | None = None) -> FaceObservation:
    box = np.array([x, 20, x + size, 20 + size], np.float32)
    landmarks = face_in_box(box)
    embedding = None if who is None else np.eye(4, dtype=np.float32)[who]
    return FaceObservation(landmarks_box(landmarks), landmarks, 1.0, embedding)


class Script:
    """A detector that sees what it is told, frame by frame."""

    name = "script"

    def __init__(self, *frames: list[FaceObservation]) -> None:
        self.frames = frames
        self.next: Iterator[list[FaceObservation]] = iter(())

    def reset(self) -> None:
        self.next = iter(self.frames)

    def new_shot(self) -> None: ...

    def detect(self, image: np.ndarray) -> list[FaceObservation]:
        return next(self.next)


def follow(*frames: list[FaceObservation], max_gap: int = 10) -> FaceTrack:
    images = (np.zeros((100, 400, 3), np.uint8) for _ in frames)
    return track_face(images, Script(*frames), max_gap=max_gap)


def left_edges(track: FaceTrack) -> list[float]:
    return [round(float(x)) for x in track.boxes[:, 0]]


class TestTrackFace:
    def test_takes_the_largest_and_stays_with_it(self):
        # A larger face comes in later and must not take over.
        track = follow(
            [face(10, 40), face(200, 60)], [face(10, 40), face(204, 60)], [face(12, 90), face(208, 60)]
        )
        assert np.diff(track.boxes[:, 0]) == pytest.approx([4, 4], abs=0.1)
        assert track.present.all() and track.landmarks.shape == (3, 68, 3)

    def test_one_missed_detection_does_not_hand_over_to_a_neighbour(self):
        track = follow([face(20), face(200)], [face(200)], [face(24), face(200)])
        assert track.present.all()
        assert track.boxes[1, 0] == pytest.approx(track.boxes[[0, 2], 0].mean())

    def test_only_short_gaps_are_filled(self):
        frames = [[face(20)], [], [], [face(26)], [], [], [], [face(20)]]
        track = follow(*frames, max_gap=2)
        np.testing.assert_array_equal(track.present, [1, 1, 1, 1, 0, 0, 0, 1])
        np.testing.assert_allclose(np.diff(track.landmarks[:4, 30, 0]), 2, atol=1e-3)
        assert np.isnan(track.landmarks[4:7]).all() and np.isnan(track.boxes[4:7]).all()

    def test_gaps_at_the_ends_stay_absent(self):
        track = follow([], [face(20)], [])
        np.testing.assert_array_equal(track.present, [False, True, False])
        assert len(track) == 3

    def test_after_a_long_absence_the_person_is_sought_anew(self):
        frames = [[face(20)], [], [], [], [face(250)], [face(252)]]
        assert follow(*frames, max_gap=2).present.tolist() == [True, False, False, False, True, True]
        # Within the gap a far face is somebody else.
        assert follow(*frames, max_gap=10).present.tolist() == [True] + [False] * 5

    def test_identity_keeps_strangers_out(self):
        frames = [[face(20, who=0)], [], [face(250, who=1)], [face(250, who=1), face(100, who=0)]]
        track = follow(*frames, max_gap=0)
        assert track.present.tolist() == [True, False, False, True]
        assert track.boxes[3, 0] < 150

    def test_clips_without_frames_or_faces(self):
        assert len(follow()) == 0
        track = follow([], [])
        assert not track.present.any() and track.segments() == []
        with pytest.raises(UserError, match=r"No face was found in 'talk\.mp4'"):
            require_face(track, "talk.mp4")
        seen = follow([face(20)])
        assert require_face(seen, "talk.mp4") is seen


class TestFaceTrack:
    def test_segments_are_the_runs_with_a_face(self):
        here, gone = [face(20)], []
        track = follow(*[here] * 3, *[gone] * 2, here, *[gone] * 2, *[here] * 4, max_gap=0)
        assert track.segments() == [slice(0, 3), slice(5, 6), slice(8, 12)]
        assert track.segments(min_frames=4) == [slice(8, 12)]
        part = track[slice(8, 12)]
        assert part.present.all() and part.frame_indices.tolist() == [8, 9, 10, 11]

    def test_saves_and_loads_what_it_is(self, tmp_path: Path):
        track = follow([face(20)], [], [face(30)], max_gap=0)
        track.save(tmp_path / "a.track.safetensors")
        back = FaceTrack.load(tmp_path / "a.track.safetensors")
        for name in ("frame_indices", "landmarks", "boxes", "present"):
            np.testing.assert_array_equal(getattr(back, name), getattr(track, name))
            assert getattr(back, name).dtype == getattr(track, name).dtype

    def test_a_file_that_is_no_track_is_refused(self, tmp_path: Path):
        with pytest.raises(UserError, match="does not exist"):
            FaceTrack.load(tmp_path / "none.safetensors")
        (tmp_path / "text.safetensors").write_text("hello")
        with pytest.raises(UserError, match="not a safetensors file"):
            FaceTrack.load(tmp_path / "text.safetensors")
        save_file({"boxes": np.zeros((2, 4), np.float32)}, tmp_path / "boxes.safetensors")
        with pytest.raises(UserError, match="holds no 'frame_indices'"):
            FaceTrack.load(tmp_path / "boxes.safetensors")


PICTURE = np.zeros((100, 200, 3), np.uint8)


class TestBoxDetector:
    def test_one_box_for_all_frames(self):
        detector = build_detector("box", box=[50, 20, 110, 80])
        track = track_face([PICTURE] * 3, detector)
        assert track.present.all()
        np.testing.assert_array_equal(track.boxes, [[50, 20, 110, 80]] * 3)
        inside = track.landmarks[:, :, :2]
        assert inside.min() > 15 and inside[..., 0].max() < 115 and inside[..., 1].max() < 85

    @pytest.mark.parametrize("kind", ["json", "safetensors"])
    def test_track_of_boxes_with_frames_without_a_face(self, tmp_path: Path, kind: str):
        rows = [[10, 10, 60, 60], None, [12, 10, 62, 60]]
        path = tmp_path / f"my face.{kind}"
        if kind == "json":
            path.write_text(json.dumps({"boxes": rows}))
        else:
            boxes = np.array([r or [np.nan] * 4 for r in rows], np.float32)
            save_file({"boxes": boxes}, path)
        detector = build_detector("box", track_file=str(path))
        for _ in range(2):
            track = track_face([PICTURE] * 3, detector, max_gap=0)
            assert track.present.tolist() == [True, False, True]
            np.testing.assert_array_equal(track.boxes[2], [12, 10, 62, 60])

    def test_landmarks_win_over_boxes_and_boxes_fill_in(self, tmp_path: Path):
        landmarks = np.stack([face(30).landmarks, np.full((68, 3), np.nan, np.float32)])
        boxes = np.array([[0, 0, 40, 40], [35, 20, 85, 70]], np.float32)
        save_file({"landmarks": landmarks, "boxes": boxes}, tmp_path / "t.safetensors")
        track = track_face([PICTURE] * 2, build_detector("box", track_file=tmp_path / "t.safetensors"))
        np.testing.assert_array_equal(track.landmarks[0], landmarks[0])
        np.testing.assert_array_equal(track.landmarks[1], face_in_box(boxes[1]))

    def test_a_saved_track_can_be_given_back(self, tmp_path: Path):
        track = follow([face(20)], [], [face(30)], max_gap=0)
        track.save(tmp_path / "t.safetensors")
        again = track_face(
            [PICTURE] * 3, build_detector("box", track_file=tmp_path / "t.safetensors"), max_gap=0
        )
        np.testing.assert_array_equal(again.landmarks, track.landmarks)

    def test_a_track_shorter_than_the_clip_is_an_error(self, tmp_path: Path):
        (tmp_path / "t.json").write_text('{"boxes": [[1, 1, 9, 9]]}')
        with pytest.raises(UserError, match="ends after 1 frames"):
            track_face([PICTURE] * 2, build_detector("box", track_file=tmp_path / "t.json"))

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("[1, 2]", "must be an object"),
            ("{}", "neither 'boxes' nor 'landmarks'"),
            ('{"boxes": 3}', "is no list"),
            ('{"boxes": [[1, 2, 3]]}', "of shape"),
            ('{"boxes": [[1, 2, 3, 4], [1, 2]]}', "rows that are not all"),
            ('{"boxes": [[5, 5, 1, 9]]}', "empty box in row 0"),
            ('{"boxes": [["a", 5, 1, 9]]}', "rows that are not all"),
            ("{", "not valid JSON"),
        ],
    )
    def test_a_bad_track_file_is_named(self, tmp_path: Path, content: str, message: str):
        path = tmp_path / "bad.json"
        path.write_text(content)
        with pytest.raises(UserError, match=message) as error:
            build_detector("box", track_file=path)
        assert str(path) in str(error.value)

    @pytest.mark.parametrize("box", [[1, 2, 3], "here", [5, 5, 5, 9], [0, 0, float("nan"), 2], 7])
    def test_a_bad_box_is_named(self, box: object):
        with pytest.raises(UserError, match="face box"):
            build_detector("box", box=box)

    def test_needs_a_box_or_a_file(self, tmp_path: Path):
        with pytest.raises(UserError, match="not both"):
            build_detector("box")
        with pytest.raises(UserError, match="not both"):
            build_detector("box", box=[0, 0, 1, 1], track_file=tmp_path / "t.json")


def test_unknown_backends_and_options_are_refused():
    with pytest.raises(UserError, match="no face detector 'dlib': choose one of mediapipe, insightface, box"):
        build_detector("dlib")
    with pytest.raises(UserError, match="no option 'faces'"):
        build_detector("mediapipe", faces=2)
