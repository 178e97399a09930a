"""Shots of a film: hard cuts are found while its pictures pass by, by PySceneDetect and in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from common.deferred_packages import defer

Image = NDArray[np.uint8]

# Pictures are compared at this width. Brightness alone: the hue of dark pictures jumps at every key frame.
_WIDTH = 64
# A cut changes the brightness by this many levels on average, and by so many times what the two pictures
# before and the two after it change. Of 150 joins of two clips of talking heads 148 do; within 89 such clips
# two changes do, both of the whole picture (docs/LOG.md).
_LEAST_CHANGE, _TIMES, _AROUND = 8.0, 4.0, 2
# A picture that differs by less repeats the one before (drawings that stay for two or three pictures): it
# tells nothing about how much the film moves.
_REPEATED = 0.1
# At most so many pictures wait for what comes after them.
_MOST_WAITING = 8


def with_cuts(images: Iterable[Image]) -> Iterator[tuple[Image, bool]]:
    """Pictures of one clip, in order, each with whether a hard cut lies before it.

    A cut is told by what comes after it, too: each picture is passed on when two others, or at most eight,
    have been read. Fades and dissolves are not found.

    Args:
        images: (H, W, 3) uint8 RGB, all of one size.
    """
    waiting: deque[Image] = deque()
    finder = _CutFinder()
    first = 0  # number of the picture that has waited longest
    for index, image in enumerate(images):
        waiting.append(image)
        decided = finder.look(index, image, may_skip=len(waiting) < _MOST_WAITING)
        while first < decided:
            yield waiting.popleft(), finder.is_cut(first)
            first += 1
    finder.finish()
    while waiting:
        yield waiting.popleft(), finder.is_cut(first)
        first += 1


def find_cuts(images: Iterable[Image]) -> list[int]:
    """Numbers of the pictures that a hard cut lies before."""
    return [index for index, (_, cut) in enumerate(with_cuts(images)) if cut]


class _CutFinder:
    """PySceneDetect's adaptive detector, shown thumbnails; repeated pictures are left out."""

    def __init__(self) -> None:
        # Its import takes longer than the first frames of a short clip, the most of it for reading videos;
        # not every caller gets this far.
        defer("scenedetect")
        from scenedetect.common import FrameTimecode
        from scenedetect.detectors import AdaptiveDetector

        self._stamp = FrameTimecode
        self._detector = AdaptiveDetector(
            adaptive_threshold=_TIMES,
            min_scene_len=1,
            window_width=_AROUND,
            min_content_val=_LEAST_CHANGE,
            luma_only=True,
        )
        self._last: Image | None = None
        self._shown: deque[int] = deque(maxlen=_AROUND + 1)  # numbers of the pictures shown last
        self._calls = 0
        self._cuts: set[int] = set()

    def look(self, index: int, image: Image, may_skip: bool) -> int:
        """The next picture; those with smaller numbers than the one returned are decided."""
        height = max(1, round(_WIDTH * image.shape[0] / image.shape[1]))
        # Every fourth or so pixel of a large picture says enough, in a fraction of the time.
        step = max(1, image.shape[1] // (4 * _WIDTH))
        sparse = np.ascontiguousarray(image[::step, ::step])
        small = np.asarray(cv2.resize(sparse, (_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)
        before, self._last = self._last, small
        if before is None:
            # As if the first picture had been there before: a cut right after it is found, too.
            for _ in range(_AROUND):
                self._show(index, small)
        repeated = before is not None and float(cv2.absdiff(small, before).mean()) < _REPEATED
        if not (repeated and may_skip):
            self._show(index, small)
        return self._shown[1]

    def finish(self) -> None:
        """There are no more pictures."""
        for _ in range(_AROUND):
            if self._last is not None:
                self._show(self._shown[-1], self._last)

    def is_cut(self, index: int) -> bool:
        """Whether a cut lies before this picture; asked once for each, in order."""
        if index in self._cuts:
            self._cuts.remove(index)
            return True
        return False

    def _show(self, index: int, small: Image) -> None:
        self._shown.append(index)
        # Numbers stand for time stamps: only their order counts.
        found = self._detector.process_frame(self._stamp(self._calls, 25.0), small[..., ::-1])
        if found:
            self._cuts.add(self._shown[0])
        self._calls += 1
