"""Hands, microphones and cups before the mouth: found in the first pass, kept in the second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from common.face.hands import HandFinder
from common.face.occlusion.calm import calm, calm_hands
from common.face.occlusion.detector import UsualLowerFace
from common.face.occlusion.masks import beside_hands, covered, keep_mask
from common.face.occlusion.picture import HEIGHT, WIDTH, LowerFace
from common.face.pose import HeadPose
from common.face.types import FaceObservation, FloatArray, ImageArray

Roi = tuple[int, int, int, int]

REACH = 6
"""Frames before and after one that decide whether something is a thing or a mistake."""

# A moment is left out where more of its mouth than this is covered.
_COVERED = 0.15


@dataclass(frozen=True)
class Occluders:
    """What lies before the face of a clip.

    Attributes:
        usual: what its lower face usually looks like.
        hands: frame -> hands, (21, 2) points in pixels each; frames without one are not in it.
        known: frame -> its landmarks and its disagreement, where it was asked for already.
    """

    usual: UsualLowerFace
    hands: dict[int, list[FloatArray]]
    known: dict[int, tuple[NDArray[np.floating], FloatArray]] = field(default_factory=dict)

    @property
    def none(self) -> bool:
        """Whether nothing can be found anywhere."""
        return not self.usual.trusted and not self.hands

    def disagreement(self, frame: int, image: ImageArray, landmarks: NDArray[np.floating]) -> FloatArray:
        """Of :class:`common.face.occlusion.detector.UsualLowerFace`, all 0 where there is no face."""
        known = self.known.get(frame)
        if known is not None and np.array_equal(known[0], landmarks):
            return known[1]
        if not np.isfinite(landmarks).all():
            return np.zeros((HEIGHT, WIDTH), np.float32)
        return self._disagreement(frame, LowerFace.of(image, landmarks))

    def remember(
        self, frames: NDArray[np.int64], faces: Sequence[LowerFace], landmarks: NDArray[np.floating]
    ) -> list[FloatArray]:
        """The disagreements of M frames, which need not be found again.

        Args:
            frames: (M,) of the clip.
            faces: their lower faces.
            landmarks: (M, 68, 2 or 3).
        """
        found = [self._disagreement(int(frame), face) for frame, face in zip(frames, faces, strict=True)]
        self.known.update(zip(frames.tolist(), zip(landmarks, found, strict=True), strict=True))
        return found

    def _disagreement(self, frame: int, face: LowerFace) -> FloatArray:
        return beside_hands(self.usual.disagreement(face), self.hands.get(frame, []), face.view)

    def keep(
        self, frame: int, maps: Sequence[FloatArray], place: int, landmarks: NDArray[np.floating], roi: Roi
    ) -> FloatArray | None:
        """Where the source's pixels stay in ``frame``, (h, w) 0..1 over ``roi``; None: nowhere.

        Args:
            frame: of the clip.
            maps: disagreements of consecutive frames about it.
            place: which of ``maps`` is the frame's own.
            landmarks: (68, 2 or 3) of the frame.
            roi: pixels.
        """
        hands = self.hands.get(frame, [])
        if not hands and not any((m > 0).any() for m in maps):
            return None
        mask = keep_mask(calm(np.stack(maps))[place], hands, landmarks, roi)
        return mask if mask.any() else None


class OccluderWatch:
    """Looks for things before the face while it is followed."""

    def __init__(self) -> None:
        self._finder = HandFinder()
        self._usual = UsualLowerFace()
        self._hands: dict[int, list[FloatArray]] = {}
        self._last = -1

    def look(self, index: int, image: ImageArray, seen: FaceObservation, pose: HeadPose) -> LowerFace:
        """One frame; its lower face is returned, to be asked about once all frames were seen."""
        if index != self._last + 1:
            self._finder.reset()
        self._last = index
        hands = self._finder.find(image, seen.box)
        face = LowerFace.of(image, seen.landmarks, pose)
        if hands:
            self._hands[index] = hands
        else:
            self._usual.add(face)
        return face

    def finish(self) -> Occluders:
        """What was found."""
        self._usual.freeze()
        if not self._hands:
            return Occluders(self._usual, {})
        frames = range(min(self._hands) - REACH, max(self._hands) + REACH + 1)
        calmed = calm_hands([self._hands.get(frame, []) for frame in frames])
        return Occluders(self._usual, {f: h for f, h in zip(frames, calmed, strict=True) if h})


def free_moments(
    occluders: Occluders,
    frames: NDArray[np.int64],
    faces: Sequence[LowerFace],
    landmarks: NDArray[np.floating],
) -> NDArray[np.bool_]:
    """(M,) whether nothing covers the mouth of each moment.

    Args:
        occluders: of the clip.
        frames: (M,) of the moments; what is found in them is remembered.
        faces: their lower faces.
        landmarks: (M, 68, 2 or 3).
    """
    found = occluders.remember(frames, faces, landmarks)
    hands = [occluders.hands.get(int(frame), []) for frame in frames]
    shares = [covered(d, h, p) for d, h, p in zip(found, hands, landmarks, strict=True)]
    return np.array(shares) <= _COVERED
