"""Toy clips whose dub is perfect: a drawn head that sways, with a mouth that follows a known curve."""

from __future__ import annotations

import cv2
import numpy as np

from common.face import face_mask, lip_mask, mouth_opening
from common.face.canonical import face_in_box
from evaluation.dubbed_clip import DubbedClip, FaceRegions, Footage

SIZE = 64


def mouth_curve(count: int, seed: int) -> np.ndarray:
    """(count,) openings between 0.02 and 0.3, smooth, of their own for each seed."""
    rng = np.random.default_rng(seed)
    rough = np.convolve(rng.normal(size=count + 8), np.ones(5) / 5, "valid")[:count]
    return 0.02 + 0.28 * (rough - rough.min()) / np.ptp(rough)


def head(count: int, curve: np.ndarray) -> np.ndarray:
    """(count, 68, 3) landmarks of a head that sways by a few pixels and opens its mouth along the curve."""
    points = np.empty((count, 68, 3), np.float32)
    for i, opening in enumerate(curve):
        dx, dy = 3 * np.sin(i / 6), 1.5 * np.cos(i / 9)
        points[i] = face_in_box(np.array([12 + dx, 12 + dy, 52 + dx, 54 + dy], np.float32))
        corners = np.linalg.norm(points[i, 45, :2] - points[i, 36, :2])
        upper, lower = [61, 62, 63], [67, 66, 65]
        middle = (points[i, upper, 1] + points[i, lower, 1]) / 2
        points[i, lower, 0] = points[i, upper, 0]
        points[i, upper, 1], points[i, lower, 1] = (
            middle - corners * opening / 2,
            middle + corners * opening / 2,
        )
        points[i, [49, 50, 51, 52, 53], 1] -= corners * opening / 2
        points[i, [55, 56, 57, 58, 59], 1] += corners * opening / 2
    return points


def draw(points: np.ndarray) -> np.ndarray:
    """(count, SIZE, SIZE, 3) pictures: a textured head on a still background, the mouth dark where open."""
    rng = np.random.default_rng(1)
    texture = cv2.GaussianBlur(rng.uniform(70, 190, (2 * SIZE, 2 * SIZE, 3)), (0, 0), 1.0)
    frames = np.empty((len(points), SIZE, SIZE, 3), np.uint8)
    for i, face in enumerate(points):
        image = np.full((SIZE, SIZE, 3), 90.0) + np.linspace(0, 40, SIZE)[:, None, None]
        x, y = face[27, :2]
        skin = cv2.warpAffine(texture, np.array([[1, 0, x - SIZE], [0, 1, y - SIZE]]), (SIZE, SIZE))
        mask = np.zeros((SIZE, SIZE), np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(face[:, :2].astype(np.int32)), 1)
        image[mask > 0] = skin[mask > 0]
        for ring, colour in ((face[48:60], (170, 60, 60)), (face[60:68], (30, 10, 10))):
            corners = np.round(ring[:, :2] * 16).astype(np.int32)
            cv2.fillPoly(image, [corners], colour, lineType=cv2.LINE_AA, shift=4)
        frames[i] = np.clip(image, 0, 255)
    return frames


def speech_of(curve: np.ndarray) -> np.ndarray:
    """(640 per frame,) noise that is as loud as the mouth is open."""
    noise = np.random.default_rng(3).normal(size=640 * len(curve))
    return (0.3 * np.repeat(curve, 640) * noise).astype(np.float32)


def perfect_dub(seed: int = 0, count: int = 50, occluder: bool = False) -> DubbedClip:
    """A cross row that is dubbed perfectly; seed: of source and of what is said."""
    source_points, points = (head(count, mouth_curve(count, s)) for s in (1000 + seed, seed))
    lips = lip_mask(source_points, SIZE) | lip_mask(points, SIZE)
    faces = face_mask(source_points, SIZE)
    cover = np.zeros_like(lips)
    cover[:, 40:48, 30:] = True
    speech = speech_of(mouth_opening(points))

    def footage(shape: np.ndarray, sound: np.ndarray | None = None) -> Footage:
        native = {
            "sharpness": np.full(count, 100.0),
            "sharpness_face": np.full(count, 50.0),
            "luma": np.full(count, 0.5),
        }
        return Footage(draw(shape), shape, mouth_opening(shape), native, sound)

    return DubbedClip(
        name=f"toy{seed}",
        kind="cross",
        source=footage(source_points),
        made=footage(points, speech),
        regions=FaceRegions(lips, faces & ~lips, ~faces & ~lips, cover if occluder else None),
        speech=speech,
        truth=footage(points, speech),
        driver_opening=mouth_opening(points),
    )
