"""LSE-D, LSE-C and the offset between lips and sound, by a judge network.

Chung & Zisserman 2016 (section 4: distances over shifts, confidence, offset); Prajwal et al., Wav2Lip, 2020
(the names LSE-D and LSE-C). Numbers of two judges must never be compared, so that the judge's name is part
of every key and title.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evaluation.dubbed_clip import DubbedClip
from evaluation.metrics.base import Better, Kind, Metric, Values
from evaluation.metrics.sound import has_sound, heard_speech, is_generated

VERSION = 2
SPOKEN = (Kind.cross, Kind.self, Kind.cycle)
FEWEST_WINDOWS = 8


class Judge(Protocol):
    """A network that embeds lips and sound into one space.

    Attributes:
        key: part of the metrics' keys. name: part of their titles.
        window: video frames that it looks at together.
        reach: largest shift in frames.
        cosine: whether its distances are 1 - cosine (otherwise Euclidean).
        fingerprint: changes with the weights.
    """

    @property
    def key(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def window(self) -> int: ...

    @property
    def reach(self) -> int: ...

    @property
    def cosine(self) -> bool: ...

    @property
    def fingerprint(self) -> str: ...

    def distances(self, frames: NDArray[np.uint8], sound: NDArray[np.float32]) -> NDArray[np.float64]:
        """How far lips and sound are apart when the sound is shifted.

        Args:
            frames: (N, S, S, 3) RGB face crops at 25 frames per second.
            sound: (samples,) mono at 16 kHz, sample 0 belongs to frame 0.

        Returns:
            (starts, 2 reach + 1): row s is of the frames from s on, column reach + j compares them with the
            sound j frames later. NaN where there is no such sound. No rows where the clip is too short.
        """
        ...


@dataclass(frozen=True)
class SyncScores:
    """``offset``: frames by which the lips are late against the sound (negative: early)."""

    lse_d: float
    lse_c: float
    offset: int
    at_zero: float


def sync_scores(distances: NDArray[np.float64]) -> SyncScores | None:
    """Scores of (starts, 2 reach + 1) distances of a :class:`Judge`; None where there are too few.

    With m(j) the mean distance at shift j: LSE-D = min m, LSE-C = median m - min m. The offset is minus the
    shift of the minimum: lips that are late by k frames fit the sound of k frames before. That is the sign of
    the public SyncNet's "AV offset" (positive: the sound leads). Shifts that fewer than half of the windows
    can try are left out: a mean of a few is an easy minimum.
    """
    known = np.isfinite(distances)
    rows = known.any(axis=1)
    if rows.sum() < FEWEST_WINDOWS:
        return None
    distances, known = distances[rows], known[rows]
    reach = distances.shape[1] // 2
    tried = known.sum(axis=0) * 2 >= len(distances)
    if not tried[reach]:
        return None
    total = np.where(known, distances, 0).sum(axis=0)
    means = np.where(tried, total / np.maximum(known.sum(axis=0), 1), np.nan)
    best = int(np.nanargmin(means))
    smallest = float(means[best])
    return SyncScores(smallest, float(np.nanmedian(means)) - smallest, reach - best, float(means[reach]))


def whole_windows(present: NDArray[np.bool_], starts: int, window: int) -> NDArray[np.bool_]:
    """(starts,) windows of ``window`` frames that show a face throughout."""
    gaps = np.concatenate([[0], np.cumsum(~present)])
    first = np.arange(starts)
    return np.asarray(gaps[np.minimum(first + window, len(present))] == gaps[first])


class LipSync:
    """The lips against the speech that they should say; and, for systems that make speech, against their own.

    Args:
        judge: the network; keys end in ``_`` and its key.
    """

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    @property
    def fingerprint(self) -> str:
        return f"lip_sync-{VERSION}-{self.judge.fingerprint}"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        by, space = self.judge.name, "1 - cosine" if self.judge.cosine else "Euclidean distance"
        source = "Chung & Zisserman 2016, section 4"
        names = "Prajwal et al. 2020 (Wav2Lip), section 4; " + source
        public = "" if self.judge.key == "syncnet" else "; ours: by the repository's own judge"

        def metric(key: str, title: str, unit: str, better: Better, formula: str, source: str) -> Metric:
            return Metric(
                f"{key}_{self.judge.key}", f"{title} ({by})", unit, better, formula, source, "sync", SPOKEN
            )

        m = f"m(j) = mean {space} of lips and the sound j frames later, |j| <= {self.judge.reach}"
        m += "; of a sound that the system made, where it made one"
        found = [
            metric("lse_d", "LSE-D", "", Better.lower, f"min_j m(j); {m}", names + public),
            metric("lse_c", "LSE-C", "", Better.higher, f"median_j m(j) - min_j m(j); {m}", names + public),
            metric(
                "sync_offset",
                "AV offset",
                "frames",
                Better.zero,
                f"-argmin_j m(j), positive = lips late; {m}",
                source + public,
            ),
            metric(
                "async",
                "ASync",
                "frames",
                Better.lower,
                "|AV offset| against the sound that the system made itself",
                "JUST-DUB-IT (2026), AV offset by SyncNet" + public,
            ),
        ]
        if self.judge.cosine:
            formula = "mean cosine of lips and the sound of the same moment"
            found.append(metric("sync_score", "Sync at 0", "", Better.higher, formula, "ours: 1 - m(0)"))
        return tuple(found)

    def __call__(self, clip: DubbedClip) -> Values:
        if Kind(clip.kind) not in SPOKEN:
            return {}
        values: Values = {}
        key = self.judge.key
        generated = is_generated(clip)
        scores = self._scores(clip, heard_speech(clip))
        if scores is not None:
            values[f"lse_d_{key}"] = scores.lse_d
            values[f"lse_c_{key}"] = scores.lse_c
            values[f"sync_offset_{key}"] = float(scores.offset)
            if self.judge.cosine:
                values[f"sync_score_{key}"] = 1 - scores.at_zero
            if generated:
                values[f"async_{key}"] = float(abs(scores.offset))
        return values

    def _scores(self, clip: DubbedClip, sound: NDArray[np.float32]) -> SyncScores | None:
        if not has_sound(sound):
            return None
        distances = self.judge.distances(clip.made.crops, sound)
        # The squares are the source's: where it shows no face there is nothing to look at.
        whole = whole_windows(clip.source.present, len(distances), self.judge.window)
        return sync_scores(distances[whole])
