"""Mouths laid into frames: what changes, what does not, and what lies before the face."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import replace
from threading import Event

import cv2
import numpy as np
import pytest
from own_mouth_clips import Talker, drawn_talker, openings, psnr, talker

from common.face.mouth import LIP_SHAPE_UNIT, mouth_opening
from common.face.types import FaceObservation, landmarks_box
from common.own_mouths.bank import Bank
from common.own_mouths.clip import ClipMouths, MouthCollector
from common.own_mouths.config import OwnMouthsConfig
from common.own_mouths.painting.painter import InsidePainter
from common.own_mouths.painting.shipped import SHIPPED_PAINTER
from common.own_mouths.place import DrawnFrame, FramePlacer
from common.own_mouths.plan import MouthPlan, MouthPlanner
from common.own_mouths.renderer import MouthRenderer, build_renderer
from common.own_mouths.sharpness import FrameSharpness

PLAIN = OwnMouthsConfig(occluders=False)


def _planned(clip: Talker, bank: Bank, shapes: np.ndarray, apart: int = 0) -> MouthPlan:
    """A plan for all frames of a clip, from moments at least ``apart`` frames away."""
    frames = np.arange(len(clip))
    forbidden = np.abs(frames[:, None] - bank.frames[None]) < apart
    return MouthPlanner(bank).plan(shapes, clip.heads.angles, None, forbidden)


def _drawn(clip: Talker, plan: MouthPlan, bank: Bank, config: OwnMouthsConfig = PLAIN) -> np.ndarray:
    placer = FramePlacer(clip.heads, bank, plan, config)
    return np.stack([placer(i, image).image for i, image in enumerate(clip.frames)])


def _of_first(value: float) -> FrameSharpness:
    """As if the first frame alone had been seen."""
    return FrameSharpness(np.array([0]), np.array([value]))


def _region(clip: Talker, frame: int, reach: float) -> np.ndarray:
    """(H, W) bool: pixels within ``reach`` eye-corner distances of the mouth, to each side."""
    points = clip.landmarks[frame]
    unit = np.linalg.norm(points[45] - points[36])
    x, y = points[[48, 54], :2].mean(axis=0)
    rows, columns = np.mgrid[0 : clip.frames.shape[1], 0 : clip.frames.shape[2]]
    return np.maximum(np.abs(rows - y), np.abs(columns - x)) <= reach * unit


def _mouth_psnr(clip: Talker, made: np.ndarray) -> float:
    return min(
        psnr(made[i][_region(clip, i, 0.5)], clip.frames[i][_region(clip, i, 0.5)]) for i in range(len(clip))
    )


def _detail(image: np.ndarray, spot: np.ndarray) -> float:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F))[spot].mean())


class TestOwnShapes:
    def test_a_clip_that_takes_itself_is_given_back(self) -> None:
        clip = talker()
        bank = clip.bank()
        made = _drawn(clip, _planned(clip, bank, bank.shapes), bank)
        assert psnr(made, clip.frames) > 50

    def test_frames_that_begin_later_in_the_clip_are_given_back_too(self) -> None:
        """The face is seen from the sixth frame on: moments are numbered as in the clip, frames are not."""
        clip = talker()
        bank = clip.bank()
        late = Talker(clip.frames[6:], clip.landmarks[6:])
        plan = MouthPlanner(bank).plan(bank.shapes[6:], late.heads.angles)
        np.testing.assert_array_equal(plan.moments, np.arange(6, 24))
        assert psnr(_drawn(late, plan, bank), late.frames) > 50

    @pytest.mark.parametrize("seed", [21, 30])
    def test_mouths_of_other_moments_make_nearly_the_same_picture(self, seed: int) -> None:
        clip = talker(count=36, seed=seed)
        bank = clip.bank()
        plan = _planned(clip, bank, bank.shapes, apart=5)
        assert (np.abs(bank.frames[plan.moments] - np.arange(36)) >= 5).all()
        made = _drawn(clip, plan, bank)
        # Better than leaving the lips of the other moment where they were in that frame.
        pasted = np.stack([clip.frames[m] for m in plan.moments])
        assert _mouth_psnr(clip, made) > max(24.0, _mouth_psnr(clip, pasted) + 1)

    @pytest.mark.parametrize("sway", [0.0, 4.0])
    def test_bent_mouths_are_as_open_as_they_shall_be(self, sway: float) -> None:
        said = 0.06 + 0.16 * np.sin(0.37 * np.arange(20)) ** 2
        clip = drawn_talker(said, sway=sway)
        whole = clip.bank()
        # Few moments, none of them right: filmed mouths are wrong, bent ones are not.
        bank = whole.limited(np.flatnonzero(np.arange(20) % 5 == 0))
        plan = _planned(clip, bank, whole.shapes, apart=1)
        truth = openings(clip.frames)

        def off(config: OwnMouthsConfig) -> float:
            return float(np.abs(openings(_drawn(clip, plan, bank, config)) - truth).mean() / truth.mean())

        assert off(PLAIN) < 0.105
        assert off(PLAIN) < 0.6 * off(replace(PLAIN, warp=False))

    def test_a_mouth_opens_and_closes_as_is_wanted_whatever_it_did(self) -> None:
        clip = drawn_talker(np.full(24, 0.12))
        bank = clip.bank()
        wanted = 0.03 + 0.15 * np.sin(0.4 * np.arange(24)) ** 2
        shapes = bank.shapes.copy()
        shapes[:, :3] = wanted[:, None] / LIP_SHAPE_UNIT
        made = openings(_drawn(clip, _planned(clip, bank, shapes), bank))
        truth = openings(drawn_talker(wanted).frames)
        assert np.corrcoef(made, truth)[0, 1] > 0.97
        assert np.abs(made - truth).mean() < 0.2 * truth.mean()

    def test_lips_that_shall_be_closed_show_no_more_than_the_line_between_closed_lips(self) -> None:
        clip = drawn_talker(np.full(8, 0.08))
        bank = clip.bank()
        made = []
        for wanted in (0.0, 0.02, -0.02):
            shapes = bank.shapes.copy()
            shapes[:, :3] = wanted / LIP_SHAPE_UNIT
            made.append(openings(_drawn(clip, _planned(clip, bank, shapes), bank)).max())
        closed = openings(drawn_talker(np.zeros(1)).frames)[0]
        assert made[0] < 1.2 * closed < 0.4 * openings(clip.frames).min()
        pressed = max(made[0], made[2])
        assert pressed < closed and pressed < 0.75 * made[1], "lips that are pressed show less of it"

    def test_a_mouth_that_was_never_open_is_opened_dark_or_with_teeth_and_never_with_skin(self) -> None:
        clip = drawn_talker(np.full(8, 0.02))
        bank = clip.bank()
        shapes = bank.shapes.copy()
        shapes[:, :3] = 0.2 / LIP_SHAPE_UNIT
        made = _drawn(clip, _planned(clip, bank, shapes), bank)
        for i, image in enumerate(made):
            x, y = clip.landmarks[i, [62, 66], :2].mean(axis=0)
            column = image[round(y) - 6 : round(y) + 12, round(x)].astype(int)
            changed = np.abs(column - clip.frames[i, round(y) - 6 : round(y) + 12, round(x)]).max(axis=-1)
            assert (changed > 40).sum() >= 5

    def test_skin_is_laid_on_skin_where_landmarks_err_a_little(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clip = drawn_talker(np.full(6, 0.1))
        off = clip.landmarks + np.where(np.arange(6) < 3, 0, 1.2)[:, None, None] * np.array([1, -0.5, 0])
        erring = Talker(clip.frames, off.astype(np.float32))
        bank = erring.bank()
        plan = _planned(erring, bank, bank.shapes, apart=3)
        aligned = _mouth_psnr(clip, _drawn(erring, plan, bank))
        monkeypatch.setattr(
            "common.own_mouths.skin.Aligner.__call__",
            lambda self, base, piece, weight, unit: np.zeros((2, *weight.shape), np.float32),
        )
        assert aligned > _mouth_psnr(clip, _drawn(erring, plan, bank)) + 1

    @pytest.mark.parametrize("painted", [True, False], ids=["painted", "drawn"])
    @pytest.mark.parametrize("gap", [0.15, 0.28], ids=["parted", "wide"])
    def test_what_lies_between_the_lips_goes_with_them_where_skin_is_aligned(
        self, gap: float, painted: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Skin that lies four pixels off takes the whole mouth with it: rows of teeth are parted where they
        part, and a painted inside lies between the lips.
        """
        clip = drawn_talker(np.array([0.05, 0.1]), size=320, scale=140)
        _paint_teeth(clip, 1)
        bank = clip.bank()
        shapes = bank.shapes.copy()
        shapes[:, :3] = gap / LIP_SHAPE_UNIT
        plan = _planned(clip, bank, shapes, apart=1)
        painter = InsidePainter.load(SHIPPED_PAINTER.folder()) if painted else None
        placer = FramePlacer(clip.heads, bank, plan, PLAIN, painter=painter)
        made = []
        for down in (0, 4):
            flow = np.array([0, -down], np.float32)[:, None, None]
            monkeypatch.setattr(
                "common.own_mouths.skin.Aligner.__call__",
                lambda self, base, piece, weight, unit, flow=flow: np.tile(flow, (1, *weight.shape)),
            )
            made.append(np.roll(placer(0, clip.frames[0]).image, -down, axis=0))
        spot = _region(clip, 0, 0.2)
        assert psnr(made[0][spot], made[1][spot]) > 35


