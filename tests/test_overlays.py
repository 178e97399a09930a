"""Subtitles and logos over a face: found, kept where they are, and no part of a mouth."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_mouth_clips import Talker, drawn_talker

from common.face.overlays import Cover, Overlays, OverlayWatch
from common.face.overlays.grid import Cells
from common.face.pose import fit_pose
from common.face.types import FaceObservation
from common.own_mouths.clip import ClipMouths, MouthCollector
from common.own_mouths.config import OwnMouthsConfig
from common.own_mouths.renderer import build_renderer

COUNT, SIZE, SCALE = 64, 260, 110


@cache
def _face(sway: float = 8.0) -> Talker:
    gaps = 0.05 + 0.1 * np.sin(0.35 * np.arange(COUNT)) ** 2
    return drawn_talker(gaps, size=SIZE, scale=SCALE, sway=sway)


def _text(image: np.ndarray, text: str, at: tuple[int, int], box: bool = False) -> np.ndarray:
    """With white letters in black outlines about a place, or in a dark box."""
    result = image.copy()
    font, scale = cv2.FONT_HERSHEY_DUPLEX, 0.8
    (width, height), _ = cv2.getTextSize(text, font, scale, 2)
    x, y = at[0] - width // 2, at[1] + height // 2
    if box:
        area = (slice(y - height - 9, y + 10), slice(max(0, x - 12), x + width + 12))
        result[area] = (0.35 * result[area]).astype(np.uint8)
    else:
        cv2.putText(result, text, (x, y), font, scale, (0, 0, 0), 6, cv2.LINE_AA)
    cv2.putText(result, text, (x, y), font, scale, (255, 255, 255), 2, cv2.LINE_AA)
    return result


def _chin(clip: Talker) -> tuple[int, int]:
    x, y = np.median(clip.landmarks[:, 8, :2], axis=0)
    return int(x), int(y - 0.12 * SCALE)


def _subtitled(clip: Talker, parts: dict[range, str], up: int = 0, box: bool = False) -> Talker:
    x, y = _chin(clip)
    frames = clip.frames.copy()
    for part, text in parts.items():
        for i in part:
            frames[i] = _text(frames[i], text, (x, y - up), box)
    return Talker(frames, clip.landmarks)


def _drawn(with_text: Talker, clip: Talker) -> np.ndarray:
    """(N, H, W) where letters and boxes are."""
    return np.abs(with_text.frames.astype(int) - clip.frames).max(axis=-1) > 24


def _found(clip: Talker) -> Overlays | None:
    watch = OverlayWatch()
    for i, (image, points) in enumerate(zip(clip.frames, clip.landmarks, strict=True)):
        watch.look(i, image, points, float(fit_pose(points[None].astype(float)).scale[0]), 0)
    return watch.finish()


def _collected(clip: Talker, config: OwnMouthsConfig | None = None) -> ClipMouths:
    collector = MouthCollector(config or OwnMouthsConfig(occluders=False))
    for i, (image, points) in enumerate(zip(clip.frames, clip.landmarks, strict=True)):
        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        seen = FaceObservation(np.concatenate([low, high]).astype(np.float32), points, 1.0)
        collector.watch(i, image, seen, 0)
    mouths = collector.finish()
    assert mouths is not None
    return mouths


def _dubbed(clip: Talker, mouths: ClipMouths) -> np.ndarray:
    features = np.zeros((2 * COUNT, 8), np.float32)
    features[:, :3] = (2 + 2 * np.sin(0.4 * np.arange(2 * COUNT)))[:, None]
    times, runs = np.arange(COUNT) / 25, [range(COUNT)]
    renderer = build_renderer(mouths, clip.landmarks, times, runs, features, OwnMouthsConfig())
    return np.stack([drawn.image for drawn in renderer.draw_all(enumerate(clip.frames), 2)])


LINES = {range(0, 30): "an old tale", range(34, COUNT): "of two seas"}


class TestDubs:
    @pytest.mark.parametrize("box", [False, True])
    def test_letters_stay_as_they_were(self, box: bool) -> None:
        clip = _subtitled(_face(), LINES, box=box)
        letters = _drawn(clip, _face())
        made = _dubbed(clip, _collected(clip))
        assert (made[letters] == clip.frames[letters]).mean() > 0.999
        bare = _dubbed(clip, _collected(clip, OwnMouthsConfig(occluders=False, overlays=False)))
        assert np.abs(bare[letters].astype(int) - clip.frames[letters]).mean() > 3

    def test_mouths_are_dubbed_above_them(self) -> None:
        clip = _subtitled(_face(), LINES)
        made, plain = _dubbed(clip, _collected(clip)), _dubbed(_face(), _collected(_face()))
        lips = np.zeros(made.shape[:3], bool)
        for i, points in enumerate(clip.landmarks):
            hull = np.zeros((SIZE, SIZE), np.uint8)
            cv2.fillConvexPoly(hull, cv2.convexHull(np.rint(points[48:68, :2]).astype(np.int32)), (1,))
            lips[i] = hull > 0
        lips &= ~_drawn(clip, _face())
        assert np.abs(made[lips].astype(int) - clip.frames[lips]).mean() > 5
        assert np.abs(made[lips].astype(int) - plain[lips]).mean() < 4

    def test_no_letters_come_along_with_a_mouth(self) -> None:
        """Frames without text are like those of film that never had any."""
        clip = _subtitled(_face(), {range(0, 44): "an old tale"})
        made, plain = _dubbed(clip, _collected(clip)), _dubbed(_face(), _collected(_face()))
        assert np.abs(made[48:].astype(int) - plain[48:]).max(axis=-1).mean() < 0.5

    def test_film_without_any_is_drawn_as_before(self) -> None:
        mouths = _collected(_face())
        assert mouths.overlays is None
        bare = _collected(_face(), OwnMouthsConfig(occluders=False, overlays=False))
        np.testing.assert_array_equal(_dubbed(_face(), mouths), _dubbed(_face(), bare))


class TestMoments:
    def test_those_whose_lips_are_covered_are_left_out(self) -> None:
        clip = _subtitled(_face(), {range(0, 30): "an old tale"}, up=36)
        mouths = _collected(clip)
        assert mouths.bank.frames.min() >= 30

    def test_they_are_filled_in_where_there_are_no_others(self) -> None:
        clip = _subtitled(_face(), {range(0, COUNT): "an old tale"}, up=36)
        mouths = _collected(clip)
        assert len(mouths.bank) == COUNT
        letters = _drawn(clip, _face())
        for frame, patch in zip(mouths.bank.frames.tolist(), mouths.bank.patches, strict=True):
            x, y = patch.origin
            height, width = patch.picture.shape[:2]
            here = letters[frame, y : y + height, x : x + width]
            assert patch.picture[here].max(axis=-1).mean() < 230 < clip.frames[frame][letters[frame]].max()


class TestFinding:
    def test_each_line_is_found_while_it_is_there(self) -> None:
        clip = _subtitled(_face(), LINES)
        letters, overlays = _drawn(clip, _face()), _found(clip)
        assert overlays is not None
        for i in (2, 15, 28, 36, 50, 62):
            cover = overlays.cover(i, clip.frames[i])
            assert cover is not None
            mask = _whole(cover)
            assert mask[letters[i]].mean() > 0.99 and mask.sum() < 4 * letters[i].sum()
        assert overlays.cover(32, clip.frames[32]) is None

    def test_words_that_last_a_third_of_a_second_are_found(self) -> None:
        words = ["ONE", "TALE", "OF", "TWO", "SEAS", "AND", "MEN"]
        clip = _subtitled(_face(), {range(9 * n, 9 * n + 9): word for n, word in enumerate(words)})
        letters, overlays = _drawn(clip, _face()), _found(clip)
        assert overlays is not None
        shares = []
        for i in range(9 * len(words)):
            cover = overlays.cover(i, clip.frames[i])
            shares.append(0.0 if cover is None else _whole(cover)[letters[i]].mean())
        assert np.mean(shares) > 0.9

    def test_a_part_of_a_frame_is_covered_alike(self) -> None:
        clip = _subtitled(_face(), LINES)
        overlays = _found(clip)
        assert overlays is not None
        whole = overlays.cover(12, clip.frames[12])
        part = overlays.cover(12, clip.frames[12][60:, 13:], (13, 60))
        assert whole is not None and part is not None
        here = _whole(whole)[60:, 13:] != _whole(part)[60:, 13:]
        assert here[3:-3, 3:-3].mean() < 0.01

    def test_a_face_that_stands_still_shows_none(self) -> None:
        clip = _face(sway=0.0)
        still = Talker(
            np.repeat(clip.frames[:1], COUNT, axis=0), np.repeat(clip.landmarks[:1], COUNT, axis=0)
        )
        assert _found(_subtitled(still, LINES)) is None

    def test_landmarks_that_move_over_a_still_face_find_none(self) -> None:
        clip = _face()
        image = clip.frames[0].copy()
        for x, y in ((0.35, 0.45), (0.65, 0.45), (0.5, 0.4), (0.4, 0.8), (0.6, 0.8)):
            cv2.circle(image, (int(x * SIZE), int(y * SIZE)), 4, (40, 20, 20), -1, cv2.LINE_AA)
        assert _found(Talker(np.repeat(image[None], COUNT, axis=0), clip.landmarks)) is None

    def test_film_without_any_shows_none(self) -> None:
        assert _found(_face()) is None


@given(
    step=st.integers(1, 4),
    origin=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
@settings(max_examples=40, deadline=None)
def test_cells_of_a_part_are_those_of_the_whole(
    step: int, origin: tuple[int, int], size: tuple[int, int]
) -> None:
    picture = np.random.default_rng(4).integers(0, 255, (90, 80, 3), np.uint8)
    x, y = origin
    cut = picture[y : y + size[1], x : x + size[0]]
    whole, part = Cells.of(picture, step), Cells.of(cut, step, origin)
    if part.part.empty:
        assert min(cut.shape[:2]) < 2 * step - 1
        return
    np.testing.assert_array_equal(whole.luma[part.part.within(whole.part.corner)], part.luma)


@given(
    origin=st.tuples(st.integers(-30, 90), st.integers(-30, 90)),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
@settings(max_examples=40, deadline=None)
def test_what_is_laid_back_is_the_source_wherever_the_cover_lies(
    origin: tuple[int, int], size: tuple[int, int]
) -> None:
    source = np.random.default_rng(5).integers(0, 255, (70, 80, 3), np.uint8)
    cover = Cover(origin, np.full(size[::-1], 255, np.uint8))
    mask = _whole(cover, (70, 80))
    made = cover.laid_back(np.zeros_like(source), source)
    np.testing.assert_array_equal(made[mask], source[mask])
    far = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
    assert not made[far].any()
    filled = cover.filled_in(source)
    np.testing.assert_array_equal(filled[~mask], source[~mask])


def test_a_cover_of_two_covers_what_either_does() -> None:
    one, two = (Cover(at, np.full((5, 7), 255, np.uint8)) for at in ((3, 4), (20, 1)))
    np.testing.assert_array_equal(_whole(one | two), _whole(one) | _whole(two))


def test_large_covers_are_filled_in_with_what_is_about_them() -> None:
    source = np.full((260, 300, 3), (180, 140, 120), np.uint8)
    source[40:240, 30:270] = 0
    cover = Cover((28, 38), np.full((204, 244), 255, np.uint8))
    assert np.abs(cover.filled_in(source).astype(int) - (180, 140, 120)).max() <= 1


def _whole(cover: Cover, shape: tuple[int, int] = (SIZE, SIZE)) -> np.ndarray:
    """(H, W) bool of a frame."""
    padded = np.zeros((shape[0] + 400, shape[1] + 400), bool)
    x, y = (at + 200 for at in cover.origin)
    height, width = cover.mask.shape
    padded[y : y + height, x : x + width] = cover.mask > 0
    return padded[200 : 200 + shape[0], 200 : 200 + shape[1]]
