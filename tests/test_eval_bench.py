"""The rendered benchmark: what its groups show, that openings can be measured, and what is written."""

import csv
from dataclasses import replace

import cv2
import numpy as np
import pytest
from safetensors.numpy import load_file

from common.errors import UserError
from common.face import build_detector, plan_crops, track_face
from common.face.mouth import mouth_opening
from common.files import read_json, write_json
from common.media import SAMPLE_RATE, load_audio, probe
from common.rendered.clips import render_clip
from common.rendered.espeak import Voice
from common.rendered.measure import opening_curves
from common.rendered.render import render_frame
from common.rendered.scene import CREATURES, HELD_OUT_SEEDS
from common.rendered.visemes import CLOSED, MouthShape
from evaluation.bench import GROUPS, VERSION, bench_items, checksums, make, render_bench, scene_of
from evaluation.bench.items import BenchItem
from evaluation.bench.make import speech_of
from evaluation.bench.scenes import build_scene
from evaluation.bench.singing import sing, sustain

WIDE = MouthShape(open=0.8)
SHAPES = [MouthShape(open=level) for level in (0.0, 0.8, 0.2, 0.6, 0.9, 0.35)]


def item(group, number=0, pixels=128, seconds=0.2):
    place = list(GROUPS).index(group)
    return BenchItem(group, number, 1_500_000 + 1000 * place + number, seconds, pixels)


def test_items_are_held_out_and_no_two_share_a_seed():
    for size in ("quick", "full"):
        items = bench_items(size)
        assert [group for group in GROUPS if any(i.group == group for i in items)] == list(GROUPS)
        assert len({i.seed for i in items}) == len({i.name for i in items}) == len(items)
        assert all(i.seed in HELD_OUT_SEEDS for i in items)
    assert [i.name for i in bench_items("quick", ["long"])] == ["long-0"]
    with pytest.raises(UserError, match="size"):
        bench_items("huge")
    with pytest.raises(UserError, match="group"):
        bench_items("quick", ["sideways"])


@pytest.mark.parametrize("group", list(GROUPS))
def test_the_opening_is_read_back_in_every_group(group):
    scene = build_scene(item(group))
    frames = [render_frame(scene, i, shape) for i, shape in enumerate(SHAPES)]
    truth = mouth_opening(np.stack([frame.landmarks for frame in frames]))
    (read,) = opening_curves(scene, [[frame.image for frame in frames]])
    assert np.isfinite(read).all()
    assert np.corrcoef(read, truth)[0, 1] > 0.95


@pytest.mark.parametrize("number", range(len(CREATURES)))
def test_speech_moves_only_the_lower_face_of_a_creature(number):
    scene = build_scene(item("non-human", number))
    shut, wide = render_frame(scene, 2, CLOSED), render_frame(scene, 2, WIDE)
    rows, _ = np.nonzero((shut.image != wide.image).any(axis=-1))
    assert len(rows) > 100
    nose = shut.landmarks[33, 1]
    assert rows.min() > nose - 0.5 * scene.unit


def yaws(scene):
    """Degrees by which the head is turned in each of 50 frames."""
    return np.degrees([np.arcsin(scene.pose(i).rotation[0, 2]) for i in range(50)])


def test_groups_show_what_they_are_called():
    assert np.abs(yaws(build_scene(item("front")))).max() < 6
    profile = np.abs(yaws(build_scene(item("profile"))))
    assert profile.min() > 38 and profile.max() < 62
    fast = build_scene(item("fast-motion"))
    assert np.ptp(yaws(fast)) > 30 and fast.shutter > 0
    for number, kind in enumerate(("hand", "microphone", "cup")):
        scene = build_scene(item("occluded", number))
        assert scene.occluder.kind == kind
        here = [scene.occluder.presence(scene.time(i)) for i in range(50)]
        assert 0.2 < np.mean(np.array(here) > 0.5) < 0.8
    assert {build_scene(item("stylised", n)).style.name for n in range(3)} == {"toon", "flat", "soft"}


