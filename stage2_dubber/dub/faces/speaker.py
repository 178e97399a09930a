"""Who of several people speaks: whose lips do what the video's sound says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.face.mouth import LIP_GAPS, lip_shape
from common.face.people import Faces
from common.media import SAMPLE_RATE, load_audio, probe
from common.own_mouths.wanted import wanted_shapes
from stage2_dubber.dub.locate import shipped_lip_encoder

# What is compared of a lip shape: the middle gap, the width, the chin, the lower lip. Lips may be this many
# frames off.
_VALUES = (1, LIP_GAPS, LIP_GAPS + 1, LIP_GAPS + 3)
_MOST_LAG = 2
_LEAST = 8  # frames that a correlation is taken over


def speaking(video: Path, times: NDArray[np.float64], faces: Faces) -> dict[int, float] | None:
    """How well each person's lips agree with the sound.

    The correlation of four values of the lip shapes, seen and predicted from the sound, at the best lag,
    averaged over the person's stretches by their frames.

    Args:
        video: the clip.
        times: (N,) seconds of its frames, the first at 0.
        faces: all of it.

    Returns:
        person -> -1 to 1; None where the video has no sound.

    Raises:
        UserError: the shipped predictor of lip shapes is not installed.
    """
    info = probe(video)
    if not info.has_audio:
        return None
    audio = load_audio(video, SAMPLE_RATE)
    if not np.any(audio):
        return None
    expected = wanted_shapes(shipped_lip_encoder().encode(audio), times)
    found: dict[int, float] = {}
    for person in faces.persons:
        stretches = [faces.stretches[i] for i in faces.of(person)]
        total = sum(len(s) for s in stretches)
        values = [
            len(s) / total * shapes_agree(lip_shape(s.landmarks), expected[s.frames])
            for s in stretches
            if s.measured.mean() > 0.5
        ]
        found[person] = float(sum(values))
    return found


def shapes_agree(seen: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Mean correlation, -1 to 1, of (n, 7) lip shapes that were seen and are expected; 0 of a few frames."""
    lags = range(-_MOST_LAG, _MOST_LAG + 1)
    return float(
        np.mean([max(_correlation(seen[:, k], expected[:, k], lag) for lag in lags) for k in _VALUES])
    )


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64], lag: int) -> float:
    a, b = a[max(0, lag) : len(a) + min(0, lag)], b[max(0, -lag) : len(b) + min(0, -lag)]
    if len(a) < _LEAST or a.std() < 1e-6 or b.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
