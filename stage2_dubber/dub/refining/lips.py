"""Super-resolution of the lips of frames that are dubbed already (EdiDub §3.2).

The lips of a finished frame are brought down to the resolution that the refiner was trained with, and refined
within all else that the frame shows, which is the source's wherever nothing was edited. So it does not matter
who has drawn them: an editor of any kind and size, or the clip's own mouths.
"""

from __future__ import annotations

import numpy as np

from common.data.degraded_lips import degrade_lips
from common.models.package import ModelPackage
from stage2_dubber.dub.job import Composite
from stage2_dubber.dub.refining.refiner import FrameRefiner, Refinement


class LipRefiner(FrameRefiner):
    """Refines lips at the most pixels that the package was trained with; hears nothing."""

    def __init__(self, package: ModelPackage, wanted: Refinement) -> None:
        silence = np.zeros((1, package.info.speech.channels), np.float32)
        super().__init__(package, wanted, wanted.face.runs, silence)
        assert package.info.lip_resolution is not None
        self._side = package.info.lip_resolution[1]

    def _given(
        self, item: Composite, crop: np.ndarray, opacity: np.ndarray, moment: int
    ) -> tuple[np.ndarray, np.ndarray]:
        return degrade_lips(crop[None], opacity[None], self._side)[0], opacity