def _paint_teeth(clip: Talker, frame: int) -> None:
    """Two rows of teeth that fill the mouth, with a dark line between them at 0.6 of its height."""
    image, points = clip.frames[frame], clip.landmarks[frame]
    upper, lower = points[62, 1], points[66, 1]
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    height = (y - upper) / (lower - upper)
    inside = (np.abs(x - points[62, 0]) < 0.12 * 140) & (height > 0.05) & (height < 0.95)
    image[inside & (np.abs(height - 0.6) > 0.05)] = 225


class TestOutside:
    def _made(self) -> tuple[Talker, np.ndarray]:
        clip = talker()
        bank = clip.bank()
        return clip, _drawn(clip, _planned(clip, bank, bank.shapes[::-1].copy()), bank)

    def test_away_from_the_mouth_every_byte_is_the_sources(self) -> None:
        clip, made = self._made()
        for i in range(len(clip)):
            changed = (made[i] != clip.frames[i]).any(axis=-1)
            assert not (changed & ~_region(clip, i, 1.3)).any()
            # Eyes and brows are within reach of the box about the mouth, and are not touched.
            eyes = clip.landmarks[i][36:48, :2].round().astype(int)
            assert not changed[eyes[:, 1], eyes[:, 0]].any()
        assert (made != clip.frames).any(axis=(1, 2, 3)).sum() > 12

    def test_the_source_frame_is_left_as_it_was(self) -> None:
        clip = talker()
        bank = clip.bank()
        placer = FramePlacer(clip.heads, bank, _planned(clip, bank, bank.shapes[::-1].copy()), PLAIN)
        image = clip.frames[3].copy()
        made = placer(3, image).image
        np.testing.assert_array_equal(image, clip.frames[3])
        assert not np.shares_memory(made, image) and made.dtype == np.uint8 and made.shape == image.shape

    def test_the_same_job_makes_the_same_bytes(self) -> None:
        np.testing.assert_array_equal(self._made()[1], self._made()[1])