def test_light_changes_over_time_and_motion_blurs():
    light = build_scene(item("light"))
    means = np.array([render_frame(light, i, CLOSED).image.reshape(-1, 3).mean(axis=0) for i in (0, 15, 30)])
    assert (np.ptp(means / means.sum(axis=1, keepdims=True), axis=0) > 0.01).any()
    steady = replace(light, lighting=None, _cache={})
    np.testing.assert_array_equal(
        render_frame(steady, 3, WIDE).landmarks, render_frame(light, 3, WIDE).landmarks
    )
    fast = build_scene(item("fast-motion", pixels=256))
    smooth = replace(fast, style=replace(fast.style, grain=0.0), _cache={})
    sharp = replace(smooth, shutter=0.0, _cache={})
    places = np.array([fast.pose(i).origin for i in range(50)])
    quick = int(np.argmax(np.linalg.norm(np.gradient(places, axis=0), axis=1)))
    detail = [cv2.Laplacian(render_frame(s, quick, WIDE).image, cv2.CV_64F).var() for s in (smooth, sharp)]
    assert detail[0] < 0.8 * detail[1]


def test_the_second_person_keeps_talking_whatever_the_first_says():
    scene = build_scene(item("several-people", seconds=1.0))
    assert scene.width > 1.7 * scene.size
    a, b = render_frame(scene, 12, CLOSED), render_frame(scene, 12, WIDE)
    assert a.image.shape == (scene.size, scene.width, 3) and a.occluder.shape == a.image.shape[:2]
    _, columns = np.nonzero((a.image != b.image).any(axis=-1))
    left = scene.centre[0] < scene.width / 2
    assert len(columns) and (columns.max() < scene.width / 2 if left else columns.min() > scene.width / 2)
    assert len({shape.open for shape in scene.guest.mouths}) > 3


def test_a_held_vowel_is_longer_on_the_same_pitch_and_without_a_click():
    t = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in (1, 2, 3)).astype(np.float32)
    held = sustain(tone, 1000, 7000, 8000)
    assert len(held) >= len(tone) + 8000
    spectrum = np.abs(np.fft.rfft(held))
    assert np.argmax(spectrum) * SAMPLE_RATE / len(held) == pytest.approx(140, abs=2)
    assert np.abs(np.diff(held)).max() < 1.2 * np.abs(np.diff(tone)).max()
    np.testing.assert_array_equal(sustain(tone, 100, 300, 8000), tone)


def test_singing_holds_its_vowels():
    song = sing(3, 3.0, Voice())
    assert len(song.mouth) == 75 and song.audio.shape == (3 * SAMPLE_RATE,)
    assert max(p.end - p.start for p in song.phonemes) > 0.35
    again = sing(3, 3.0, Voice())
    np.testing.assert_array_equal(song.audio, again.audio)
    assert song.mouth == again.mouth
    # The sounds lie where the phonemes say: nothing outside of them, no hole in a held vowel.
    times = np.arange(len(song.audio)) / SAMPLE_RATE
    spoken = np.zeros(len(times), bool)
    for sound in song.phonemes:
        inside = (times >= sound.start) & (times < sound.end)
        spoken |= inside
        if inside.sum() > 0.3 * SAMPLE_RATE:
            pieces = np.array_split(song.audio[inside], 12)
            assert min(np.abs(piece).max() for piece in pieces) > 0.02
            middle = int(25 * 0.5 * (times[inside][0] + times[inside][-1]))
            assert song.mouth[middle].open > 0.2
    assert np.square(song.audio[~spoken]).sum() < 0.01 * np.square(song.audio).sum()


