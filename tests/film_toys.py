"""A small talking head that is drawn, not filmed: what every frame holds is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face import face_mask, lip_mask, mouth_opening
from common.face.canonical import face_points, opened_face_points
from evaluation.dubbed_clip import DubbedClip, FaceRegions, Footage
from evaluation.native import Square, as_curves, measure_frame

COUNT, SIZE, MARGIN = 36, 128, 32
"""Frames; side of the crops; what the frame has around the crop."""

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Film:
    """frames (N, S + 2 margin, S + 2 margin, 3) uint8, landmarks (N, 68, 3) in frame pixels."""

    frames: Frames
    landmarks: NDArray[np.float32]

    def edit(self, change: Callable[[NDArray[np.float64], int], NDArray]) -> Film:
        """The film with every frame i replaced by ``change(float frame, i)``, rounded and clipped."""
        new = [np.clip(np.rint(change(f.astype(float), i)), 0, 255) for i, f in enumerate(self.frames)]
        return replace(self, frames=np.stack(new).astype(np.uint8))

    def shifted(self, by: int) -> Film:
        """Later by so many frames; the first frame is held."""
        order = np.maximum(np.arange(len(self.frames)) - by, 0)
        return Film(self.frames[order], self.landmarks[order])


def talk(count: int = COUNT, phase: float = 0.0) -> NDArray[np.float64]:
    """Openings 0..1, as of speech; another phase is other speech."""
    time = np.arange(count)
    return 0.25 + 0.2 * np.sin(0.9 * time + phase) + 0.15 * np.sin(0.37 * time + 2.2 * phase)


def film(openings: NDArray[np.float64], seed: int = 0, grain: float = 1.0) -> Film:
    """A head that sways by a pixel or two and opens its mouth as told; same seed: same person, same grain."""
    side = SIZE + 2 * MARGIN
    rng = np.random.default_rng(seed)
    skin, wall = (
        cv2.GaussianBlur(rng.normal(0, 1, (side, side, 1)).astype(np.float32), (0, 0), s)[..., None] * a
        for s, a in ((1.5, 16.0), (3.0, 90.0))
    )
    closed, opened = face_points(), opened_face_points()
    frames, landmarks = [], []
    for index, opening in enumerate(openings):
        middle = side / 2 + np.array([2.0 * np.sin(0.15 * index), 1.0 * np.cos(0.1 * index)])
        points = ((1 - opening) * closed + opening * opened) * 0.36 * SIZE
        points[:, :2] += middle - [0, 0.05 * SIZE]
        image = np.array([90, 110, 130], np.float32) + wall
        head = np.zeros((side, side), np.float32)
        axes = (int(0.3 * SIZE), int(0.42 * SIZE))
        cv2.ellipse(head, tuple(int(x) for x in middle), axes, 0, 0, 360, 1, -1)
        move = np.float32([[1, 0, middle[0] - side / 2], [0, 1, middle[1] - side / 2]])
        moved = cv2.warpAffine(skin, move, (side, side), borderMode=cv2.BORDER_REFLECT)[..., None]
        alpha = cv2.GaussianBlur(head, (0, 0), 1.0)[..., None]
        image += alpha * (np.array([190, 150, 130], np.float32) + moved - image)
        for part, colour in ((range(48, 60), (150, 70, 70)), (range(60, 68), (50, 20, 25))):
            shape = np.rint(points[list(part), :2] * 16).astype(np.int32)
            cv2.fillPoly(image, [shape], colour, lineType=cv2.LINE_AA, shift=4)
        image += rng.normal(0, grain, image.shape)
        frames.append(np.clip(np.rint(image), 0, 255).astype(np.uint8))
        landmarks.append(points.astype(np.float32))
    return Film(np.stack(frames), np.stack(landmarks))


def paste_mouth(onto: Film, mouths: Film, soft: float = 2.0) -> Film:
    """What a good dub would be: the mouths of another film of the same head, blended in softly."""
    frames = []
    for index, frame in enumerate(onto.frames):
        lips = np.concatenate([x.landmarks[index, 48:60, :2] for x in (onto, mouths)])
        alpha = np.zeros(frame.shape[:2], np.float32)
        cv2.fillConvexPoly(alpha, cv2.convexHull(np.rint(lips).astype(np.int32)), 1)
        alpha = cv2.GaussianBlur(cv2.dilate(alpha, np.ones((7, 7))), (0, 0), soft)[..., None]
        frames.append(np.rint(frame + alpha * (mouths.frames[index].astype(float) - frame)))
    landmarks = onto.landmarks.copy()
    landmarks[:, 48:] = mouths.landmarks[:, 48:]
    return Film(np.stack(frames).astype(np.uint8), landmarks)


def footage(version: Film, source: Film | None = None) -> Footage:
    """Crops and native numbers; ``source`` is None for the source itself."""
    inside = slice(MARGIN, MARGIN + SIZE)
    square = Square(MARGIN, MARGIN, SIZE)
    points = (source or version).landmarks
    references = source.frames if source is not None else [None] * len(version.frames)
    native = [
        measure_frame(image, square, at, reference)
        for image, at, reference in zip(version.frames, points, references, strict=True)
    ]
    landmarks = version.landmarks - np.array([MARGIN, MARGIN, 0], np.float32)
    crops = np.ascontiguousarray(version.frames[:, inside, inside])
    return Footage(crops, landmarks, mouth_opening(landmarks), as_curves(native))


def dubbed_clip(
    source: Film, made: Film, truth: Film | None = None, first_dub: Film | None = None, **more
) -> DubbedClip:
    """A DubbedClip of drawn films; ``more`` are its other fields. ``occluder``: (N, S, S) mask."""
    known = [footage(source), footage(made, source)]
    right, first = (None if x is None else footage(x, source) for x in (truth, first_dub))
    mouth = lip_mask(known[0].landmarks, SIZE)
    if right is not None:
        mouth |= lip_mask(right.landmarks, SIZE)
    mouth = np.stack([cv2.dilate(x.astype(np.uint8), np.ones((7, 7))).astype(bool) for x in mouth])
    face = face_mask(known[0].landmarks, SIZE) & ~mouth
    regions = FaceRegions(mouth, face, ~face & ~mouth, more.pop("occluder", None))
    more.setdefault("kind", "cross")
    return DubbedClip(
        name="toy", source=known[0], made=known[1], regions=regions, speech=np.zeros(16000, np.float32),
        truth=right, first_dub=first, **more,
    )  # fmt: skip