class TestKeep:
    def _placer(self) -> tuple[Talker, FramePlacer]:
        clip = talker()
        bank = clip.bank()
        return clip, FramePlacer(clip.heads, bank, _planned(clip, bank, bank.shapes[::-1].copy()), PLAIN)

    @pytest.mark.parametrize("frame", [0, 4, 9])
    def test_what_must_stay_stays(self, frame: int) -> None:
        clip, placer = self._placer()
        image = clip.frames[frame]
        everything = placer(
            frame, image, lambda roi: np.ones((roi[3] - roi[1], roi[2] - roi[0]), np.float32)
        ).image
        np.testing.assert_array_equal(everything, image)
        made = placer(frame, image).image
        nothing = placer(
            frame, image, lambda roi: np.zeros((roi[3] - roi[1], roi[2] - roi[0]), np.float32)
        ).image
        np.testing.assert_array_equal(nothing, made)
        np.testing.assert_array_equal(placer(frame, image, lambda roi: None).image, made)
        assert (made != image).any()

    def test_one_side_stays_and_the_other_is_new(self) -> None:
        clip, placer = self._placer()
        image, middle = clip.frames[4], round(float(clip.landmarks[4, 51, 0]))

        def left(roi: tuple[int, int, int, int]) -> np.ndarray:
            columns = np.arange(roi[0], roi[2])
            return np.repeat((columns < middle)[None].astype(np.float32), roi[3] - roi[1], axis=0)

        made, whole = placer(4, image, left).image, placer(4, image).image
        np.testing.assert_array_equal(made[:, :middle], image[:, :middle])
        np.testing.assert_array_equal(made[:, middle:], whole[:, middle:])


