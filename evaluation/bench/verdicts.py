"""Whether one video fits a rule of curation: EdiDub, appendix C."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.media import VideoReader
from evaluation.bench.sight import (
    CoverFinder,
    HandsAndFace,
    MeshPose,
    PoseFinder,
    covered_points,
    largest_angle,
)

SAMPLE_EVERY = 10
LEAST_SECONDS = 6.0
RULES = {"front": 15.0, "occluded": 30.0}
"""Rule -> its default threshold. Front: largest angle in degrees that is accepted (the paper's own number is
lost in the text at hand: this one is ours). Occluded: face points under hands, summed over the sampled
frames, that must be exceeded (EdiDub)."""


@dataclass(frozen=True)
class Verdict:
    """What a rule found in one video.

    score: degrees ("front") or covered points ("occluded"); None where the video was left before the end.
    reason: why it is left out; None = chosen. most: points covered in the worst frame. frames: sampled frames
    with a covered point; a hand that shows in a single one of many is often none (a grimace is taken for
    fingers): look at such clips. measured: whether another threshold would decide otherwise.
    """

    video: Path
    score: float | None
    reason: str | None
    has_audio: bool
    most: int = 0
    frames: int = 0
    measured: bool = False


def front_score(images: Iterable[np.ndarray], find: PoseFinder, threshold: float) -> tuple[float, str | None]:
    """(largest angle, reason to leave the video out or None); stops at the first frame that decides.

    A sampled frame without a face, or one turned further than `threshold` degrees, leaves the video out.
    """
    worst = 0.0
    for index, image in enumerate(images):
        points = find(image)
        if points is None:
            return worst, f"no face in sampled frame {index}"
        worst = max(worst, largest_angle(points[None]))
        if worst > threshold:
            return worst, f"turned by {worst:.1f} degrees in sampled frame {index}"
    return worst, None


def occlusion_score(images: Iterable[np.ndarray], find: CoverFinder) -> tuple[int, int, int]:
    """(face points under hands over all images, the most in one of them, images with any)."""
    counts = [covered_points(*find(image)) for image in images]
    return sum(counts), max(counts, default=0), sum(count > 0 for count in counts)


@cache
def _finder(rule: str) -> MeshPose | HandsAndFace:
    """One set of networks per process."""
    return MeshPose() if rule == "front" else HandsAndFace()


def _sampled(reader: VideoReader) -> Iterator[np.ndarray]:
    for frame in reader:
        if frame.index % SAMPLE_EVERY == 0:
            yield frame.image


def look_at(video: Path, rule: str, threshold: float) -> Verdict:
    """Apply a rule to one video; a file that cannot be read is left out with its reason."""
    try:
        with VideoReader(video) as reader:
            sound = reader.info.has_audio
            finder = _finder(rule)
            if isinstance(finder, HandsAndFace):
                total, most, frames = occlusion_score(_sampled(reader), finder)
                few = None if total > threshold else f"{total} points under hands"
                return Verdict(video, total, few, sound, most, frames, measured=True)
            if reader.info.duration < LEAST_SECONDS:
                short = f"{reader.info.duration:.1f} s, shorter than {LEAST_SECONDS:g} s"
                return Verdict(video, None, short, sound)
            score, reason = front_score(_sampled(reader), finder, threshold)
            measured = reason is None or score > threshold
            return Verdict(video, score if reason is None else None, reason, sound, measured=measured)
    except UserError as error:
        return Verdict(video, None, str(error), False)
