"""Occluders drawn over filmed clips: exact layers, the command, and the metric that reads the known mask."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from film_toys import COUNT, Film, dubbed_clip, film, talk
from film_toys import SIZE as CROP
from safetensors.numpy import load_file, save_file
from stage1_clips import SIZE, write_clip
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.errors import UserError
from common.face import FaceTrack, build_detector, track_face
from common.face.canonical import face_in_box
from common.media import LOSSLESS, VideoReader, load_audio, probe, read_frames, write_video
from common.psnr import psnr_of_mse
from common.rendered.draw.canvas import Canvas
from common.rendered.draw.occluders import draw_occluder
from common.rendered.draw.view import View
from common.rendered.overlay import FacePlace, draw_layer, pose_on, reaching
from common.rendered.overlay_look import FilmLook, finish_layer, in_the_light_of
from common.rendered.scene import Scene, sample_scene
from evaluation.bench.draw_over import covered
from evaluation.bench.filmed import face_places, film_look
from evaluation.bench.occlude import occlude
from evaluation.bench.track_file import occluder_track
from evaluation.manifest import read_manifest
from evaluation.metrics.base import Kind
from evaluation.metrics.quality import Quality, visible_regions
from evaluation.similarity import PSNR_CAP, compare

KINDS = ("hand", "microphone", "cup")
SHAPE = (96, 120)
PLACE = FacePlace(np.array([62.0, 55.0]), 22.0)
LOOK = FilmLook((190.0, 140.0, 110.0), 0.8)


def scene_of(kind: str, seed: int = 1_000_003) -> Scene:
    """Before the mouth at 1 s, away at 0 s and at 2 s."""
    scene = in_the_light_of(sample_scene(seed, style="realistic", occluder=kind), LOOK)
    visits = replace(scene.occluder, phase=0.0, period=2.0, share=0.5)
    return reaching(replace(scene, occluder=visits, shutter=0.5), 2.0)


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3)).astype(np.uint8)


# The layer


@pytest.mark.parametrize("kind", KINDS)
def test_alpha_is_what_black_and_white_canvases_say(kind):
    scene, pose = scene_of(kind), pose_on(scene_of(kind), PLACE)
    drawn = []
    for ground in (0.0, 255.0):
        canvas = Canvas(0, 0, np.full((3, *SHAPE), ground, np.float32))
        draw_occluder(View(scene, 25.0, pose, canvas, np.ones(SHAPE, np.float32)))
        drawn.append(cv2.GaussianBlur(canvas.rgb.transpose(1, 2, 0), (0, 0), max(0.4, 0.015 * pose.unit)))
    layer = draw_layer(scene, 1.0, PLACE, SHAPE)
    alpha = 1 - (drawn[1] - drawn[0]).mean(axis=2) / 255
    np.testing.assert_allclose(layer.alpha / 255, alpha, atol=0.51 / 255 + 1e-4)
    solid = alpha > 0.05
    np.testing.assert_allclose(layer.colour[solid], drawn[0][solid] / alpha[solid, None], atol=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_before_the_mouth_and_goes_out_of_the_picture(kind):
    scene = scene_of(kind)
    assert draw_layer(scene, 0.0, PLACE, SHAPE) is None and draw_layer(scene, 2.0, PLACE, SHAPE) is None
    layers = (draw_layer(scene, t, PLACE, SHAPE) for t in np.arange(0, 1, 0.02))
    first = next(layer for layer in layers if layer is not None and layer.alpha.any())
    assert not first.alpha[: SHAPE[0] * 3 // 4].any(), "it does not pop up"
    x, y = PLACE.mouth.astype(int)
    assert draw_layer(scene, 1.0, PLACE, SHAPE).alpha[y + 4, x] == 255
    assert draw_layer(scene, 1.0, PLACE, SHAPE).alpha[:20].max() == 0, "brows and eyes stay free"
    assert draw_layer(scene, 1.0, PLACE, SHAPE).alpha[-1].max() == 255, "the arm comes from below"


@pytest.mark.parametrize("kind", KINDS)
def test_outside_alpha_nothing_changes_and_inside_nothing_shows_through(kind):
    scene = scene_of(kind)
    one, two = noise(0), noise(1)
    a, alpha = covered(one, scene, LOOK, PLACE, 1.0, 25)
    b, again = covered(two, scene, LOOK, PLACE, 1.0, 25)
    np.testing.assert_array_equal(alpha, again)
    np.testing.assert_array_equal(a[alpha == 0], one[alpha == 0])
    np.testing.assert_array_equal(a[alpha == 255], b[alpha == 255])
    assert 0 < (alpha == 255).mean() < 0.6
    half = (alpha > 100) & (alpha < 156)
    weight = 1 - alpha[half].astype(float)[:, None] / 255
    step = a[half].astype(float) - b[half]
    assert np.abs(step - weight * (one[half].astype(float) - two[half])).max() <= 1.01
    free, nothing = covered(one, scene, LOOK, PLACE, 0.0, 0)
    np.testing.assert_array_equal(free, one)
    assert nothing.shape == SHAPE and nothing.max() == 0


def test_a_seed_fixes_the_thing_and_its_way():
    looks = [covered(noise(), scene_of("cup", seed), LOOK, PLACE, 1.0, 25)[0] for seed in (7, 7, 8)]
    np.testing.assert_array_equal(looks[0], looks[1])
    assert np.abs(looks[0].astype(int) - looks[2]).max() > 20


def test_the_hand_has_the_skin_of_the_face():
    scene = scene_of("hand")
    layer = finish_layer(draw_layer(scene, 1.0, PLACE, SHAPE), scene, LOOK, pose_on(scene, PLACE).unit, 25)
    found = np.median(layer.colour[layer.alpha == 255], axis=0)
    np.testing.assert_allclose(found / found.sum(), np.array(LOOK.skin) / sum(LOOK.skin), atol=0.02)
    assert 0.7 < found.sum() / sum(LOOK.skin) < 1.15


def test_a_thing_in_motion_is_one_blur():
    """Of quick things the exposure leaves one soft shape, not several sharp ones."""
    scene = scene_of("cup")
    moving = max(
        (draw_layer(scene, t, PLACE, SHAPE) for t in np.arange(0.3, 0.8, 0.04)),
        key=lambda layer: 0 if layer is None else int(((layer.alpha > 20) & (layer.alpha < 235)).sum()),
    )
    still = draw_layer(scene, 1.0, PLACE, SHAPE)
    partly = [int(((x.alpha > 20) & (x.alpha < 235)).sum()) for x in (moving, still)]
    assert partly[0] > 1.5 * partly[1]
    assert np.abs(np.diff(moving.alpha.astype(int), axis=0)).max() < 128


# The face


def track_of(boxes: np.ndarray) -> FaceTrack:
    points = np.stack([face_in_box(box) for box in boxes]).astype(np.float32)
    present = np.isfinite(boxes).all(axis=1)
    return FaceTrack(np.arange(len(boxes)), points, boxes.astype(np.float32), present)


def boxes_at(left: np.ndarray) -> np.ndarray:
    return np.stack([left, left * 0 + 20, left + 40, left * 0 + 65], axis=1).astype(np.float32)


def test_places_follow_the_head_and_not_the_jaw():
    track = track_of(boxes_at(np.linspace(10, 30, 30)))
    spoken = track.landmarks.copy()
    spoken[:, 48:] += np.random.default_rng(0).normal(0, 3, spoken[:, 48:].shape)
    spoken[:, 3:14] += 5
    for a, b in zip(
        face_places(track, 25.0), face_places(replace(track, landmarks=spoken), 25.0), strict=True
    ):
        np.testing.assert_array_equal(a.mouth, b.mouth)
        assert a.height == b.height
    places = face_places(track, 25.0)
    lips = track.landmarks[15, 48:60].mean(axis=0)
    np.testing.assert_allclose(places[15].mouth, lips[:2], atol=0.1)
    assert places[15].height == pytest.approx(lips[1] - track.landmarks[15, 36:48, 1].mean(), abs=0.1)


def test_frames_without_a_face_lie_between_their_neighbours():
    boxes = boxes_at(np.full(9, 10.0))
    boxes[6:, [0, 2]] += 12
    boxes[3:6] = np.nan
    places = [place.mouth[0] for place in face_places(track_of(boxes), 25.0)]
    np.testing.assert_allclose(np.diff(places[2:7]), 3.0, atol=1e-4)


def test_skin_and_exposure_are_read_from_the_clip(tmp_path):
    frames = np.full((6, 80, 96, 3), 40, np.uint8)
    frames[:, 15:70, 8:56] = (180, 120, 90)
    frames[:, 75:] = 188
    path = tmp_path / "c.mkv"
    write_video(path, frames, encoding=LOSSLESS)
    look = film_look(path, track_of(boxes_at(np.full(6, 10.0))))
    assert look.skin == (180, 120, 90)
    assert look.exposure == pytest.approx(188 / 235, abs=0.01)


# The command


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path, str, str]:
    """Manifest and output of a run with good and bad rows, and what it said."""
    folder = tmp_path_factory.mktemp("occlude")
    clips = folder / "clips"
    clips.mkdir()
    for name, seed in (("a", 0), ("b", 1)):
        write_clip(clips, name, 30, seed)
    nobody = json.dumps({"boxes": [None] * 30})
    (clips / "nobody.json").write_text(nobody)
    write_clip(clips, "held", 5, 2, occluded=True)
    rows = [
        "name,video,audio,group,track",
        "one,clips/a.mp4,clips/b.mp4,x,clips/a.track.safetensors",
        "gone,clips/none.mp4,self,x,",
        "empty,clips/b.mp4,clips/a.mp4,x,clips/nobody.json",
        "two,clips/b.mp4,self,x,clips/b.track.safetensors",
        "held,clips/held.mp4,silence,x,clips/held.track.safetensors",
        "three,clips/b.mp4,silence,x,clips/b.track.safetensors",
    ]
    manifest = folder / "clips.csv"
    manifest.write_text("\n".join(rows) + "\n")
    output = folder / "made"
    result = CliRunner().invoke(app, ["occlude", str(manifest), "--output", str(output)])
    assert result.exit_code == 0, result.output
    return manifest, output, result.stdout, result.stderr


def test_bad_rows_are_told_and_the_others_are_made(made):
    _, output, said, warned = made
    lines = [line for line in warned.splitlines() if line.startswith("left out: ")]
    assert len(lines) == 3
    assert "none.mp4' does not exist" in lines[0]
    assert "empty: No face" in lines[1] and "held: " in lines[2] and "occluder already" in lines[2]
    assert "3 clips, 0 of them" in said
    names = {path.name for path in output.iterdir()}
    stems = ("one", "two", "three")
    assert names == {"manifest.csv"} | {
        f"{s}{e}" for s in stems for e in (".mp4", ".track.safetensors", ".json")
    }


def test_the_new_manifest_asks_for_the_same_speech(made):
    manifest, output, *_ = made
    one, two, three = read_manifest(output / "manifest.csv")
    assert (one.kind, two.kind, three.kind) == (Kind.cross, Kind.self, Kind.silence)
    assert one.audio.resolve() == (manifest.parent / "clips" / "b.mp4").resolve()
    assert two.video.resolve() == (output / "two.mp4").resolve() == two.audio.resolve()
    # In turn over the rows that could be read: hand, microphone, cup, hand, microphone.
    assert [one.group, two.group, three.group] == ["hand", "cup", "microphone"]
    assert all(case.track is not None for case in (one, two, three))


def test_clips_keep_all_but_what_is_covered(made):
    manifest, output, *_ = made
    source, video = manifest.parent / "clips" / "a.mp4", output / "one.mp4"
    before, after = probe(source), probe(video)
    for field in ("width", "height", "frame_count", "average_rate", "time_base", "duration", "has_audio"):
        assert getattr(before, field) == getattr(after, field)
    with VideoReader(source) as a, VideoReader(video) as b:
        np.testing.assert_array_equal(a.times(), b.times())
    np.testing.assert_array_equal(load_audio(source), load_audio(video))
    alpha = load_file(output / "one.track.safetensors")["occluder"]
    assert alpha.shape == (30, *SIZE) and alpha.dtype == np.uint8
    assert alpha[0].max() == 0 and alpha.max() == 255
    # Chroma of half the size and the codec's blocks carry a little of an edge to their neighbours.
    far = np.stack([cv2.dilate(x, np.ones((9, 9))) for x in alpha]) == 0
    difference = np.abs(read_frames(source).astype(int) - read_frames(video))
    assert difference[far].mean() < 5 and difference[alpha == 255].mean() > 15


def test_the_track_is_of_the_clip_before_drawing(made):
    manifest, output, *_ = made
    source = manifest.parent / "clips" / "a.mp4"
    frames = read_frames(source)
    known = build_detector("box", track_file=manifest.parent / "clips" / "a.track.safetensors")
    before = track_face(frames, known)
    after = track_face(frames, build_detector("box", track_file=output / "one.track.safetensors"))
    np.testing.assert_array_equal(before.landmarks, after.landmarks)
    assert load_file(output / "one.track.safetensors")["boxes"].shape == (30, 4)


def test_a_second_run_makes_what_is_missing_alone(made):
    manifest, output, *_ = made
    files = {path: path.read_bytes() for path in output.iterdir()}
    stamps = {path: path.stat().st_mtime_ns for path in output.glob("*.mp4")}
    (output / "two.json").unlink()  # as an interruption leaves it
    result = occlude(manifest, output)
    assert (len(result.rows), result.kept) == (3, 2)
    assert set(output.iterdir()) == set(files)
    for path, before in files.items():  # and the same seed the same clip
        if path.name != "two.mp4":
            assert path.read_bytes() == before, path
    # On processors with AVX-512 the H.264 encoder does not repeat itself to the bit.
    old = read_frames(io.BytesIO(files[output / "two.mp4"])).astype(int)
    assert np.abs(old - read_frames(output / "two.mp4")).mean() < 2
    made_anew = {path.name for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert made_anew == {"two.mp4"}


def test_kinds_can_be_chosen(made, tmp_path):
    manifest, *_ = made
    words = ["occlude", str(manifest), "--output", str(tmp_path / "o"), "--kind", "cup", "--seed", "4"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((tmp_path / "o" / "manifest.csv").open()))
    assert {row["group"] for row in rows} == {"cup"}


def test_nothing_to_make_and_nonsense_are_refused(made, tmp_path):
    manifest, *_ = made
    empty = tmp_path / "m.csv"
    empty.write_text("video,audio\nnone.mp4,self\n")
    result = CliRunner().invoke(app, ["occlude", str(empty), "--output", str(tmp_path / "o")])
    assert result.exit_code == 2 and "No row" in result.stderr and "left out" in result.stderr
    with pytest.raises(UserError, match="no occluder 'elephant'"):
        occlude(manifest, tmp_path / "o", ["elephant"])
    own = manifest.parent / "clips" / "manifest.csv"
    own.write_text("name,video,audio\na,a.mp4,self\n")
    with pytest.raises(UserError, match="one of the inputs"):
        occlude(own, own.parent)


def test_a_track_is_whole_or_absent(tmp_path):
    track = track_of(boxes_at(np.full(2, 10.0)))
    path = tmp_path / "t.safetensors"
    alpha = np.arange(12, dtype=np.uint8).reshape(3, 4)
    with pytest.raises(ValueError, match="1 alphas for 2"), occluder_track(path, track, (3, 4)) as append:
        append(alpha)
    assert not list(tmp_path.iterdir())
    with occluder_track(path, track, (3, 4)) as append:
        append(alpha)
        append(alpha + 12)
    found = load_file(path)
    np.testing.assert_array_equal(found["occluder"], np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    np.testing.assert_array_equal(found["landmarks"], track.landmarks)
    save_file(found, tmp_path / "library.safetensors")
    assert load_file(tmp_path / "library.safetensors").keys() == found.keys()


# The metric


@pytest.fixture(scope="module")
def source() -> Film:
    return film(talk())


def hand() -> np.ndarray:
    """Covers the left of the crop, and with it a part of the face."""
    mask = np.zeros((COUNT, CROP, CROP), bool)
    mask[:, :, : CROP // 2 - 14] = True
    return mask


def spoiled(clip: Film, mask: np.ndarray, by: int) -> Film:
    """Off by so many levels where the mask is."""
    wrong = Film(clip.frames.copy(), clip.landmarks)
    inside = wrong.frames[:, 32:-32, 32:-32]
    inside[mask] = np.where(inside[mask] > 127, inside[mask] - by, inside[mask] + by)
    return wrong


def test_what_is_done_to_a_known_occluder_is_its_own_number(source):
    values = Quality()(dubbed_clip(source, spoiled(source, hand(), 10), occluder=hand()))
    assert values["psnr_occluder"] == pytest.approx(psnr_of_mse(100.0))
    assert values["ssim_occluder"] < 0.99
    assert [values[f"psnr_{x}"] for x in ("mouth", "face", "background")] == [PSNR_CAP] * 3


def test_frames_in_which_the_face_is_lost_behind_it_count(source):
    row = dubbed_clip(source, spoiled(source, hand(), 10), occluder=hand())
    lost = row.source.landmarks.copy()
    lost[5:] = np.nan
    values = Quality()(replace(row, source=replace(row.source, landmarks=lost)))
    assert values["psnr_occluder"] == pytest.approx(psnr_of_mse(100.0))
    late = np.where(np.arange(COUNT)[:, None, None] < 5, False, hand())
    row = dubbed_clip(source, spoiled(source, late, 10), occluder=hand())
    values = Quality()(replace(row, source=replace(row.source, landmarks=lost)))
    assert values["psnr_occluder"] < PSNR_CAP and values["psnr_face"] == PSNR_CAP


def test_what_is_done_elsewhere_is_not_the_occluders(source):
    values = Quality()(dubbed_clip(source, spoiled(source, ~hand(), 10), occluder=hand()))
    assert values["psnr_occluder"] == PSNR_CAP
    assert values["psnr_face"] == pytest.approx(psnr_of_mse(100.0))


def test_without_an_occluder_regions_are_as_they_were(source):
    other = spoiled(source, hand(), 3)
    row = dubbed_clip(source, other)
    values = Quality()(row)
    assert "psnr_occluder" not in values and "ssim_occluder" not in values
    found = compare(row.made.crops, row.source.crops, visible_regions(row))
    for name, likeness in found.items():
        assert (values[f"psnr_{name}"], values[f"ssim_{name}"]) == (likeness.psnr, likeness.ssim)


def test_an_occluder_of_a_few_pixels_is_left_out(source):
    mask = np.zeros((COUNT, CROP, CROP), bool)
    mask[0, 50:60, 60:70] = True
    assert "psnr_occluder" not in Quality()(dubbed_clip(source, source, occluder=mask))
