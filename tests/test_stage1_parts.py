"""Regions, compositing, scores, relighting, references and exact pairs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stage1_clips import write_clip, write_config

from common.config import load_config
from common.data.dataset import ShardDataset
from common.data.prepared import pack_mask, unpack_mask
from common.data.summary import spread
from common.errors import UserError
from common.face.canonical import face_in_box
from common.parallel import run_ahead
from common.progress import StepProgress, format_duration
from common.work_folder import sole_writer
from stage1_generator import pack
from stage1_generator.companions.masks import GRAY, clip_masks, grow_mask, hide
from stage1_generator.companions.paste import composite, match_colour, put_back, soft_alpha
from stage1_generator.companions.scores import identity_cosine, lip_change, sharpness_ratio
from stage1_generator.config import Stage1Config
from stage1_generator.encode import reference_frames, reference_stills
from stage1_generator.pairs.relight import is_relit, light_field, relight
from stage1_generator.pairs.rendered import find_rendered_pairs

SIZE = 48


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.uint8)


def _landmarks(frames: int = 3) -> np.ndarray:
    points = face_in_box(np.array([8, 6, 40, 42], np.float32))
    return np.repeat(points[None], frames, axis=0).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 12), st.floats(0, 1))
def test_pixels_outside_the_mask_keep_their_bytes(seed, feather, share):
    random = np.random.default_rng(seed)
    original, generated = random.integers(0, 256, (2, 2, 24, 24, 3)).astype(np.uint8)
    mask = random.random((2, 24, 24)) < share
    result = put_back(original, generated, mask, feather)
    np.testing.assert_array_equal(result[~mask], original[~mask])
    alpha = soft_alpha(mask, feather)
    assert alpha.min() >= 0 and alpha.max() <= 1 and not alpha[~mask].any()


def test_the_middle_of_the_mask_is_the_generated_picture(pictures):
    mask = np.zeros((3, SIZE, SIZE), bool)
    mask[:, 10:40, 10:40] = True
    other = 255 - pictures
    result = composite(pictures, other, soft_alpha(mask, 4))
    np.testing.assert_array_equal(result[:, 18:32, 18:32], other[:, 18:32, 18:32])


def test_colour_drift_of_the_generator_is_undone():
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    original = np.repeat((80 + x + y)[None, :, :, None], 3, axis=3).astype(np.uint8)
    mask = np.zeros((1, SIZE, SIZE), bool)
    mask[0, 20:40, 10:38] = True
    drifted = np.clip(original * 1.03 + np.array([4, -3, 6]), 0, 255).astype(np.uint8)
    corrected = match_colour(drifted, original, mask)
    before, after = (np.abs(v.astype(int) - original).mean() for v in (drifted, corrected))
    assert after < 0.25 * before


def test_occluders_are_cut_out_of_the_region_and_grown():
    occluder = np.zeros((3, SIZE, SIZE), bool)
    occluder[:, 26:34, 18:26] = True
    regions = clip_masks(_landmarks(), SIZE, occluder, grow=2 / SIZE)
    assert (regions.lower_face & occluder).any()
    assert not (regions.inpaint & grow_mask(occluder, 2)).any()
    np.testing.assert_array_equal(regions.inpaint | regions.occluder & regions.lower_face, regions.lower_face)


def test_hidden_frames_say_nothing_of_what_was_there(pictures):
    regions = clip_masks(_landmarks(), SIZE)
    one, other = (
        hide(pictures, regions.inpaint),
        hide(np.where(regions.inpaint[..., None], 7, pictures), regions.inpaint),
    )
    np.testing.assert_array_equal(one, other)
    assert (one[regions.inpaint] == GRAY).all()


def test_the_region_does_not_depend_on_the_mouth():
    closed, opened = _landmarks(), _landmarks()
    opened[:, 48:68, 1] += 5
    opened[:, 4:13, 1] += 5
    np.testing.assert_array_equal(clip_masks(closed, SIZE).inpaint, clip_masks(opened, SIZE).inpaint)


@given(st.integers(1, 90), st.integers(0, 60), st.integers(1, 6), st.integers(0, 9))
def test_references_lie_outside_the_clip_where_they_can(extra, start, count, seed):
    total, length = 25 + extra, 25
    start = min(start, extra)
    chosen = reference_frames(total, start, length, count, seed)
    assert (
        len(chosen) == count and (np.diff(chosen) >= 0).all() and chosen.min() >= 0 and chosen.max() < total
    )
    inside = (chosen >= start) & (chosen < start + length)
    assert inside.sum() == max(count - extra, 0)
    np.testing.assert_array_equal(chosen, reference_frames(total, start, length, count, seed))


def test_the_background_of_references_can_be_left_out(pictures):
    kept = reference_stills(pictures, _landmarks(), "keep")
    zeroed = reference_stills(pictures, _landmarks(), "zero")
    np.testing.assert_array_equal(kept, pictures)
    assert (zeroed[:, 0, 0] == GRAY).all()
    np.testing.assert_array_equal(zeroed[:, 24, 24], pictures[:, 24, 24])


def test_sharpness_falls_with_blur_and_rises_with_noise(pictures):
    region = np.ones(pictures.shape[:3], bool)
    smooth = np.stack([cv2.GaussianBlur(p, (0, 0), 1.0) for p in pictures])
    blurred = np.stack([cv2.GaussianBlur(p, (0, 0), 2.0) for p in smooth])
    assert sharpness_ratio(smooth, smooth, region) == pytest.approx(1)
    assert sharpness_ratio(smooth, blurred, region) < 0.3
    assert sharpness_ratio(smooth, pictures, region) > 3


def test_lip_change_looks_at_the_lips_alone(pictures):
    lips = np.zeros(pictures.shape[:3], bool)
    lips[:, 30:36, 20:30] = True
    other = pictures.copy()
    other[:, :20] = 0
    assert lip_change(pictures, other, lips) == 0
    other[:, 30:36, 20:30] = 255 - pictures[:, 30:36, 20:30]
    assert lip_change(pictures, other, lips) > 0.3


def test_identity_is_the_cosine_of_mean_embeddings(pictures):
    class Encoder:
        def embed(self, image, landmarks):
            vector = np.array([float(image.mean()), 100.0], np.float32)
            return vector / np.linalg.norm(vector)

    same = identity_cosine(pictures, pictures, _landmarks(), Encoder())  # type: ignore[arg-type]
    other = identity_cosine(pictures, pictures // 8, _landmarks(), Encoder())  # type: ignore[arg-type]
    assert same == pytest.approx(1) and other < 0.95


def test_both_videos_of_a_pair_get_the_same_light(pictures):
    gain = light_field(3, SIZE)
    ours, theirs = relight(pictures, gain), relight(pictures.copy(), gain)
    np.testing.assert_array_equal(ours, theirs)
    assert (ours != pictures).any()
    share = np.mean([is_relit(f"k{i}", 0, 0.05) for i in range(4000)])
    assert 0.035 < share < 0.065


@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 99))
def test_masks_survive_packing(frames, side, seed):
    mask = np.random.default_rng(seed).random((frames, side, side)) < 0.5
    np.testing.assert_array_equal(unpack_mask(pack_mask(mask)), mask)


def test_spread_covers_the_clip():
    assert spread(25, 4) == [0, 8, 16, 24]
    assert spread(3, 12) == [0, 1, 2]


def test_work_ahead_keeps_the_order_and_passes_errors_on():
    assert list(run_ahead(lambda x: x * x, range(7))) == [x * x for x in range(7)]

    def fail(x: int) -> int:
        if x == 3:
            raise UserError("three")
        return x

    seen = run_ahead(fail, range(7))
    assert [next(seen) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="three"):
        next(seen)


def test_progress_tells_rate_and_time_left():
    progress = StepProgress("encode", 4)
    progress.step(50)
    assert progress.line(10.0) == "encode: 1/4, 5.0 frames/s, 0:30 left"
    assert format_duration(3725) == "1:02:05"


def test_half_written_results_are_swept_under_the_lock(tmp_path: Path):
    (tmp_path / ".part-old").mkdir()
    (tmp_path / ".part-file.json").write_text("x")
    with sole_writer(tmp_path):
        assert not list(tmp_path.glob(".part-*"))


def test_exact_pairs_become_shards_of_their_own(tmp_path: Path):
    videos = tmp_path / "rendered"
    videos.mkdir()
    write_clip(videos, "r1_a", 30, 1, speaker="r1")
    write_clip(videos, "r1_b", 30, 2, speaker="r1")
    work = tmp_path / "work"
    words = write_config(tmp_path, videos, work, f"pack.rendered_pairs={videos}")
    assert pack.main(words) == 0
    assert ShardDataset(work / "pairs_rendered").sizes == [4]
    sample = ShardDataset(work / "pairs_rendered").sample(0)
    assert sample.meta["kind"] == "rendered" and sample.meta["video"] == "r1_a.mp4"
    assert sample.target.shape == sample.source.shape == (13, 32, 32, 3)
    assert (sample.target != sample.source).any()
    assert len(sample.audio) == len(sample.source_audio) == 13 * 640
    np.testing.assert_array_equal(
        sample.source_audio,
        ShardDataset(work / "pairs_rendered").sample(2).audio,
        "the pair the other way round",
    )
    assert pack.main([*words, "pack.cache=false"]) == 0
    bare = ShardDataset(work / "pairs_rendered").sample(0)
    assert not bare.has("cache.safetensors") and (bare.target == sample.target).all()


def test_a_folder_without_exact_pairs_is_refused(tmp_path: Path):
    write_clip(tmp_path, "r1_a", 30, 1)
    words = write_config(tmp_path, tmp_path, tmp_path / "work")
    config = load_config(
        Stage1Config, [Path(w) for w in words[1:4]], [*words[4:], f"pack.rendered_pairs={tmp_path}"]
    )
    with pytest.raises(UserError, match="holds no pair"):
        find_rendered_pairs(config)
