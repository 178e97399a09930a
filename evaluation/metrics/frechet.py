"""The Frechet distance of two sets of features, in memory that does not grow with the sets."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

FloatArray = NDArray[np.float64]


class Moments:
    """Mean and covariance of rows that come in pieces (Chan 1979).

    Args:
        size: D of a row.
    """

    def __init__(self, size: int) -> None:
        self.count = 0
        self.mean: FloatArray = np.zeros(size)
        self._scatter: FloatArray = np.zeros((size, size))

    def add(self, rows: NDArray[np.floating]) -> None:
        """Take in (N, D)."""
        if not len(rows):
            return
        rows = rows.astype(np.float64)
        mean = rows.mean(axis=0)
        centred = rows - mean
        step, total = mean - self.mean, self.count + len(rows)
        self._scatter += centred.T @ centred + np.outer(step, step) * (self.count * len(rows) / total)
        self.mean += step * (len(rows) / total)
        self.count = total

    @property
    def covariance(self) -> FloatArray:
        """(D, D), unbiased. Raises ValueError for fewer than two rows."""
        if self.count < 2:
            raise ValueError(f"a covariance needs two rows, not {self.count}")
        return self._scatter / (self.count - 1)


def frechet_distance(mean_a: FloatArray, cov_a: FloatArray, mean_b: FloatArray, cov_b: FloatArray) -> float:
    """|m_a - m_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2)) of two Gaussians (Dowson & Landau 1982).

    The trace of the root is taken from the symmetric product C_a^(1/2) C_b C_a^(1/2), which has the same
    eigenvalues: small sets have singular covariances, at which a root of C_a C_b is numerically undefined.

    Args:
        mean_a, mean_b: (D,).
        cov_a, cov_b: (D, D), symmetric, positive semidefinite.
    """
    values, vectors = eigh(cov_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = root @ cov_b @ root
    cross = np.sqrt(np.clip(eigh((inner + inner.T) / 2, eigvals_only=True), 0, None)).sum()
    step = mean_a - mean_b
    # Rounding leaves equal sets a little below 0.
    return max(float(step @ step + np.trace(cov_a) + np.trace(cov_b) - 2 * cross), 0.0)


def pooled_distance(
    pairs: Iterable[tuple[NDArray[np.floating], NDArray[np.floating]]], fewest: int
) -> float | None:
    """Frechet distance of made and real rows, given clip by clip.

    Args:
        pairs: (N, D) made and (M, D) real rows of each clip.
        fewest: rows that each side must have.

    Returns:
        None where a side has fewer rows.
    """
    sides: tuple[Moments, Moments] | None = None
    for made, real in pairs:
        if sides is None:
            sides = Moments(made.shape[1]), Moments(real.shape[1])
        sides[0].add(made)
        sides[1].add(real)
    if sides is None or min(side.count for side in sides) < max(fewest, 2):
        return None
    made_side, real_side = sides
    return frechet_distance(made_side.mean, made_side.covariance, real_side.mean, real_side.covariance)
