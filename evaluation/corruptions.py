"""Constructed failures of known strength: what each metric must see, and what it must not.

Every function here returns a :data:`Corruption`. It changes what was made (and, for swapped sound, what
should have been said) and nothing else of the clip; crops, landmarks, mouth opening and the numbers at native
size are changed together.

Where pictures change, a sharpness at native size ("sharpness..." in ``Footage.native``) is multiplied frame
by frame by the ratio that is measured in the crops: variance of the Laplacian of the blurred crop after over
before, in the mouth (where the name says "face": in the face). Other numbers at native size stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from common.face.layout import RIGID_UPPER
from common.media import SAMPLE_RATE
from evaluation.dubbed_clip import RATE, Curve, DubbedClip, Footage, Frames, Mask
from evaluation.repaint import mix, native_after, soft_weight, with_mouths_of

Corruption = Callable[[DubbedClip], DubbedClip]

_SAMPLES_PER_FRAME = round(SAMPLE_RATE / RATE)
_BOX_MARGIN = 0.03  # of the crop's side


@dataclass(frozen=True)
class Failure:
    """A corruption with its name and the keys of the metrics that are meant to catch it."""

    name: str
    title: str
    apply: Corruption
    meant: tuple[str, ...]


MEANT = {
    "shift": ("mouth_lag", "sync_offset_own"),
    "swapped": ("mouth_r_best", "mouth_r", "lse_c_own"),
    "frozen": ("mouth_gain", "mar_div"),
    "blurred": ("sharpness_mouth",),
    "box": ("patch_edge",),
    "drift": ("colour_drift",),
}
"""Failure -> keys of the metrics that are meant for it."""


def standard_failures(other: DubbedClip) -> tuple[Failure, ...]:
    """One of each kind, at strengths that a viewer notices.

    Args:
        other: another clip, whose speech and mouth openings take the place of the clip's own.

    Raises:
        ValueError: nothing is known of the mouth that belongs to the other clip's speech.
    """
    driver = other.driver_opening
    if driver is None and other.truth is not None:
        driver = other.truth.opening
    if driver is None:
        raise ValueError(f"{other.name}: the mouth openings that go with its speech are unknown")
    made: tuple[tuple[str, str, Corruption], ...] = (
        ("shift", "lips 5 frames late", shift_frames(5)),
        ("swapped", "other speech", swap_audio(other.speech, driver)),
        ("frozen", "frozen mouth", freeze_mouth()),
        ("blurred", "mouth blurred, 2 px", blur_mouth(2.0)),
        ("box", "box, 12 levels", paste_box(12)),
        ("drift", "colour drift, 2 ΔE/s", colour_drift(2.0)),
    )
    return tuple(Failure(name, title, apply, MEANT[name]) for name, title, apply in made)


def shift_frames(frames: int) -> Corruption:
    """Lips late by so many frames (early where negative): frame t shows the mouth of frame t - frames.

    The head stays where it is. The first (last) mouth is held where there is none before (after) it.
    """

    def apply(clip: DubbedClip) -> DubbedClip:
        count = len(clip)
        return with_mouths_of(clip, np.clip(np.arange(count) - frames, 0, count - 1))

    return apply


def freeze_mouth(frame: int | None = None) -> Corruption:
    """The mouth of one frame in every frame; by default of the one whose opening is the median one."""

    def apply(clip: DubbedClip) -> DubbedClip:
        chosen = _middling_frame(clip.made) if frame is None else frame
        if not clip.made.present[chosen]:
            raise ValueError(f"{clip.name}: frame {chosen} has no face to take the mouth from")
        return with_mouths_of(clip, np.full(len(clip), chosen))

    return apply


def swap_audio(speech: NDArray[np.float32], driver_opening: Curve) -> Corruption:
    """The row asks for other words than the mouth says.

    Speech and driver take the place of the row's own, repeated or cut to its length. The row's truth says
    the old words and goes.

    Args:
        speech: (samples,) float32 mono at 16 kHz.
        driver_opening: (N,) openings of the mouth that says it, 25 per second.
    """

    def apply(clip: DubbedClip) -> DubbedClip:
        count = len(clip)
        # Whole frames of both, so that a repetition keeps them together.
        length = min(len(driver_opening), len(speech) // _SAMPLES_PER_FRAME)
        if length == 0:
            raise ValueError("the other speech is shorter than a frame")
        words = np.resize(speech[: length * _SAMPLES_PER_FRAME], count * _SAMPLES_PER_FRAME)
        made = clip.made if clip.made.sound is None else replace(clip.made, sound=words)
        driver = np.resize(np.asarray(driver_opening, np.float64)[:length], count)
        return replace(clip, made=made, speech=words, driver_opening=driver, truth=None)

    return apply


def blur_mouth(sigma: float) -> Corruption:
    """A Gaussian of so many crop pixels over the mouth, softly blended."""

    def change(crops: Frames, clip: DubbedClip) -> Frames:
        blurred = np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in crops])
        weight = np.stack([soft_weight(mask) for mask in clip.regions.mouth])
        return mix(crops, blurred, weight)

    return _painting(change)


def paste_box(levels: float) -> Corruption:
    """A rectangle around the mouth, of one size, moving with the head, brighter by so many of 255 levels."""

    def change(crops: Frames, clip: DubbedClip) -> Frames:
        changed = crops.copy()
        for frame, (x0, y0, x1, y1) in _mouth_boxes(clip.made.landmarks, clip.regions.mouth).items():
            window = changed[frame, y0:y1, x0:x1]
            window[:] = np.clip(np.rint(window + levels), 0, 255).astype(np.uint8)
        return changed

    return _painting(change)


def colour_drift(delta_e_per_second: float) -> Corruption:
    """The crop moves towards red and yellow: so many units of CIE 1976 ΔE per second from frame 0 on."""

    def change(crops: Frames, clip: DubbedClip) -> Frames:
        changed = crops.copy()
        for index, image in enumerate(crops[1:], start=1):
            lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
            # Lightness stays; a* and b* share the way.
            lab[..., 1:] += delta_e_per_second * index / RATE / np.sqrt(2)
            changed[index] = np.rint(np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 255)
        return changed

    return _painting(change)


def _painting(change: Callable[[Frames, DubbedClip], Frames]) -> Corruption:
    """A corruption of pixels only: the face and what it does stay."""

    def apply(clip: DubbedClip) -> DubbedClip:
        crops = change(clip.made.crops, clip)
        native = native_after(clip.made, crops, clip.regions)
        return replace(clip, made=replace(clip.made, crops=crops, native=native))

    return apply


def _middling_frame(footage: Footage) -> int:
    opening = np.where(footage.present, footage.opening, np.nan)
    if not np.isfinite(opening).any():
        raise ValueError("the mouth is seen in no frame")
    return int(np.nanargmin(np.abs(opening - np.nanmedian(opening))))


def _mouth_boxes(landmarks: NDArray[np.float32], mouth: Mask) -> dict[int, tuple[int, int, int, int]]:
    """Frame -> x0, y0, x1, y1 of a box of one size that holds every frame's mouth and follows the head."""
    size = mouth.shape[-1]
    boxes, anchors = {}, {}
    for frame in np.flatnonzero(mouth.any(axis=(1, 2)) & np.isfinite(landmarks).all(axis=(1, 2))):
        x, y, width, height = cv2.boundingRect(mouth[frame].astype(np.uint8))
        anchors[int(frame)] = landmarks[frame, list(RIGID_UPPER), :2].mean(axis=0)
        boxes[int(frame)] = np.array([x, y, x + width, y + height], np.float64)
    if not boxes:
        return {}
    relative = np.array([boxes[f] - np.tile(anchors[f], 2) for f in boxes])
    low, high = relative[:, :2].min(axis=0), relative[:, 2:].max(axis=0)
    margin = _BOX_MARGIN * size
    side = np.ceil(high - low + 2 * margin).astype(int)
    placed = {}
    for frame, anchor in anchors.items():
        corner = np.rint(anchor + low - margin).astype(int)
        (x0, y0), (x1, y1) = corner.clip(0, size), (corner + side).clip(0, size)
        placed[frame] = int(x0), int(y0), int(x1), int(y1)
    return placed
