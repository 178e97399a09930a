"""Pose, crops, masks and mouth measures on made-up heads: what they depend on and what they cover."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from own_mouth_clips import head, rotation

from common.face import (
    FaceTrack,
    face_mask,
    lip_distance,
    lip_mask,
    lower_face_mask,
    mouth_opening,
    plan_crops,
    pool_mask_to_latents,
)
from common.face.canonical import face_in_box, face_points, opened_face_points
from common.face.crops import frame_crops
from common.face.layout import JAW, MOUTH
from common.face.pose import fit_pose
from common.face.types import landmarks_box

MOVED_BY_SPEECH = [*JAW, *MOUTH]


def clip(frames: int = 12, seed: int = 0, **pose: float) -> np.ndarray:
    """(frames, 68, 3) of a head that moves a little."""
    draw = np.random.default_rng(seed)
    sway = draw.normal(0, 1, (frames, 3)).cumsum(axis=0)
    return np.stack(
        [head(**{**pose, "yaw": pose.get("yaw", 0) + s[0], "at": (80 + s[1], 60 + s[2])}) for s in sway]
    )


def track_of(landmarks: np.ndarray, present: np.ndarray | None = None) -> FaceTrack:
    present = np.ones(len(landmarks), bool) if present is None else present
    landmarks = np.where(present[:, None, None], landmarks, np.nan).astype(np.float32)
    return FaceTrack(np.arange(len(landmarks)), landmarks, landmarks_box(landmarks), present)


def speak(landmarks: np.ndarray, seed: int, amount: float) -> np.ndarray:
    """The same frames with every mouth and jaw landmark moved at random."""
    moved = landmarks.copy()
    noise = np.random.default_rng(seed).normal(0, amount, moved[:, MOVED_BY_SPEECH].shape)
    moved[:, MOVED_BY_SPEECH] += noise.astype(np.float32)
    return moved


angles = st.floats(-35, 35)


class TestPose:
    @given(yaw=st.floats(-70, 70), pitch=angles, roll=st.floats(-60, 60), scale=st.floats(10, 400))
    @settings(max_examples=40, deadline=None)
    def test_finds_the_pose_that_made_the_landmarks(self, yaw, pitch, roll, scale):
        pose = fit_pose(head(yaw=yaw, pitch=pitch, roll=roll, scale=scale)[None])
        assert pose.scale[0] == pytest.approx(scale, rel=0.02)
        np.testing.assert_allclose(pose.rotation[0], rotation(yaw, pitch, roll), atol=0.04)

    def test_needs_no_depth(self):
        landmarks = clip(yaw=20)
        flat = landmarks.copy()
        flat[..., 2] = 0
        np.testing.assert_array_equal(fit_pose(landmarks).rotation, fit_pose(flat).rotation)

    def test_refuses_frames_without_a_face(self):
        landmarks = clip()
        landmarks[3] = np.nan
        with pytest.raises(ValueError, match="without a face"):
            fit_pose(landmarks)


class TestLowerFaceMask:
    @given(
        seed=st.integers(0, 10_000),
        amount=st.floats(0.1, 30),
        yaw=angles,
        pitch=angles,
        size=st.integers(48, 200),
    )
    @settings(max_examples=40, deadline=None)
    def test_is_the_same_whatever_mouth_and_jaw_do(self, seed, amount, yaw, pitch, size):
        landmarks = clip(seed=seed % 5, yaw=yaw, pitch=pitch)
        before = lower_face_mask(landmarks, size)
        np.testing.assert_array_equal(before, lower_face_mask(speak(landmarks, seed, amount), size))

    def test_does_not_even_need_a_visible_mouth(self):
        landmarks = clip()
        hidden = landmarks.copy()
        hidden[:, MOVED_BY_SPEECH] = np.nan
        np.testing.assert_array_equal(lower_face_mask(landmarks, 160), lower_face_mask(hidden, 160))

    @pytest.mark.parametrize("yaw", [-50, -25, 0, 25, 50])
    @pytest.mark.parametrize("pitch", [-20, 0, 20])
    def test_covers_closed_and_wide_open_mouths_and_spares_the_eyes(self, yaw, pitch):
        scale, size = 60.0, 200
        pose = {"yaw": yaw, "pitch": pitch, "scale": scale, "at": (100, 60)}
        closed, opened = (head(p, **pose) for p in (face_points(), opened_face_points()))
        mask = lower_face_mask(closed[None], size)[0]
        for landmarks in (closed, opened):
            columns, rows = landmarks[[*range(4, 13), *MOUTH, 31, 33, 35], :2].round().astype(int).T
            assert mask[rows, columns].all()
        # The far eye may lie behind the nose.
        eyes = [slice(36, 42), slice(42, 48)] if yaw == 0 else [slice(42, 48) if yaw > 0 else slice(36, 42)]
        for eye in eyes:
            columns, rows = closed[eye, :2].round().astype(int).T
            assert not mask[rows, columns].any()

    def test_keeps_its_size_when_the_mouth_and_the_distance_jitter(self):
        quiet, draw = clip(30), np.random.default_rng(1)
        jitter = quiet * (1 + draw.normal(0, 0.01, (30, 1, 1))).astype(np.float32)
        areas = lower_face_mask(jitter, 200).sum(axis=(1, 2))
        assert areas.std() / areas.mean() < 0.03

    def test_is_empty_only_where_there_is_no_face(self):
        landmarks = clip()
        landmarks[[0, 5, 6]] = np.nan
        for masks in (lower_face_mask(landmarks, 160), face_mask(landmarks, 160), lip_mask(landmarks, 160)):
            assert [int(k) for k in np.flatnonzero(~masks.any(axis=(1, 2)))] == [0, 5, 6]
        assert not lower_face_mask(np.full((2, 68, 3), np.nan, np.float32), 32).any()

    def test_can_lie_partly_outside_the_crop(self):
        masks = lower_face_mask(np.stack([head(at=(10, 100))] * 2), 128)
        assert masks.any() and masks.shape == (2, 128, 128)


class TestOtherMasks:
    def test_lips_lie_in_the_lower_face_and_that_mostly_in_the_face(self):
        landmarks = clip(pitch=5)
        lips, lower, face = (f(landmarks, 200) for f in (lip_mask, lower_face_mask, face_mask))
        assert lips.any() and not (lips & ~lower).any() and not (lips & ~face).any()
        assert face.sum() > lower.sum() * 0.9

    def test_lip_mask_grows_with_the_opening(self):
        closed, opened = head()[None], head(opened_face_points())[None]
        assert lip_mask(opened, 200).sum() > 1.3 * lip_mask(closed, 200).sum()

    def test_face_mask_reaches_over_the_brows(self):
        landmarks = head(at=(100, 80))[None]
        top = np.flatnonzero(face_mask(landmarks, 200)[0].any(axis=1)).min()
        assert top < landmarks[0, 17:27, 1].min() - 10


class TestPooling:
    @given(
        groups=st.integers(0, 5),
        rows=st.integers(1, 4),
        columns=st.integers(1, 4),
        stride=st.sampled_from([2, 8]),
    )
    @settings(max_examples=30, deadline=None)
    def test_a_cell_is_set_exactly_when_one_of_its_pixels_is(self, groups, rows, columns, stride):
        draw = np.random.default_rng(groups)
        mask = draw.random((4 * groups + 1, rows * stride, columns * stride)) < 0.02
        pooled = pool_mask_to_latents(mask, stride)
        assert pooled.shape == (groups + 1, rows, columns) and pooled.dtype == bool
        for f in range(groups + 1):
            frames = mask[:1] if f == 0 else mask[4 * f - 3 : 4 * f + 1]
            blocks = frames.reshape(len(frames), rows, stride, columns, stride)
            np.testing.assert_array_equal(pooled[f], blocks.any(axis=(0, 2, 4)))

    def test_torch_and_numpy_agree_and_keep_their_kind(self):
        mask = np.random.default_rng(0).random((9, 16, 24)) < 0.1
        batch = torch.from_numpy(np.stack([mask, ~mask])).float()
        pooled = pool_mask_to_latents(batch, (4, 8, 8))
        assert pooled.shape == (2, 3, 2, 3) and pooled.dtype == torch.float32
        np.testing.assert_array_equal(pooled[0].numpy().astype(bool), pool_mask_to_latents(mask, 8))
        assert pool_mask_to_latents(mask.astype(np.uint8), 8).dtype == np.uint8

    @pytest.mark.parametrize("shape", [(4, 16, 16), (8, 16, 16), (5, 15, 16), (5, 16, 20)])
    def test_refuses_what_does_not_fit(self, shape):
        with pytest.raises(ValueError, match="does not fit"):
            pool_mask_to_latents(np.zeros(shape, bool), 8)


class TestCrops:
    @given(seed=st.integers(0, 10_000), amount=st.floats(0.1, 20))
    @settings(max_examples=25, deadline=None)
    def test_tell_nothing_of_the_lips(self, seed, amount):
        landmarks = clip(20, seed=seed % 5)
        quiet, talking = (plan_crops(track_of(x)) for x in (landmarks, speak(landmarks, seed, amount)))
        np.testing.assert_allclose(quiet.centers, talking.centers, atol=1e-9)
        np.testing.assert_allclose(quiet.sizes, talking.sizes, atol=1e-9)

    def test_one_size_per_segment_and_none_between(self):
        near, far = clip(10, scale=80), clip(10, scale=40)
        landmarks = np.concatenate([near, near[:3], far])
        present = np.array([True] * 10 + [False] * 3 + [True] * 10)
        crops = plan_crops(track_of(landmarks, present))
        assert len(set(crops.sizes[:10])) == 1 and len(set(crops.sizes[13:])) == 1
        assert crops.sizes[0] == pytest.approx(2 * crops.sizes[-1], rel=0.02)
        np.testing.assert_array_equal(crops.present, present)
        assert np.isnan(crops.centers[10:13]).all()
        with pytest.raises(ValueError, match="no face"):
            crops.matrix(11, 96)

    def test_smoothing_calms_the_centre_without_shifting_it(self):
        draw = np.random.default_rng(0)
        landmarks = np.stack([head()] * 60) + draw.normal(0, 2, (60, 1, 3)).astype(np.float32)
        rough, calm = (plan_crops(track_of(landmarks), smoothing=s).centers for s in (0, 0.1))
        assert np.diff(calm, axis=0).std() < 0.25 * np.diff(rough, axis=0).std()
        np.testing.assert_allclose(calm.mean(axis=0), rough.mean(axis=0), atol=0.3)

    @pytest.mark.parametrize("yaw", [-40, 0, 40])
    def test_hold_the_widest_mask_inside_the_outermost_twelfth(self, yaw):
        landmarks = np.stack([head(yaw=yaw, scale=100, at=(400, 300))] * 3)
        crops = plan_crops(track_of(landmarks))
        inside = np.stack([crops.landmarks(landmarks[k], k, 96) for k in range(3)])
        mask = lower_face_mask(inside, 96)
        assert mask.any() and not mask[:, 88:].any() and not mask[:, :8].any()
        assert not mask[:, :, :8].any() and not mask[:, :, 88:].any()

    @pytest.mark.parametrize("out_size", [64, 300])
    def test_landmarks_and_pixels_move_together(self, out_size):
        landmarks = np.stack([head(scale=60, at=(150.3, 130.7))] * 2)
        crops = plan_crops(track_of(landmarks))
        y, x = np.mgrid[0:300, 0:320].astype(np.float32)
        spot = np.asarray(landmarks[0, 30, :2])
        glow = 255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * 4.0**2))
        crop = crops.extract(np.repeat(glow[..., None], 3, axis=2).astype(np.uint8), 0, out_size)
        weight = crop[..., 0].astype(float)
        rows, columns = np.mgrid[0:out_size, 0:out_size]
        seen = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        np.testing.assert_allclose(seen, crops.landmarks(landmarks[0], 0, out_size)[30, :2], atol=0.15)

    def test_paste_undoes_extract_and_leaves_the_rest_alone(self):
        landmarks = np.stack([head(scale=40, at=(110, 90))] * 2)
        crops = plan_crops(track_of(landmarks))
        y, x = np.mgrid[0:220, 0:240]
        image = np.stack([128 + 60 * np.sin(x / 11), 128 + 60 * np.cos(y / 9), (x + y) / 2], axis=2).astype(
            np.uint8
        )
        size = 128
        alpha = np.zeros((size, size), np.float32)
        alpha[40:100, 30:110] = 1
        pasted = crops.paste(image, crops.extract(image, 0, size), alpha, 0)
        assert np.abs(pasted.astype(int) - image).max() <= 4
        changed = crops.paste(image, np.full((size, size, 3), 255, np.uint8), alpha, 0)
        touched = (changed != image).any(axis=2)
        matrix = crops.matrix(0, size)
        low = (np.array([30, 40]) - 1.5 - matrix[:, 2]) / matrix[0, 0]
        high = (np.array([109, 99]) + 1.5 - matrix[:, 2]) / matrix[0, 0]
        rows, columns = np.nonzero(touched)
        assert touched.any() and columns.min() >= low[0] and rows.min() >= low[1]
        assert columns.max() <= high[0] and rows.max() <= high[1]

    def test_nothing_is_pasted_where_alpha_is_zero_or_the_square_is_outside(self):
        landmarks = np.stack([head(scale=40, at=(-400, 90))] * 2)
        crops = plan_crops(track_of(landmarks))
        image = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
        white = np.full((64, 64, 3), 255, np.uint8)
        np.testing.assert_array_equal(crops.paste(image, white, np.ones((64, 64)), 0), image)
        inside = plan_crops(track_of(np.stack([head(scale=40, at=(100, 90))] * 2)))
        np.testing.assert_array_equal(inside.paste(image, white, np.zeros((64, 64)), 0), image)

    def test_crops_over_the_edge_are_filled_by_reflection(self):
        crops = plan_crops(track_of(np.stack([head(scale=60, at=(10, 10))] * 2)))
        crop = crops.extract(np.full((100, 100, 3), 77, np.uint8), 0, 96)
        assert (crop == 77).all()

    def test_shrinking_does_not_alias(self):
        crops = plan_crops(track_of(np.stack([head(scale=200, at=(300, 200))] * 2)))
        stripes = np.zeros((700, 600, 3), np.uint8)
        stripes[:, ::2] = 255
        crop = crops.extract(stripes, 0, 64)[8:-8, 8:-8]
        assert crop.std() < 12 and abs(crop.mean() - 127.5) < 3


class TestMouth:
    def test_opening_is_the_gap_in_eye_distances(self):
        closed = face_points()
        for gap in (0.0, 0.1, 0.3):
            points = closed.copy()
            for upper, lower in ((61, 67), (62, 66), (63, 65)):
                points[lower] = points[upper] + [0, gap, 0]
            assert mouth_opening(head(points, scale=37)[None])[0] == pytest.approx(gap, abs=1e-5)
            assert mouth_opening(head(points, yaw=40, scale=90)[None])[0] == pytest.approx(gap, abs=1e-5)

    def test_opening_is_nan_without_a_face(self):
        landmarks = clip(4)
        landmarks[2] = np.nan
        assert np.isnan(mouth_opening(landmarks)).tolist() == [False, False, True, False]

    def test_lip_distance_is_in_pixels_of_an_aligned_face(self):
        a = clip(5)
        # 112-pixel face: 35.24 px between the eye centres, which lie 0.692 eye-corner distances apart.
        moved = face_points()
        moved[list(MOUTH), 1] += 0.1
        b = np.stack([head(moved)] * 5)
        assert lip_distance(np.stack([head()] * 5), b) == pytest.approx(0.1 * 35.24 / 0.692, rel=1e-3)
        assert lip_distance(a, a) == pytest.approx(0, abs=1e-5)

    @given(roll=st.floats(-40, 40), scale=st.floats(20, 300), shift=st.floats(-100, 100))
    @settings(max_examples=20, deadline=None)
    def test_lip_distance_sees_neither_place_size_nor_tilt(self, roll, scale, shift):
        a = head(opened_face_points())[None]
        b = head(roll=roll, scale=scale, at=(shift, 2 * shift))[None]
        assert lip_distance(a, b) == pytest.approx(lip_distance(a, head()[None]), rel=1e-3)

    def test_lip_distance_leaves_out_frames_without_a_face(self):
        a, b = clip(5), clip(5)
        b[1] = np.nan
        assert lip_distance(a, b) == pytest.approx(0, abs=1e-5)
        with pytest.raises(ValueError, match="no frame"):
            lip_distance(a, np.full_like(a, np.nan))


def test_canonical_face_fills_the_box_and_is_frontal():
    box = np.array([10, 20, 110, 20 + 100 * 1.55 / 1.576], np.float32)
    landmarks = face_in_box(box)
    np.testing.assert_allclose(landmarks_box(landmarks), box, atol=1.0)
    np.testing.assert_allclose(fit_pose(landmarks[None]).rotation[0], np.eye(3), atol=1e-3)


def test_the_square_around_the_whole_picture_holds_it_as_it_is() -> None:
    present = np.array([True, False, True])
    crops = frame_crops(track_of(clip(3), present), 120, 80)
    np.testing.assert_array_equal(crops.present, present)
    image = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    square = crops.extract(image, 2, 120)
    np.testing.assert_array_equal(square[20:100], image)
    np.testing.assert_array_equal(crops.paste(image, square, np.ones((120, 120)), 2), image)


def test_a_long_clip_is_fitted_in_parts_to_the_same_poses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each frame by itself; the common scale is that of all."""
    faces = np.stack([head(yaw=3 * i, roll=i, scale=50 + i) for i in range(9)])
    whole = [fit_pose(faces, fixed) for fixed in (False, True)]
    monkeypatch.setattr("common.face.pose._AT_ONCE", 4)
    for fixed, expected in zip((False, True), whole, strict=True):
        pose = fit_pose(faces, fixed)
        for name in ("scale", "rotation", "translation"):
            np.testing.assert_array_equal(getattr(pose, name), getattr(expected, name))
    assert len(fit_pose(faces[:0]).scale) == 0
