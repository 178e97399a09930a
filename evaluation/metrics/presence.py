"""Whether there is a face in the dub, and whether the dub is as long as it should be."""

from __future__ import annotations

from evaluation.dubbed_clip import DubbedClip
from evaluation.metrics.base import Better, Metric, Values

VERSION = 1
FEWEST_FRAMES = 5


class Presence:
    """What must hold before anything else is worth looking at."""

    fingerprint = f"presence-{VERSION}"

    metrics = (
        Metric(
            "face_found",
            "Face found",
            "",
            Better.higher,
            "share of the frames whose source shows a face to the detector in which the dub does, too",
            "ours",
            "looks",
        ),
        Metric(
            "length_error",
            "Length",
            "s",
            Better.zero,
            "length of the dub less that of its source",
            "ours",
            "looks",
        ),
    )

    def __call__(self, clip: DubbedClip) -> Values:
        values: Values = {}
        seen = clip.source.present
        # Of a character that the detector does not know it says nothing.
        if seen.sum() >= FEWEST_FRAMES:
            values["face_found"] = float(clip.made.present[seen].mean())
        length = clip.made.seconds - clip.source.seconds
        if length == length:
            values["length_error"] = length
        return values
