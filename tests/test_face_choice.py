"""All faces of a clip, who is who, and which of them is dubbed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from dub_clips import steady, write_clip, write_speech
from test_shots import CASES, Script, film, seen

from common.errors import UserError
from common.face import FaceObservation, FaceTrack, build_detector
from common.face.faces_file import read_listed_faces, write_faces
from common.face.people import Faces, track_faces
from common.face.recorded import RecordedDetector
from common.face.rows import Rows
from common.media import VideoReader, VideoWriter, load_audio, probe, save_wav
from stage2_dubber.dub.dubbed import DubbedFace
from stage2_dubber.dub.faces.choice import FaceChoice
from stage2_dubber.dub.faces.choose import ChosenFaces, choose_faces
from stage2_dubber.dub.faces.follow import FollowedFace
from stage2_dubber.dub.faces.sheet import list_faces
from stage2_dubber.dub.faces.speaker import shapes_agree, speaking
from stage2_dubber.dub.inputs import check_request
from stage2_dubber.dub.job import plan_followed
from stage2_dubber.dub.own_mouths import Division
from stage2_dubber.dub.report import drawn_stretches
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.untouched import Reason, find_untouched, untouched_warning

FOOTAGE = CASES.parent / "footage" / "dev" / "clean"


def wider(x: float, size: float = 50) -> FaceObservation:
    """Another person: the nose is twice as wide."""
    face = seen(x, size)
    points = face.landmarks.copy()
    middle = points[33, 0]
    points[31:36, 0] = middle + 2.0 * (points[31:36, 0] - middle)
    return FaceObservation(face.box, points, 1.0)


def two_shots() -> Faces:
    """A large bystander alone for 12 frames; after a cut a small speaker beside them for 12."""
    frames = [[wider(5, 60)]] * 12 + [[wider(5, 60), seen(75, 40)]] * 12
    return track_faces(film(24, [12]), Script(frames))


def agreement(**known: float):
    return lambda faces: {int(name[1:]): value for name, value in known.items()}


def silent(faces: Faces) -> None:
    return None


class TestTracking:
    def test_each_face_of_each_shot_is_followed_and_known_again(self):
        faces = two_shots()
        assert [(s.person, s.shot, len(s)) for s in faces.stretches] == [(1, 0, 12), (1, 1, 12), (2, 1, 12)]
        assert faces.apart[0, 1] > 3 and faces.apart[0, 0] == 0

    def test_two_faces_at_once_are_two_persons_however_alike(self):
        faces = track_faces(film(12, []), Script([[seen(5), seen(70)]] * 12))
        assert faces.persons == [1, 2]

    def test_faces_that_pass_each_other_keep_their_tracks(self):
        frames = [[seen(5 + i), wider(70 - i)] for i in range(12)]
        faces = track_faces(film(12, []), Script([f[:: 1 - 2 * (i % 2)] for i, f in enumerate(frames)]))
        assert len(faces.stretches) == 2
        assert (np.diff(faces.stretches[0].boxes[:, 0]) > 0).all()

    def test_who_watched_the_face_that_is_dubbed_need_not_look_again(self):
        told: list[int] = []
        frames = [[wider(5, 60), seen(75, 40)]] * 12
        watch = lambda index, image, face, shot: told.append(index)  # noqa: E731
        faces = track_faces(film(12, []), Script(frames), watch=watch)
        assert told == list(range(12))
        assert faces.saw_all((0,)) and not faces.saw_all((1,)) and not faces.saw_all((0, 1))
        again = list(faces.seen((1,)))
        assert [frame for frame, _, _ in again] == told and again[0][1].box[0] > 70

    def test_a_track_of_two_faces_ends_its_run_where_one_follows_the_other(self):
        frames = [[wider(5, 60)]] * 6 + [[seen(75, 40)]] * 6
        faces = track_faces(film(12, []), Script(frames))
        assert faces.track((0, 1)).segments() == [slice(0, 6), slice(6, 12)]


class TestChoice:
    @pytest.mark.parametrize(
        ("text", "way"), [("auto", "auto"), ("largest", "largest"), ("3", "person"), ("12,30.5", "point")]
    )
    def test_what_is_written_is_understood(self, text: str, way: str):
        assert FaceChoice.parse(text).way == way

    @pytest.mark.parametrize(
        "text", ["", "left", "0", "-1", "1.5", "1,2,3", "nan,1", "inf", "nan", "faces.csv"]
    )
    def test_anything_else_is_refused(self, text: str):
        with pytest.raises(UserError, match="give auto, largest, a number"):
            FaceChoice.parse(text)

    def choose(self, text: str, heard=silent):
        return choose_faces(two_shots(), FaceChoice.parse(text), heard)

    def test_who_speaks_is_dubbed_and_nobody_else_even_where_only_they_are_seen(self):
        chosen = self.choose("auto", agreement(p1=0.1, p2=0.6))
        assert chosen.stretches == (2,) and not chosen.warnings

    def test_two_speakers_are_both_dubbed_but_never_at_once(self):
        assert self.choose("auto", agreement(p1=0.5, p2=0.6)).stretches == (0, 2)

    def test_where_nobody_agrees_the_largest_and_longest_is_dubbed_and_this_is_said(self):
        for heard, why in ((silent, "has no sound"), (agreement(p1=0.1, p2=0.2), "No mouth agrees")):
            chosen = self.choose("auto", heard)
            assert chosen.stretches == (0, 1)
            assert why in chosen.warnings[0] and "face 1 is dubbed, the largest" in chosen.warnings[0]

    def test_somebody_who_is_known_again_under_another_number_is_dubbed_on(self):
        frames = [[seen(5, 60)]] * 8 + [[]] * 12 + [[wider(5, 60)]] * 8
        faces = track_faces(film(28, []), Script(frames))
        assert faces.persons == [1, 2]
        assert choose_faces(faces, FaceChoice(), silent).stretches == (0, 1)

    def test_what_is_seen_beside_a_face_for_a_moment_is_passed_over(self):
        frames = [[seen(5, 50), wider(70, 50)]] * 2 + [[seen(5, 50)]] * 22
        faces = track_faces(film(24, []), Script(frames))
        assert faces.persons == [1, 2]
        chosen = choose_faces(faces, FaceChoice(), silent)
        assert chosen.stretches == (0,) and not chosen.warnings

    def test_largest_number_and_place(self):
        assert self.choose("largest").stretches == (0, 1)
        assert self.choose("2").stretches == (2,)
        assert self.choose("95,40").stretches == (2,)
        with pytest.raises(UserError, match="no face 3: the video shows faces 1 and 2"):
            self.choose("3")
        with pytest.raises(UserError, match="No face lies at 5,500"):
            self.choose("5,500")

    @pytest.mark.parametrize("place", ["99999,5", "5,121", "-1,5"])
    def test_a_place_outside_the_picture_is_refused_before_the_search(self, tmp_path: Path, place: str):
        clip = write_clip(tmp_path / "c.mp4", steady(4, 25))
        request = DubRequest(clip, write_speech(tmp_path / "a.wav", 0.2), tmp_path / "o.mp4", face=place)
        for search in (check_request, lambda r: list_faces(r, tmp_path / "f.json", pytest.fail)):
            with pytest.raises(
                UserError, match=f"The place {place} of a face lies outside the picture of 160"
            ):
                search(request)


class TestFacesFile:
    def write(self, path: Path, chosen: tuple[int, ...] = (2,)) -> dict:
        write_faces(path, two_shots(), (128, 72), chosen)
        return json.loads(path.read_text())

    def test_what_is_to_be_dubbed_comes_back_as_boxes(self, tmp_path: Path):
        self.write(tmp_path / "f.json", (0, 2))
        boxes = read_listed_faces(tmp_path / "f.json").boxes
        faces = two_shots()
        np.testing.assert_allclose(boxes[:12], faces.stretches[0].boxes, atol=0.06)
        np.testing.assert_allclose(boxes[12:], faces.stretches[2].boxes, atol=0.06)
        detector = build_detector("box", track_file=str(tmp_path / "f.json"))
        assert len(track_faces(film(24, [12]), detector).stretches) == 2

    def test_an_edited_box_moves_on_a_straight_line(self, tmp_path: Path):
        content = self.write(tmp_path / "f.json")
        content["faces"][2]["boxes"] = {"12": [0, 0, 10, 10], "22": [10, 0, 20, 10]}
        (tmp_path / "f.json").write_text(json.dumps(content))
        boxes = read_listed_faces(tmp_path / "f.json").boxes
        assert np.isnan(boxes[:12]).all()
        assert boxes[12:, 0].tolist() == [*range(11), 10]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda c: c["faces"][1].update(dub=True), "two faces to dub in frame 12"),
            (lambda c: c["faces"][2].update(dub=False), "no face that it is to be dubbed"),
            (lambda c: c["faces"][2].update(last=24), "frames from 0 to 23"),
            (lambda c: c["faces"][2].update(boxes={"12": [5, 5, 1, 9]}), "must give 'boxes'"),
            (lambda c: c["faces"][2].update(boxes={"x": [1, 1, 2, 2]}), "must give 'boxes'"),
            (lambda c: c["faces"][2].update(boxes=[]), "must give 'boxes'"),
            (lambda c: c["faces"][2].update(id=0), "entry 3 of 'faces', must give 'id', a number from 1"),
            (lambda c: c["faces"][2].update(id="2"), "entry 3 of 'faces', must give 'id', a number from 1"),
            (lambda c: c["faces"].append(7), "entry 4 of 'faces', is no object"),
            (lambda c: c.update(frames="many"), "must give 'frames'"),
        ],
    )
    def test_a_bad_file_is_named(self, tmp_path: Path, change, message: str):
        content = self.write(tmp_path / "f.json")
        change(content)
        (tmp_path / "f.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=message) as error:
            read_listed_faces(tmp_path / "f.json")
        assert str(tmp_path / "f.json") in str(error.value)

    @pytest.mark.parametrize("numbers", [(2, 1), (7, 7), (3, None), (None, None)])
    def test_who_is_who_is_what_the_file_says(self, tmp_path: Path, numbers: tuple[int | None, int | None]):
        """Also in the record that an interrupted job goes on from."""
        content = self.write(tmp_path / "f.json", (0, 2))
        for entry, number in zip((content["faces"][0], content["faces"][2]), numbers, strict=True):
            del entry["id"]
            entry.update({} if number is None else {"id": number})
        (tmp_path / "f.json").write_text(json.dumps(content))
        unused = max(1, *filter(None, numbers)) + 1 if any(numbers) else 2  # who is not dubbed is face 1
        expected = [unused if number is None else number for number in numbers]

        def detector() -> RecordedDetector:
            build = partial(build_detector, "box", track_file=str(tmp_path / "f.json"))
            return RecordedDetector(tmp_path / "seen.safetensors", build)

        looked = detector()
        first = track_faces(film(24, [12]), looked)
        looked.save(tmp_path / "seen.safetensors")
        for faces in (first, track_faces(film(24, [12]), detector())):
            assert [stretch.person for stretch in faces.stretches] == expected

    def test_two_people_who_follow_each_other_in_one_place_stay_two(self, tmp_path: Path):
        content = self.write(tmp_path / "f.json", (0,))
        first = content["faces"][0]
        content["faces"] = [first | {"last": 5}, first | {"id": 5, "first": 6}]
        (tmp_path / "f.json").write_text(json.dumps(content))
        faces = track_faces(film(24, []), build_detector("box", track_file=str(tmp_path / "f.json")))
        assert [(stretch.person, len(stretch)) for stretch in faces.stretches] == [(1, 6), (5, 6)]
        assert faces.track((0, 1)).segments() == [slice(0, 6), slice(6, 12)]


def test_lips_agree_with_what_they_say_and_with_nothing_else():
    generator = np.random.default_rng(1)
    said = cv2.GaussianBlur(generator.normal(size=(200, 7)), (1, 9), 2)
    other = cv2.GaussianBlur(generator.normal(size=(200, 7)), (1, 9), 2)
    late = np.roll(2 * said + 5, 2, axis=0)
    assert shapes_agree(late, said) > 0.95
    assert shapes_agree(other, said) < 0.3
    assert shapes_agree(said[:5], said[:5]) == 0


def test_frames_that_are_left_alone_are_told_with_their_reason():
    faces = two_shots()
    track = faces.track((2,))
    times = np.arange(24) / 25
    found = find_untouched(faces, track.present, [range(14, 24)], times, 24 / 25)
    assert [(u.first, u.last, u.reason, u.persons) for u in found] == [
        (0, 11, Reason.others, (1,)),
        (12, 13, Reason.short, ()),
    ]
    assert found[0].end == pytest.approx(12 / 25)
    (sentence,) = untouched_warning(found, 24)
    assert sentence.startswith("14 of 24 frames pass through untouched: in 12 only faces that are not dubbed")
    assert untouched_warning([], 24) == []


def test_who_drew_what_is_told_stretch_by_stretch():
    times = np.arange(12) / 25
    shares = {0: 1.0, 1: 0.5, 2: 0.0, 3: 0.0}
    drawn = drawn_stretches(
        [range(4), range(6, 12)], [1, 2], {**shares, **dict.fromkeys(range(6, 12), 1.0)}, times, 0.48
    )
    assert [(d.first, d.last, d.renderer, d.faces) for d in drawn] == [
        (0, 0, "own-mouths", (1,)),
        (1, 1, "passage", (1,)),
        (2, 3, "editor", (1,)),
        (6, 11, "own-mouths", (2,)),
    ]
    assert drawn[-1].end == 0.48
    assert [d.renderer for d in drawn_stretches([range(4)], [1], None, times, 0.48)] == ["editor"]


def test_the_person_of_each_stretch_is_told(tmp_path: Path):
    """Of two people in turn one is seen at a time, and in a part perhaps only one."""
    script = Script([[seen(5, 60)]] * 12 + [[wider(60, 40)]] * 12 + [[seen(5, 60)]] * 12)
    faces = track_faces(film(36, [12, 24]), script)
    assert [stretch.person for stretch in faces.stretches] == [1, 2, 1]
    chosen = ChosenFaces((0, 1, 2))
    clip = write_clip(tmp_path / "c.mkv", steady(36, 25), lossless=True)

    def persons(track: FaceTrack) -> list[int]:
        face = FollowedFace(track, faces, chosen, np.arange(36) / 25, probe(clip))
        plan = plan_followed(clip, face, 1.45, 25.0)
        return DubbedFace(face, plan, Division(None, plan, {}), None).persons

    track = faces.track(chosen.stretches)
    assert persons(track) == [1, 2, 1]
    assert persons(track.within([range(12, 24)])) == [2]


def test_windows_end_at_cuts_and_a_whole_shot_is_dubbed_however_short(tmp_path: Path):
    script = Script(
        [[seen(5, 60)]] * 12 + [[seen(60, 40)]] * 4 + [[seen(20, 50)]] * 12 + [[]] * 12 + [[seen(20, 50)]] * 5
    )
    faces = track_faces(film(45, [12, 16]), script)
    chosen = ChosenFaces(tuple(range(len(faces.stretches))))
    clip = write_clip(tmp_path / "c.mkv", steady(45, 25), lossless=True)
    track = faces.track(chosen.stretches)
    face = FollowedFace(track, faces, chosen, np.arange(45) / 25, probe(clip))
    plan = plan_followed(clip, face, 1.45, 25.0)
    assert [segment.source for segment in plan.segments] == [range(12), range(12, 16), range(16, 28)]
    assert [(u.first, u.last, u.reason) for u in plan.untouched] == [
        (28, 39, Reason.no_face),
        (40, 44, Reason.short),
    ]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two talking people beside each other for 2 s; the sound is the right one's."""
    if not FOOTAGE.is_dir():
        pytest.skip("needs ../shared/footage")
    folder = tmp_path_factory.mktemp("pair")
    sides = []
    for name in ("hdtf_aoc.mp4", "vrt_face5.mp4"):
        with VideoReader(FOOTAGE / name) as reader:
            sides.append([cv2.resize(f.image, (256, 256)) for _, f in zip(range(50), reader, strict=False)])
    save_wav(folder / "right.wav", load_audio(FOOTAGE / "vrt_face5.mp4")[:32000])
    path = folder / "pair.mp4"
    rate = {"rate": Fraction(25), "time_base": Fraction(1, 25)}
    with VideoWriter(path, 512, 256, audio_from=folder / "right.wav", **rate) as writer:
        for index, (left, right) in enumerate(zip(*sides, strict=True)):
            writer.write(np.concatenate([left, right], axis=1), pts=index, duration=1)
    yield path