class TestOddFaces:
    @staticmethod
    def _shown(clip: Talker, shapes: np.ndarray | None = None) -> np.ndarray:
        bank = clip.bank()
        wanted = bank.shapes[::-1].copy() if shapes is None else shapes
        return _drawn(clip, _planned(clip, bank, wanted), bank)

    @pytest.mark.parametrize("cut", [(0, 0, 70, 128), (58, 0, 128, 128), (0, 0, 128, 88), (0, 70, 128, 128)])
    def test_faces_cut_off_by_the_pictures_border_are_drawn(self, cut: tuple[int, int, int, int]) -> None:
        clip = talker(count=10)
        x0, y0, x1, y1 = cut
        frames = np.ascontiguousarray(clip.frames[:, y0:y1, x0:x1])
        part = Talker(frames, clip.landmarks - np.array([x0, y0, 0], np.float32))
        made = self._shown(part)
        assert made.shape == frames.shape and (made != frames).any()
        assert psnr(made, frames) > 20

    def test_a_face_beside_the_picture_changes_nothing(self) -> None:
        clip = talker(count=10)
        bank = clip.bank()
        away = Talker(clip.frames, clip.landmarks + np.array([500, 0, 0], np.float32))
        np.testing.assert_array_equal(_drawn(away, _planned(away, bank, bank.shapes), bank), clip.frames)

    @pytest.mark.parametrize("factor", [0.25, 0.35, 0.5, 0.75])
    def test_small_faces_are_drawn(self, factor: float) -> None:
        clip = talker(count=10)
        frames = np.stack([cv2.resize(f, None, fx=factor, fy=factor) for f in clip.frames])
        small = Talker(np.asarray(frames, np.uint8), clip.landmarks * np.float32(factor))
        assert psnr(self._shown(small), small.frames) > 20

    def test_lips_that_are_exactly_closed_are_opened(self) -> None:
        clip = talker(count=10)
        points = clip.landmarks.copy()
        points[:, [65, 66, 67]] = points[:, [63, 62, 61]]
        shut = Talker(clip.frames, points)
        assert (mouth_opening(points) == 0).all()
        shapes = np.zeros((10, 7))
        shapes[:, :3] = 0.15 / LIP_SHAPE_UNIT
        made = self._shown(shut, shapes)
        assert np.isfinite(made).all() and (made != clip.frames).any()

    def test_a_tilted_head_is_as_good_as_an_upright_one(self) -> None:
        clip = talker(count=12)
        matrix = cv2.getRotationMatrix2D((64, 64), 35, 1.0)
        frames = np.stack([cv2.warpAffine(f, matrix, (128, 128), flags=cv2.INTER_CUBIC) for f in clip.frames])
        points = clip.landmarks.copy()
        points[..., :2] = points[..., :2] @ matrix[:, :2].T + matrix[:, 2]
        tilted = Talker(np.asarray(frames, np.uint8), points.astype(np.float32))
        scores = []
        for shown in (clip, tilted):
            bank = shown.bank()
            scores.append(
                _mouth_psnr(shown, _drawn(shown, _planned(shown, bank, bank.shapes, apart=3), bank))
            )
        assert scores[1] > scores[0] - 3

    def test_another_light_is_taken_on(self) -> None:
        """Frames that are darker than the moments get mouths as dark."""
        clip = talker(moving=False)
        bank = clip.bank()
        dark = Talker(np.clip(clip.frames.astype(int) - 25, 0, 255).astype(np.uint8), clip.landmarks)
        plan = MouthPlanner(bank).plan(bank.shapes, dark.heads.angles)
        made = _drawn(dark, plan, bank)
        spot = [_region(clip, i, 0.35) for i in range(len(clip))]
        off = [made[i][s].mean() - dark.frames[i][s].mean() for i, s in enumerate(spot)]
        assert np.abs(off).mean() < 6

    @staticmethod
    def _moving(steps: np.ndarray, sharpness: float) -> list[float]:
        """Detail of the mouths of six frames before which a still head moves by ``steps`` (6, 2) pixels."""
        clip = talker(moving=False)
        bank = clip.bank()
        places = np.cumsum(steps, axis=0)
        frames = np.stack([np.roll(clip.frames[0], (y, x), axis=(0, 1)) for x, y in places])
        points = clip.landmarks[:1] + np.pad(places, ((0, 0), (0, 1)))[:, None].astype(np.float32)
        renderer = build_renderer(
            ClipMouths(bank, _of_first(sharpness * float(np.median(bank.sharpness)))),
            points,
            np.arange(6) / 25,
            [range(6)],
            np.repeat(bank.shapes[:1], 30, axis=0),
            replace(PLAIN, calibrate=False, warp=False),
        )
        moved = Talker(frames, points)
        return [_detail(renderer.draw(i, frames[i]).image, _region(moved, i, 0.25)) for i in range(6)]

    def test_mouths_of_soft_frames_are_blurred_along_the_heads_movement(self) -> None:
        steps = np.array([[0, 0], [0, 0], [0, 6], [0, 6], [0, 0], [0, 0]])
        soft, sharp = self._moving(steps, 0.1), self._moving(steps, 1.0)
        assert max(soft[2:4]) < 0.7 * min(soft[0], soft[5])
        # A head that moves and is sharp all the same was filmed with a short exposure, or was drawn.
        assert min(sharp[2:4]) > 0.8 * max(sharp[0], sharp[5])

    def test_the_first_frame_of_a_run_is_not_blurred_by_the_way_from_the_run_before(self) -> None:
        """The head sits elsewhere when it comes back: that is no movement."""
        clip = talker(moving=False)
        bank = clip.bank()
        points = clip.landmarks.copy()
        points[12:] += np.array([14, -6, 0], np.float32)
        frames = clip.frames.copy()
        frames[12:] = np.roll(frames[12:], (-6, 14), axis=(1, 2))
        numbers = [*range(12), *range(40, 52)]
        landmarks = np.full((60, 68, 3), np.nan, np.float32)
        landmarks[numbers] = points
        renderer = build_renderer(
            ClipMouths(bank, _of_first(1.0)),
            landmarks,
            np.arange(60) / 25,
            [range(12), range(40, 52)],
            np.repeat(bank.shapes[:1], 150, axis=0),
            replace(PLAIN, calibrate=False, warp=False),
        )
        first, second = (renderer.draw(n, frames[numbers.index(n)]).image for n in (40, 41))
        spot = _region(Talker(frames, points), 12, 0.3)

        assert _detail(first, spot) > 0.8 * _detail(second, spot)


