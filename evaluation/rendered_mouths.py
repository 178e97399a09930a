"""The drawn character of a clip, from the JSON beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import read_json
from common.rendered.measure import MouthSweep, match_sweep, sweep_mouth
from common.rendered.scene import Scene, sample_scene
from evaluation.bench import scene_of
from evaluation.dubbed_clip import Curve


def load_scene(path: Path) -> Scene:
    """The scene of a clip of the benchmark, or of one made by ``python -m common.rendered``.

    Raises:
        UserError: the file describes neither.
    """
    about = read_json(path)
    if isinstance(about, dict) and "item" in about:
        return scene_of(path)
    try:
        size = int(about.get("size", 256))
        return sample_scene(about["scene_seed"], style=about["style"], occluder=about["occluder"], size=size)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"The file '{path}' describes no drawn character: name the JSON that was written beside the clip."
        ) from error


class RenderedMouths:
    """How far the mouth of a known character is open in the crops of any version of its clip.

    The mouths that pictures are compared with are drawn once per moment, for all versions; of long clips they
    are kept for the first :data:`KEPT` moments alone.
    """

    KEPT = 250  # some two megabytes each

    def __init__(self, scene: Scene, matrices: Sequence[NDArray[np.float64]]) -> None:
        """``matrices``: (2, 3) each, from video pixels to those of the crop, one per moment."""
        self._scene, self._matrices = scene, matrices
        self._sweeps: dict[int, MouthSweep] = {}

    def openings(self, crops: NDArray[np.uint8]) -> Curve:
        """(N,) openings in crops (N, S, S, 3) of the first N moments; NaN where an occluder hides them."""
        size = (crops.shape[2], crops.shape[1])
        return np.array([match_sweep(self._sweep(k, size), crop) for k, crop in enumerate(crops)])

    def _sweep(self, moment: int, size: tuple[int, int]) -> MouthSweep:
        if moment in self._sweeps:
            return self._sweeps[moment]
        sweep = sweep_mouth(self._scene, moment, self._matrices[moment], size)
        if moment < self.KEPT:
            self._sweeps[moment] = sweep
        return sweep
