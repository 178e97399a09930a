"""Statistics of mouth-opening curves, shared by the metrics that compare them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.dubbed_clip import Curve

FEWEST_FRAMES = 12
# Eye-corner distances: landmarks of a still face jitter by less.
LEAST_SPREAD = 1e-3


def pearson(a: Curve, b: Curve) -> float | None:
    """Pearson's r of two curves (N,) over the frames that both know.

    None where fewer than 12 frames are left or one of the two does not move (standard deviation below 1e-3).
    """
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < FEWEST_FRAMES:
        return None
    x, y = np.asarray(a[both], np.float64), np.asarray(b[both], np.float64)
    if min(x.std(), y.std()) < LEAST_SPREAD:
        return None
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))


def lagged_pearson(a: Curve, b: Curve, reach: int) -> NDArray[np.float64]:
    """(2 reach + 1,) Pearson's r of a(t) and b(t - k) for k = -reach ... reach; NaN where there is none.

    A positive k stands for an ``a`` that is late by k frames.
    """
    count = min(len(a), len(b))
    found = np.full(2 * reach + 1, np.nan)
    for k in range(-reach, reach + 1):
        late, early = max(k, 0), max(-k, 0)
        r = pearson(a[late : count - early], b[early : count - late])
        if r is not None:
            found[k + reach] = r
    return found


def part_correlation(made: Curve, source: Curve, driver: Curve) -> float | None:
    """Correlation of ``made`` with what of ``source`` the ``driver`` does not explain, over common frames.

    (r_ms - r_md r_sd) / sqrt(1 - r_sd^2): the semi-partial (part) correlation; 0 for made = driver, about 1
    for made = source. None where one of the three correlations is missing or source and driver are one.
    """
    common = np.isfinite(made) & np.isfinite(source) & np.isfinite(driver)
    ms, md, sd = (
        pearson(x[common], y[common]) for x, y in ((made, source), (made, driver), (source, driver))
    )
    if ms is None or md is None or sd is None or abs(sd) > 0.99:
        return None
    return float((ms - md * sd) / np.sqrt(1 - sd**2))