def _covering(clip: Talker, frames: range) -> Talker:
    """The clip with a blue cup from below before the mouth in some frames."""
    images = clip.frames.copy()
    for i in frames:
        points = clip.landmarks[i]
        unit = np.linalg.norm(points[45] - points[36])
        x, y = points[51, :2]
        left, right = round(float(x - 0.4 * unit)), round(float(x + 0.4 * unit))
        images[i, round(float(y - 0.15 * unit)) :, left:right] = (40, 70, 150)
    return Talker(images, clip.landmarks)


def _collected(clip: Talker, config: OwnMouthsConfig) -> ClipMouths:
    collector = MouthCollector(config)
    for index, (image, points) in enumerate(zip(clip.frames, clip.landmarks, strict=True)):
        collector.watch(index, image, FaceObservation(landmarks_box(points), points, 1.0), 0)
    mouths = collector.finish()
    assert mouths is not None
    return mouths


class TestOccluders:
    covered = range(20, 32)

    @pytest.fixture(scope="class")
    def clip(self) -> Talker:
        return _covering(talker(count=60), self.covered)

    @pytest.fixture(scope="class")
    def mouths(self, clip: Talker) -> ClipMouths:
        return _collected(clip, OwnMouthsConfig())

    def test_covered_mouths_are_not_lent(self, clip: Talker, mouths: ClipMouths) -> None:
        assert not set(mouths.bank.frames.tolist()) & set(self.covered)
        assert len(mouths.bank) >= 40, "the others are"
        assert mouths.occluders is not None
        without = _collected(clip, PLAIN)
        assert set(self.covered) <= set(without.bank.frames.tolist()) and without.occluders is None

    def _renderer(self, clip: Talker, mouths: ClipMouths) -> MouthRenderer:
        features = np.zeros((120, 8), np.float32)
        features[:, :3] = (3 + 2 * np.sin(0.31 * np.arange(120)))[:, None]
        return build_renderer(
            mouths, clip.landmarks, np.arange(60) / 25, [range(60)], features, OwnMouthsConfig()
        )

    def test_what_lies_before_the_mouth_stays_there(self, clip: Talker, mouths: ClipMouths) -> None:
        renderer = self._renderer(clip, mouths)
        made = np.stack([drawn.image for drawn in renderer.draw_all(enumerate(clip.frames), 2)])
        blue = (clip.frames.astype(int) == (40, 70, 150)).all(axis=-1)
        assert not blue[: self.covered.start].any()
        inner = np.stack([cv2.erode(b.astype(np.uint8), np.ones((9, 9))) for b in blue]).astype(bool)
        kept = [np.abs(made[i][inner[i]].astype(int) - (40, 70, 150)).mean() for i in self.covered]
        bare = self._renderer(clip, ClipMouths(mouths.bank, mouths.sharpness))
        lost = [
            np.abs(bare.draw(i, clip.frames[i]).image[inner[i]].astype(int) - (40, 70, 150)).mean()
            for i in self.covered
        ]
        assert np.mean(kept) < 0.2 * np.mean(lost)
        free = [i for i in range(60) if i < 12 or i > 40]
        assert (made[free] != clip.frames[free]).any(axis=(1, 2, 3)).mean() > 0.9

    def test_what_was_found_in_a_moment_is_not_sought_again(
        self, clip: Talker, mouths: ClipMouths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And where the face is held for another one, it is."""
        occluders = mouths.occluders
        assert occluders is not None
        fresh = replace(occluders, known={})
        asked = [fresh.disagreement(i, clip.frames[i], clip.landmarks[i]) for i in (3, 25)]
        moved = fresh.disagreement(25, clip.frames[25], clip.landmarks[25] + 2)
        monkeypatch.setattr("common.own_mouths.occluders.LowerFace.of", None)
        again = [occluders.disagreement(i, clip.frames[i], clip.landmarks[i]) for i in (3, 25)]
        np.testing.assert_array_equal(asked, again)
        monkeypatch.undo()
        np.testing.assert_array_equal(
            occluders.disagreement(25, clip.frames[25], clip.landmarks[25] + 2), moved
        )
        assert (moved != asked[1]).any()

    def test_nothing_before_the_face_costs_nothing(self) -> None:
        clip = talker(count=30)
        mouths = _collected(clip, OwnMouthsConfig())
        assert len(mouths.bank) == 30
        features = np.repeat(mouths.bank.shapes[:1], 60, axis=0)
        times = np.arange(30) / 25
        made = [
            np.stack(
                [
                    drawn.image
                    for drawn in build_renderer(
                        m, clip.landmarks, times, [range(30)], features, OwnMouthsConfig()
                    ).draw_all(enumerate(clip.frames), 1)
                ]
            )
            for m in (mouths, replace(mouths, occluders=None))
        ]
        np.testing.assert_array_equal(*made)


class TestRenderer:
    def _renderer(self, clip: Talker, runs: list[range]) -> MouthRenderer:
        mouths = _collected(clip, PLAIN)
        features = np.zeros((120, 8), np.float32)
        features[:, :3] = (3 + 2 * np.sin(0.31 * np.arange(120)))[:, None]
        return build_renderer(mouths, clip.landmarks, np.arange(len(clip)) / 25, runs, features, PLAIN)

    def test_one_thread_and_two_draw_the_same_frames_in_order(self) -> None:
        clip = talker()
        renderer = self._renderer(clip, [range(24)])
        one, two, five = (
            np.stack([drawn.image for drawn in renderer.draw_all(enumerate(clip.frames), workers)])
            for workers in (1, 2, 5)
        )
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, five)
        by_itself = np.stack([renderer.draw(i, image).image for i, image in enumerate(clip.frames)])
        np.testing.assert_array_equal(one, by_itself)
        assert (one != clip.frames).any()

    def test_one_of_its_own_threads_may_give_an_iteration_up(self) -> None:
        """As the collection of garbage does in whichever thread it begins."""
        clip = talker()
        renderer, begun = self._renderer(clip, [range(24)]), Event()
        held: list[Generator] = []
        ends: Future[None] = Future()

        def placer(number: int, image: np.ndarray, *_: object) -> DrawnFrame:
            if number == 2 and begun.wait(60):
                try:
                    ends.set_result(held.pop().close())
                except RuntimeError as error:
                    ends.set_exception(error)
            return DrawnFrame(image)

        held.append(replace(renderer, placer=placer).draw_all(enumerate(clip.frames), 2))  # type: ignore
        next(held[0])
        begun.set()
        assert ends.result(60) is None

    def test_frames_without_a_new_mouth_come_out_as_they_are(self) -> None:
        clip = talker()
        renderer = self._renderer(clip, [range(3, 9), range(15, 20)])
        assert renderer.frames.tolist() == [*range(3, 9), *range(15, 20)] and len(renderer.plan) == 11
        made = np.stack([drawn.image for drawn in renderer.draw_all(enumerate(clip.frames), 2)])
        assert len(made) == 24
        untouched = [i for i in range(24) if i not in renderer.frames]
        np.testing.assert_array_equal(made[untouched], clip.frames[untouched])
        assert (made[renderer.frames] != clip.frames[renderer.frames]).any(axis=(1, 2, 3)).all()

    def test_mouths_follow_the_speech_at_the_frames_own_times(self) -> None:
        clip = talker(moving=False)
        mouths = _collected(clip, PLAIN)
        features = np.zeros((200, 8), np.float32)
        features[:, :3] = np.where(np.arange(200) >= 100, 4.0, 0.5)[:, None]
        config = replace(PLAIN, calibrate=False)
        for rate in (25, 10):
            times = 1.5 + np.arange(24) / rate
            plan = build_renderer(mouths, clip.landmarks, times, [range(24)], features, config).plan
            # The middle of the 40 ms that a frame begins lies beyond two seconds.
            np.testing.assert_allclose(plan.wanted[times + 0.02 > 2.02, 1], 4.0)
            np.testing.assert_allclose(plan.wanted[times + 0.02 < 1.98, 1], 0.5)

    def test_calibration_brings_speech_into_the_range_of_the_mouth(self) -> None:
        clip = talker()
        mouths = _collected(clip, PLAIN)
        own = mouths.bank.shapes[:, 1]
        features = np.zeros((60, 8), np.float32)
        features[:, :3] = (1.5 * own.max() * np.sin(0.2 * np.arange(60)) ** 2)[:, None]
        wanted = [
            build_renderer(
                mouths, clip.landmarks, np.arange(24) / 25, [range(24)], features, replace(PLAIN, calibrate=c)
            ).plan.wanted[:, 1]
            for c in (True, False)
        ]
        assert wanted[0].max() < 0.9 * wanted[1].max()
