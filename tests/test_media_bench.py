"""tools/bench/media_bench.py: the two ways do the same, and what skipped landmarks cost is measured right."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from dub_clips import picture, steady, write_clip

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools" / "bench"))

import media_bench
import peers_media

from common.face import FaceTrack, plan_crops
from common.face.canonical import face_points


def track(places: np.ndarray) -> FaceTrack:
    """A small head, in frame i at ``places[i]``."""
    points = face_points() * 20
    landmarks = np.repeat(points[None], len(places), axis=0)
    landmarks[..., :2] += places[:, None]
    boxes = np.concatenate([landmarks[..., :2].min(axis=1), landmarks[..., :2].max(axis=1)], axis=1)
    count = len(places)
    return FaceTrack(
        np.arange(count), landmarks.astype(np.float32), boxes.astype(np.float32), np.ones(count, bool)
    )


def test_both_ways_cut_and_put_back_the_same() -> None:
    image = np.asarray(cv2.GaussianBlur(picture(0), (0, 0), 3))
    crops = plan_crops(track(np.full((3, 2), (80.0, 60.0))))
    size = round(crops.sizes[0])
    there = crops.matrix(0, size)
    back = np.linalg.inv(np.vstack([there, [0, 0, 1]]))[:2]
    ours, peers = crops.extract(image, 0, size), peers_media.warp(image, back, (size, size))
    inner = slice(3, -3)
    assert np.abs(ours[inner, inner] - peers[inner, inner]).mean() < 2
    alpha = np.zeros((size, size), np.float32)
    alpha[inner, inner] = 1
    done = peers_media.put_back(image, peers, alpha, there)
    assert np.abs(done.astype(int) - image).mean() < 2


def test_frames_become_pictures(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", steady(5, 25))
    files = peers_media.frames_to_png(clip, tmp_path, 3)
    pictures = list(peers_media.read_pngs(files))
    off = [np.abs(pictures[2].astype(int) - picture(index)).mean() for index in range(5)]
    assert len(pictures) == 3 and np.argmin(off) == 2


@pytest.mark.parametrize("every", media_bench.SKIPS)
def test_straight_lines_cost_nothing_where_the_head_moves_straight(every: int) -> None:
    steps = np.arange(31)[:, None] * np.array([1.5, 0.5])
    assert all(value < 1e-2 for value in media_bench._unsteadiness(track(steps + 60), every).values())


def test_straight_lines_cost_what_the_head_moves_between() -> None:
    """To and fro by 4 px from frame to frame: every second frame shows one side alone."""
    places = np.tile([[60.0, 60.0], [64.0, 60.0]], (16, 1))[:31]
    head = track(places)
    width = float(np.median(np.ptp(head.landmarks[:, :, 0], axis=1)))
    found = media_bench._unsteadiness(head, 2)
    assert found["all"] == pytest.approx(4 / width * 100 * np.sqrt(15 / 31), rel=1e-3)


@pytest.mark.parametrize("size", [(512, 512), (1280, 720), (1920, 1080), (720, 1280), (1921, 801)], ids=str)
def test_pictures_of_any_shape_keep_their_proportions(size: tuple[int, int]) -> None:
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    side = height // 4
    image[height // 2 - side : height // 2 + side, width // 2 - side : width // 2 + side] = 255
    shown = media_bench.fitted(image)
    assert shown.shape == (1080, 1920, 3) and shown.dtype == np.uint8
    scale = min(1920 / width, 1080 / height)
    sides = round((1920 - scale * width) / 2), round((1080 - scale * height) / 2)
    whole = shown[sides[1] : 1080 - sides[1], sides[0] : 1920 - sides[0], 0]
    rows, columns = (np.flatnonzero(whole.max(axis=axis) > 200) for axis in (1, 0))
    assert len(rows) == pytest.approx(len(columns), rel=0.02), "a square stays one"
    assert len(rows) == pytest.approx(2 * side * scale, rel=0.02)
