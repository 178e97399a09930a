"""How a clip of any length is cut into windows that the model can take (R; docs/notation.md §6).

    window 0   |================|
    window 1              |=====|==========|          '=====' the overlap: clean motion latents,
    window 2                          |====|======~|  '~' padding, cut off again

The release always steps by window - overlap and rounds the result up; here (G) all windows are within four
frames of the same length, so that no window is a short rest with hardly any new frame in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from common.errors import UserError
from common.geometry import TEMPORAL_STRIDE, ceil_clip_length, frames_to_latents, is_clip_length


class WindowRule(str, Enum):
    """How long windows are."""

    fitted = "fitted"
    """All within four frames of one length, so that hardly any frame is padding (G)."""
    full = "full"
    """All of the largest length; the clip is run back and forth to fill the last one (R)."""
    pre_rolled = "pre-rolled"
    """As full, but before the clip stand copies of its first frame, as many as windows share, from which the
    first window goes on (TBDub's student)."""


@dataclass(frozen=True)
class Window:
    """One stretch of frames that goes through the model.

    start: first frame in the clip; below 0 stand copies of frame 0. length: frames that the model sees,
    4k + 1. new_from: how many leading frames the window before has already made (in the first window those
    copies). valid: frames that exist in the clip, with the copies; the length - valid frames after them are
    padding. mirrored: the padding runs back through the clip, and forth again at its beginning; else it
    repeats the last frame.
    """

    start: int
    length: int
    new_from: int
    valid: int
    mirrored: bool = False

    @property
    def latent_frames(self) -> int:
        return frames_to_latents(self.length)

    @property
    def motion_latents(self) -> int:
        """Leading latent frames that are given."""
        return frames_to_latents(self.new_from) if self.new_from else 0

    @property
    def new(self) -> slice:
        """The frames of the window's output to keep."""
        return slice(self.new_from, self.valid)

    def indices(self) -> np.ndarray:
        """(length,) int64 frame indices in the clip, padding included."""
        indices = np.maximum(np.arange(self.start, self.start + self.length), 0)
        last = self.start + self.valid - 1
        if not self.mirrored or last == 0:
            return np.minimum(indices, last)
        turned = indices % (2 * last)
        return np.minimum(turned, 2 * last - turned)


def plan_windows(
    num_frames: int,
    window: int = 77,
    overlap: int = 5,
    rule: WindowRule = WindowRule.fitted,
    short: bool = False,
    stride: int = TEMPORAL_STRIDE,
) -> list[Window]:
    """Cover ``num_frames`` frames by as few windows of at most ``window`` frames as possible.

    Each window begins with the last ``overlap`` frames of the one before. The new frames of all windows, in
    order, are every frame of the clip exactly once; padding follows in the last one, at most three frames
    where windows are fitted or ``short``. These are as long as fitted ones, and go on as ``rule`` says.
    ``stride``: pixel frames of a latent frame, where it is not 4.

    Raises:
        UserError for a clip without frames and for lengths that are no 4k + 1.
    """
    if num_frames < 1:
        raise UserError("There is no frame to cut into windows.")
    fits = is_clip_length(window, stride) and (not overlap or is_clip_length(overlap, stride))
    if not fits or overlap >= window:
        raise UserError(
            f"Windows of {window} frames with {overlap} in common cannot be cut; use one more than multiples "
            f"of {stride}, the overlap below the window (or 0)."
        )
    copies = overlap if rule is WindowRule.pre_rolled else 0
    if rule is not WindowRule.fitted and not short:
        return _full_windows(num_frames, window, overlap, copies)
    first, *others = _fitted_windows(num_frames + copies, window, overlap, stride)
    windows = [replace(first, new_from=copies), *others]
    return [replace(one, start=one.start - copies) for one in windows]


def saved_by_short_windows(num_frames: int, window: int, overlap: int, rule: WindowRule) -> float:
    """Share of the frames that pass through the model which short windows save; attention saves more."""
    whole, short = (
        sum(one.length for one in plan_windows(num_frames, window, overlap, rule, short))
        for short in (False, True)
    )
    return 1 - short / whole


def check_short_windows(wanted: bool, rule: WindowRule) -> None:
    """Refuse short windows where they would change nothing.

    Raises:
        UserError: they are wanted, and those of ``rule`` are short already.
    """
    if wanted and rule is WindowRule.fitted:
        raise UserError(
            "speed.short_windows changes nothing here: the windows of this model are as short as the clip "
            "allows already; leave it out."
        )


def _fitted_windows(num_frames: int, window: int, overlap: int, stride: int) -> list[Window]:
    if num_frames <= window:
        return [Window(0, ceil_clip_length(num_frames, stride), 0, num_frames)]
    count = -(-(num_frames - overlap) // (window - overlap))
    total = num_frames + (count - 1) * overlap  # frames over all windows, overlaps counted twice
    # All windows of one length, then a latent frame more for as many of the first ones as it takes.
    base = (total // count - 1) // stride * stride + 1
    longer = -(-(total - count * base) // stride)
    windows, start = [], 0
    for index in range(count):
        length = base + stride * (index < longer)
        windows.append(Window(start, length, overlap if index else 0, min(length, num_frames - start)))
        start += length - overlap
    return windows


def _full_windows(num_frames: int, window: int, overlap: int, copies: int) -> list[Window]:
    """``copies``: of frame 0, before it."""
    starts = range(-copies, max(num_frames - overlap, 1 - copies), window - overlap)
    return [
        Window(
            start,
            window,
            copies if number == 0 else overlap,
            min(window, num_frames - start),
            mirrored=True,
        )
        for number, start in enumerate(starts)
    ]
