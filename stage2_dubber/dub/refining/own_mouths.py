"""Frames that own mouths have drawn, edited by a model that has learnt to make film of such frames.

It is shown the drawn frame, which is the source but for its mouth, and told how far that can be relied on
and which lip shape it was drawn with, as in its training. Frames that own mouths did not draw stay as they
are, and so do pixels in which a frame is the source's own; where a frame passes to an editor's the change
fades with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from common.diffusion.options import SamplingOptions
from common.models.conditions import ModelConditions
from common.models.package import ModelPackage
from common.own_mouths.planes import condition_planes
from common.own_mouths.reliability import SURE, pooled_levels
from stage2_dubber.dub.editing.editor import WindowEditor
from stage2_dubber.dub.editing.windowed import WindowPart
from stage2_dubber.dub.job import Composite
from stage2_dubber.dub.own_mouths import parted
from stage2_dubber.dub.refining.refiner import FrameRefiner, Refinement

_UNSURE = 0.05
"""What is less sure than 1 by this is edited in full; what is 1 is not."""


class OwnMouthRefiner(FrameRefiner):
    """Edits the frames of a face that own mouths have drawn; hears what it says."""

    def __init__(self, package: ModelPackage, wanted: Refinement) -> None:
        division, features = wanted.face.division, wanted.face.refined_features
        assert division.renderer is not None and features is not None, "the pipeline has seen to it"
        self._renderer, self._opacity = division.renderer, division.opacity
        self._stride = package.codec.stride
        self._known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        frames = np.array([frame for frame, share in division.opacity.items() if share > 0], np.int64)
        super().__init__(package, wanted, parted(wanted.face.runs, frames)[1], features)

    def _built(
        self, package: ModelPackage, options: SamplingOptions, kept: Callable[[str], Path] | None
    ) -> WindowEditor:
        return _PlanesEditor(package, options, kept, self._planes)

    def _given(
        self, item: Composite, crop: np.ndarray, opacity: np.ndarray, moment: int
    ) -> tuple[np.ndarray, np.ndarray]:
        index = item.frame.index
        levels = np.full(crop.shape[:2], SURE, np.uint8)
        if item.reliability is not None:
            whole = item.reliability.over(item.image.shape)
            levels = self._plan.crops.extract(whole, index, len(crop))
        pooled = pooled_levels(levels[None], (1, *self._stride[1:]))[0]
        self._known[moment] = pooled, self._renderer.lip_shape(index)
        laid = np.minimum((SURE - levels) / np.float32(SURE * _UNSURE), 1)
        return crop, opacity * laid * np.float32(self._opacity[index])

    def _planes(self, part: WindowPart) -> torch.Tensor:
        moments = part.first_frame - part.window.start + part.window.indices()
        # What lies before this window is in no later one.
        self._known = {moment: known for moment, known in self._known.items() if moment >= moments.min()}
        levels, shapes = (
            np.stack(one) for one in zip(*(self._known[m] for m in moments.tolist()), strict=True)
        )
        pooled = pooled_levels(levels, (self._stride[0], 1, 1))
        return condition_planes(*(torch.from_numpy(x)[None].float() for x in (pooled, shapes)))


class _PlanesEditor(WindowEditor):
    """An editor whose windows have extra channels, and do not go on from each other.

    What the autoencoder loses of frames that are given to the next window would be a change of its own. In
    the frames that windows share one fades into the other.

    Args:
        package, options, kept: as of :class:`WindowEditor`.
        planes: extra channels of the target of a window, (1, K, F, h, w).
    """

    def __init__(
        self,
        package: ModelPackage,
        options: SamplingOptions,
        kept: Callable[[str], Path] | None,
        planes: Callable[[WindowPart], torch.Tensor],
    ) -> None:
        super().__init__(package, options, changes=True, overlap=False, kept=kept)
        self._planes = planes

    def _conditions(
        self, part: WindowPart, reference: torch.Tensor, motion: torch.Tensor | None
    ) -> ModelConditions:
        alone = super()._conditions(part, reference, None)
        return replace(alone, condition_planes=self._planes(part).to(reference))
