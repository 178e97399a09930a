"""Noise from frame to frame that the source does not have."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evaluation.dubbed_clip import DubbedClip, Frames, Mask
from evaluation.metrics.base import Better, Metric, Values
from evaluation.metrics.quality import visible_regions

# Cells of a sixteenth of the crop and half a second: small enough that the chin, which moves with the words,
# stays a minority of the cells.
_CELLS = 16
_CELL_FRAMES = 12
_LEAST_FILLED = 0.5
_LEAST_CELLS = 8
# Noise of one grey level: less is not visible, and a rendered source without any would make ratios endless.
_FLOOR = 1.0


def cell_noise(frames: Frames, regions: Mapping[str, Mask]) -> dict[str, NDArray[np.float64]]:
    """Temporal noise variance in cells of space and time, inside regions.

    The second difference in time, squared, mean over R, G, B, divided by 6: the variance (grey levels
    squared) of white noise that would give as much. Slow changes of colour give nothing, movement gives what
    edges moved over; so it is compared with the same cell of the source only.

    Args:
        frames: (N, S, S, 3) uint8.
        regions: name -> (N, S, S) bool; a pixel counts where its frame and both neighbours are inside.

    Returns:
        name -> (T, 16, 16), T = ceil((N - 2) / 12); NaN where less than half of a cell is inside.
    """
    count, size = len(frames), frames.shape[1]
    times = max(0, -(-(count - 2) // _CELL_FRAMES))
    edges = np.linspace(0, size, _CELLS + 1).round().astype(int)[:-1]
    energy = {name: np.zeros((times, _CELLS, _CELLS)) for name in regions}
    filled = {name: np.zeros((times, _CELLS, _CELLS)) for name in regions}

    def in_cells(values: NDArray) -> NDArray[np.float64]:
        rows = np.add.reduceat(values, edges, axis=0, dtype=np.float64)
        return np.asarray(np.add.reduceat(rows, edges, axis=1))

    for middle in range(1, count - 1):
        time = (middle - 1) // _CELL_FRAMES
        before, now, after = (frames[middle + k].astype(np.float32) for k in (-1, 0, 1))
        difference = before + after - 2 * now
        noise = np.einsum("yxc,yxc->yx", difference, difference) / 18
        for name, region in regions.items():
            inside = region[middle - 1] & region[middle] & region[middle + 1]
            energy[name][time] += in_cells(noise * inside)
            filled[name][time] += in_cells(inside)
    frames_of = np.minimum(_CELL_FRAMES, count - 2 - _CELL_FRAMES * np.arange(times))[:, None, None]
    full = in_cells(np.ones((size, size))) * frames_of
    return {
        name: np.where(
            filled[name] >= _LEAST_FILLED * full, energy[name] / np.maximum(filled[name], 1), np.nan
        )
        for name in regions
    }


def excess_noise(made: NDArray[np.float64], source: NDArray[np.float64]) -> float | None:
    """Median over cells of 10 log10((made + 1) / (source + 1)), dB; None with fewer than 8 known cells.

    The median over cells of the same place and time: a minority of cells where other words move the chin, or
    where the head's own movement hides everything, decides nothing.
    """
    both = np.isfinite(made) & np.isfinite(source)
    if both.sum() < _LEAST_CELLS:
        return None
    return float(np.median(10 * np.log10((made[both] + _FLOOR) / (source[both] + _FLOOR))))


class Flicker:
    """``flicker_face`` and ``flicker_background``: noise, jitter of a box, pumping brightness.

    The mouth, which has to move, is in neither. Positive: noise that the source does not have. Negative: a
    picture calmer than the source, as of a still background or of grain wiped away.
    """

    metrics = tuple(
        Metric(
            key=f"flicker_{region}",
            title=f"Flicker {region}",
            unit="dB",
            better=Better.zero,
            formula="median over cells of 10 log10((E(made) + 1) / (E(source) + 1)); "
            f"E: mean squared second difference in time / 6, cells of 1/16 crop x 12 frames; {where}",
            source="ours: noise is what changes twice in three frames; ratios of cells make movement cancel",
            group="looks",
        )
        for region, where in (("face", "face without the mouth"), ("background", "crop without the face"))
    )
    fingerprint = "flicker-1"

    def __call__(self, clip: DubbedClip) -> Values:
        regions = {name: mask for name, mask in visible_regions(clip).items() if name != "mouth"}
        made, source = (cell_noise(footage.crops, regions) for footage in (clip.made, clip.source))
        values: Values = {}
        for name in regions:
            excess = excess_noise(made[name], source[name])
            if excess is not None:
                values[f"flicker_{name}"] = excess
        return values