def test_of_two_people_who_move_their_lips_the_one_who_is_heard_is_found(pair: Path):
    with VideoReader(pair) as reader:
        times = reader.times()
        faces = track_faces((f.image for f in reader), build_detector("mediapipe"))
    found = speaking(pair, times, faces)
    assert found is not None and found[2] > 0.3 > found[1]


def test_the_list_of_faces_marks_who_speaks_and_can_be_given_back(pair: Path, tmp_path: Path):
    request = DubRequest(pair, pair, tmp_path / "x.mp4")
    found = list_faces(request, tmp_path / "who.json", lambda *_: None)
    assert [line.endswith("dubbed") for line in found.lines] == [False, True]
    assert cv2.imread(str(found.sheet)).shape[0] > 256
    content = json.loads(found.file.read_text())
    assert [entry["dub"] for entry in content["faces"]] == [False, True]
    with pytest.raises(UserError, match="exists already"):
        list_faces(request, tmp_path / "who.json", lambda *_: None)
    given = DubRequest(pair, pair, tmp_path / "x.mp4", face=str(found.file))
    assert check_request(given).info.frame_count == 50


def test_a_face_is_chosen_in_one_way_only(tmp_path: Path):
    clip = tmp_path / "a.mp4"
    request = DubRequest(clip, clip, tmp_path / "b.mp4", face="2", box=(1, 2, 3, 4))
    with pytest.raises(UserError, match="give one of them"):
        request.face_backend()


def test_rows_come_back_as_they_went_in(monkeypatch: pytest.MonkeyPatch):
    """Also where several blocks hold them."""
    monkeypatch.setattr("common.face.rows._BLOCK", 4)
    rows = Rows((2,))
    assert rows.take().shape == (0, 2)
    given = np.arange(18, dtype=np.float32).reshape(9, 2)
    for row in given:
        rows.append(row)
    assert len(rows) == 9
    np.testing.assert_array_equal([rows[0], rows[5], rows[-1]], given[[0, 5, -1]])
    np.testing.assert_array_equal(rows.take(), given)
    assert len(rows) == len(rows.take()) == 0
    with pytest.raises(IndexError):
        rows[9]


def test_places_keep_everything_but_landmarks():
    faces = track_faces(film(12, []), Script([[seen(10), seen(70, 40)]] * 12))
    places = faces.places()
    assert sum(stretch.landmarks.nbytes for stretch in places.stretches) == 0
    for one, other in zip(faces.stretches, places.stretches, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.frames, other.frames)