def test_b_says_something_else_and_silence_is_silent():
    quiet = item("silence", seconds=1.0)
    assert not speech_of(quiet, "b").audio.any() and speech_of(quiet, "b").mouth == [CLOSED] * 25
    assert speech_of(quiet, "a").audio.any()
    spoken = item("front", seconds=2.0)
    a, b = ([shape.open for shape in speech_of(spoken, letter).mouth] for letter in "ab")
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two small items, rendered through the door that everyone uses."""
    patch = pytest.MonkeyPatch()
    items = [item("several-people", pixels=96), item("silence", pixels=96)]
    patch.setattr(make, "bench_items", lambda size, groups: items)
    target = tmp_path_factory.mktemp("bench")
    rows = render_bench(target, workers=1)
    yield target, rows
    patch.undo()


def test_files_and_manifest_belong_together(folder):
    target, rows = folder
    lines = list(csv.DictReader((target / "manifest.csv").open()))
    assert list(lines[0]) == list(make.COLUMNS)
    assert make.COLUMNS == ("name", "video", "audio", "truth", "group", "track", "audio_track", "scene")
    assert [line["name"] for line in lines] == [row.name for row in rows] == ["several-people-0", "silence-0"]
    for line in lines:
        files = [line[key] for key in line if key not in ("name", "group") and line[key] != "silence"]
        assert all((target / name).is_file() for name in files)
        assert line["audio"] == ("silence" if line["group"] == "silence" else line["truth"])
        assert line["truth"] != line["video"]
        assert (target / "sheets" / f"{line['group']}.png").is_file()
    wide = probe(target / lines[0]["video"])
    assert (wide.width, wide.height, wide.frame_count, wide.has_audio) == (168, 96, 5, True)
    assert np.abs(load_audio(target / lines[1]["truth"])).max() < 1e-3
    assert not load_file(target / lines[1]["audio_track"])["opening"].any()


def test_the_scene_comes_back_from_its_file(folder):
    target, rows = folder
    row = rows[0]
    scene = scene_of(target / row.scene)
    assert scene == build_scene(item("several-people", pixels=96))
    truth = load_file(target / row.audio_track)
    clip = render_clip(scene, speech_of(item("several-people", pixels=96), "b"))
    np.testing.assert_array_equal(clip.landmarks, truth["landmarks"])
    track = track_face(clip.frames, build_detector("box", track_file=target / row.track))
    crops = plan_crops(track)
    cut = [crops.extract(frame, i, 96) for i, frame in enumerate(clip.frames)]
    (read,) = opening_curves(scene, [cut], [crops.matrix(i, 96) for i in range(len(cut))])
    assert np.abs(read - truth["opening"]).max() < 0.06
    about = read_json(target / row.scene)
    write_json(target / "other.json", {**about, "bench": VERSION + 1})
    with pytest.raises(UserError, match="version"):
        scene_of(target / "other.json")
    write_json(target / "other.json", {"clips": {}})
    with pytest.raises(UserError, match="does not describe"):
        scene_of(target / "other.json")


def test_what_is_there_is_kept_and_what_is_lost_is_made_again(folder):
    target, _ = folder
    kept, lost = target / "silence-0_a.mp4", target / "several-people-0_b.mp4"
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    calls = []
    rows = render_bench(target, workers=1, progress=lambda done, count: calls.append((done, count)))
    assert kept.stat().st_mtime_ns == stamp and lost.is_file()
    assert calls == [(1, 2), (2, 2)] and len(rows) == 2


def test_other_pixels_are_a_warning(folder, tmp_path):
    target, rows = folder
    assert all("no checksum is known" in row.warning or "differ" in row.warning for row in rows)
    made = {row.name: make.made_checksums(target, row.name) for row in rows}
    known = tmp_path / "checksums.json"
    checksums.record("quick", made, known)
    assert checksums.compare("quick", "silence-0", made["silence-0"], known) is None
    other = {**made["silence-0"], "b": made["several-people-0"]["b"]}
    warning = checksums.compare("quick", "silence-0", other, known)
    assert "pixels of b and sound of b differ" in warning
    content = read_json(known)
    content["made_with"]["numpy"] = "0.1"
    write_json(known, content)
    assert "numpy" in checksums.compare("quick", "silence-0", other, known)


def test_the_committed_checksums_cover_the_benchmark_and_fit_what_is_drawn():
    known = read_json(checksums.COMMITTED)
    assert known["version"] == VERSION
    for size in ("quick", "full"):
        assert list(known["sizes"][size]) == [i.name for i in bench_items(size)]
    if known["made_with"] != checksums.makers():
        pytest.skip("other library versions may draw other pixels")
    for group in ("front", "non-human", "profile"):
        (first, *_) = bench_items("quick", [group])
        speech = speech_of(first, "b")
        clip = render_clip(build_scene(first), replace(speech, mouth=speech.mouth[:1]))
        wanted = known["sizes"]["quick"][first.name]["b"]
        made = checksums.clip_checksums(clip)
        assert (made["first_frame"], made["sound"]) == (wanted["first_frame"], wanted["sound"]), (
            "the drawing has changed: raise VERSION and run evaluation.bench --record for both sizes"
        )
