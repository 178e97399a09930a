"""Augmentation: the same on both members of a pair, degradations on the condition, nothing by default."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import load_config
from common.data.augment import AugmentedPair, augment_pair, flip_landmarks
from common.data.config import AugmentConfig
from common.data.photometric import blur_reach
from common.data.warp import warp
from common.errors import UserError
from common.face.layout import MIRRORED
from common.face.masks import face_mask, lip_mask, pool_mask_to_latents
from stage1_generator.config import Stage1Config
from stage2_dubber.config import Stage2Config

N, S = 5, 48
SHARED = ("warp", "occluder", "relight", "colour", "blur", "compression")
SOURCE = ("source_shift", "source_blur", "source_noise", "source_compression")


def settings_of(*names: str, flip: float = 0.0) -> AugmentConfig:
    config = AugmentConfig(flip=flip)
    for name in names:
        config.changes()[name].probability = 1.0
    return config


def pair_of(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two smooth videos that differ in a rectangle, as lips do."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(30, 220, (6, 6, 3)).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    target = np.stack([np.roll(picture, i, axis=1) for i in range(N)])
    source = target.copy()
    source[:, 28:36, 16:30] = rng.integers(0, 255, (N, 8, 14, 3))
    return target, source


def run(config: AugmentConfig, seed: int = 0, videos: int = 0):
    return augment_pair(*pair_of(videos), torch.Generator().manual_seed(seed), config)


def test_nothing_happens_by_default():
    target, source = pair_of()
    pair = augment_pair(target, source, torch.Generator(), AugmentConfig())
    assert pair.target is target and pair.source is source and pair.changes == () and not pair.flipped


@settings(max_examples=25, deadline=None)
@given(names=st.sets(st.sampled_from(SHARED), min_size=1), flip=st.booleans(), seed=st.integers(0, 10**6))
def test_equal_videos_stay_equal(names, flip, seed):
    target, _ = pair_of(seed)
    config = settings_of(*names, flip=float(flip))
    pair = augment_pair(target, target, torch.Generator().manual_seed(seed), config)
    np.testing.assert_array_equal(pair.target, pair.source)
    assert pair.target.dtype == np.uint8 and pair.target.shape == target.shape


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(SHARED), seed=st.integers(0, 10**6))
def test_what_was_equal_stays_equal_away_from_the_lips(name, seed):
    config = settings_of(name)
    pair = run(config, seed)
    reach = blur_reach(config.blur.range[1] * S) if name == "blur" else 0
    apart = (pair.target != pair.source).any(axis=(0, 3))
    near = np.zeros((S, S), bool)
    if name == "warp":
        # Offsets of three deviations at two knots, and the kernel of four pixels.
        reach = int(6 * config.warp.range[1] * S) + 5
    if name == "compression":
        # The 16 x 16 blocks that the rectangle touches; the decoder smooths colours across their edges.
        near[16 - 2 : 48, 16 - 2 : 32 + 2] = True
    else:
        near[28 - reach : 36 + reach, 16 - reach : 30 + reach] = True
    assert not apart[~near].any()
    if name != "occluder":
        assert apart.any()


@settings(max_examples=20, deadline=None)
@given(names=st.sets(st.sampled_from(SOURCE), min_size=1), seed=st.integers(0, 10**6))
def test_degradations_leave_the_target_alone(names, seed):
    target, source = pair_of()
    config = settings_of(*names)
    pair = run(config, seed)
    assert pair.target is target or np.array_equal(pair.target, target)
    if names & {"source_noise", "source_compression"}:
        assert not np.array_equal(pair.source, source)


@settings(max_examples=20, deadline=None)
@given(names=st.sets(st.sampled_from(SHARED + SOURCE)), seed=st.integers(0, 10**6))
def test_the_generator_decides_everything(names, seed):
    config = settings_of(*names, flip=0.5)
    one, again = run(config, seed), run(config, seed)
    np.testing.assert_array_equal(one.target, again.target)
    np.testing.assert_array_equal(one.source, again.source)
    assert one.changes == again.changes


def test_other_draws_differ_and_one_change_moves_no_other():
    for name in SHARED + SOURCE:
        sources = [run(settings_of(name), seed).source for seed in (1, 2)]
        if name not in ("compression", "source_compression"):
            assert not np.array_equal(*sources), name
    alone, flipped = run(settings_of("relight"), 5), run(settings_of("relight", flip=1.0), 5)
    np.testing.assert_array_equal(flipped.target, alone.target[:, :, ::-1])
    np.testing.assert_array_equal(flipped.source, alone.source[:, :, ::-1])


def test_probabilities_are_kept():
    config = AugmentConfig(flip=0.5)
    config.colour.probability = 0.2
    target = np.full((1, 8, 8, 3), 90, np.uint8)
    made = [augment_pair(target, target, torch.Generator().manual_seed(k), config) for k in range(1500)]
    assert abs(np.mean([one.flipped for one in made]) - 0.5) < 0.05
    assert abs(np.mean(["colour" in one.changes for one in made]) - 0.2) < 0.04


def test_light_changes_smoothly_in_space_and_time():
    config = settings_of("relight")
    config.relight.range = [0.8, 0.8]
    grey = np.full((30, 64, 64, 3), 100, np.uint8)
    pair = augment_pair(grey, grey, torch.Generator().manual_seed(1), config)
    video = pair.target.astype(int)
    assert np.ptp(video) > 20
    assert max(np.abs(np.diff(video, axis=axis)).max() for axis in (0, 1, 2)) <= 12


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_an_occluder_covers_something_and_not_everything(seed):
    config = settings_of("occluder")
    grey = np.full((9, 64, 64, 3), 128, np.uint8)
    pair = augment_pair(grey, grey, torch.Generator().manual_seed(seed), config)
    covered = (np.abs(pair.target.astype(int) - 128) > 2).any(axis=3).mean()
    assert 0 < covered < 0.6


def test_the_mirrored_layout_is_its_own_inverse():
    assert sorted(MIRRORED) == list(range(68))
    assert [MIRRORED[MIRRORED[i]] for i in range(68)] == list(range(68))
    assert (MIRRORED[8], MIRRORED[36], MIRRORED[48], MIRRORED[57]) == (8, 45, 54, 57)


def test_masks_of_the_flip_are_the_flipped_masks(canonical_landmarks):
    size = 64
    landmarks = canonical_landmarks
    flipped = flip_landmarks(torch.from_numpy(landmarks), size).numpy()
    np.testing.assert_allclose(flip_landmarks(torch.from_numpy(flipped), size).numpy(), landmarks, atol=1e-4)
    for mask in (lip_mask, face_mask):
        plain, mirrored = np.asarray(mask(landmarks, size)), np.asarray(mask(flipped, size))
        assert plain.any()
        # Rasterisation is not symmetric to the last pixel.
        assert (plain[:, :, ::-1] != mirrored).mean() < 0.01
        pooled = torch.from_numpy(np.asarray(pool_mask_to_latents(plain, 8), np.uint8))
        arrays = mirrored_pair(size).arrays({"lip_mask": pooled, "other": pooled})
        expected = np.asarray(pool_mask_to_latents(np.ascontiguousarray(plain[:, :, ::-1]), 8))
        np.testing.assert_array_equal(arrays["lip_mask"].numpy(), expected)
        assert torch.equal(arrays["other"], pooled)


def mirrored_pair(size: int) -> AugmentedPair:
    black = np.zeros((1, size, size, 3), np.uint8)
    return AugmentedPair(black, black, True, ("flip",))


@pytest.mark.parametrize("seed", range(40))
def test_a_bent_picture_is_not_folded(seed):
    offsets = warp(np.random.default_rng(seed), 8.0, 64).offsets
    y, x = np.mgrid[:64, :64]
    assert np.ptp(offsets) > 4
    assert np.diff(x + offsets[..., 0], axis=1).min() > 0 and np.diff(y + offsets[..., 1], axis=0).min() > 0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), flip=st.booleans())
def test_landmarks_and_masks_follow_a_bent_picture(seed, flip):
    size, stride = 64, 8
    rng = np.random.default_rng(seed)
    points = rng.uniform(14, size - 14, (3, 68, 3)).astype(np.float32)
    points[0, 5] = np.nan
    config = settings_of("warp", flip=float(flip))
    # A dot on each point's place, one frame each, must be where the moved point is.
    video = np.zeros((3, size, size, 3), np.uint8)
    for frame, (x, y, _) in zip(video, points[:, 20], strict=True):
        grid_y, grid_x = np.mgrid[:size, :size]
        dot = np.exp(-((grid_x - x) ** 2 + (grid_y - y) ** 2) / 8)
        frame[:] = (255 * dot)[..., None].astype(np.uint8)
    pair = augment_pair(video, video, torch.Generator().manual_seed(seed), config)
    moved = pair.landmarks(torch.from_numpy(points))
    assert moved.shape == points.shape and int(moved.isnan().any(dim=-1).sum()) == 1
    index = [MIRRORED[20] if flip else 20] * 3
    for frame, place in zip(pair.target, moved[range(3), index], strict=True):
        # The dot's top: a border that is mirrored into the picture has a faint one of its own.
        weight = frame[..., 0].astype(float) ** 4
        found = [(weight * grid).sum() / weight.sum() for grid in (grid_x, grid_y)]
        # A field that stretches one side of the dot moves its middle by up to a pixel.
        np.testing.assert_allclose(found, place[:2].numpy(), atol=1.5)
    np.testing.assert_array_equal(moved[..., 2].numpy()[1:, index[0]], points[1:, 20, 2])
    blocks = torch.from_numpy(rng.random((2, size // stride, size // stride)) < 0.5)
    made = pair.arrays({"lip_mask": blocks, "landmarks": torch.from_numpy(points), "other": blocks})
    assert made["lip_mask"].shape == blocks.shape and made["lip_mask"].dtype == blocks.dtype
    assert torch.equal(made["landmarks"][1:], moved[1:]) and torch.equal(made["other"], blocks)


def test_a_mask_is_bent_as_its_picture_is():
    size, stride = 96, 8
    config = settings_of("warp")
    config.warp.range = [0.08, 0.08]
    blocks = np.zeros((1, size // stride, size // stride), bool)
    blocks[:, 4:9, 3:8] = True
    picture = np.repeat(blocks.repeat(stride, 1).repeat(stride, 2)[..., None], 3, 3).astype(np.uint8) * 255
    pair = augment_pair(picture, picture, torch.Generator().manual_seed(3), config)
    bent = pair.arrays({"lip_mask": torch.from_numpy(blocks)})["lip_mask"].numpy()
    middles = pair.target[:, stride // 2 :: stride, stride // 2 :: stride, 0] > 127
    assert (bent != blocks).any() and (bent != middles).mean() < 0.03


@pytest.fixture
def canonical_landmarks() -> np.ndarray:
    from common.face.canonical import face_points

    points = np.asarray(face_points(), np.float64)
    angle = 0.2
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    turned = points @ turn.T * 18 + np.array([30.0, 26.0, 0.0])
    return np.stack([turned + np.array([0.5 * k, 0, 0]) for k in range(N)]).astype(np.float32)


def test_both_stages_take_the_section_and_bad_values_are_named():
    for schema in (Stage1Config, Stage2Config):
        config = load_config(schema, overrides=["augment.blur.probability=0.2", "augment.flip=0.5"])
        assert config.augment.active and config.augment.blur.range == [0.002, 0.01]
        assert not load_config(schema).augment.active
    for word, part in (
        ("augment.blur.probability=2", "augment.blur.probability"),
        ("augment.relight.range=[1.0,0.5]", "augment.relight.range"),
        ("augment.compression.range=[0.0,50.0]", "augment.compression.range"),
        ("augment.flip=-1", "augment.flip"),
        ("augment.tint.probability=1", "unknown key"),
    ):
        with pytest.raises(UserError, match=part):
            load_config(Stage2Config, overrides=[word])
