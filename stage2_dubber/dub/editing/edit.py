"""What an editor makes of a crop; apart from the editor, whose libraries take seconds to import."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Edit:
    """One edited crop.

    Attributes:
        image: (S, S, 3) uint8.
        change: (S, S, 3) float32 in 8-bit steps, what the edit adds to its source: the decoded edit less what
            the autoencoder makes of the untouched source, so that its losses cancel; None where nobody asked.
    """

    image: np.ndarray
    change: np.ndarray | None = None
