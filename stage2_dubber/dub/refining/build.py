"""The refiner of a package, by its task."""

from __future__ import annotations

from common.models.package import ModelPackage
from common.models.package_info import ModelTask
from stage2_dubber.dub.refining.lips import LipRefiner
from stage2_dubber.dub.refining.own_mouths import OwnMouthRefiner
from stage2_dubber.dub.refining.refiner import FrameRefiner, Refinement


def build_refiner(package: ModelPackage, wanted: Refinement) -> FrameRefiner | None:
    """What refines the lips of a face with the model of ``package``; None: it has nothing to refine there."""
    if package.info.task is ModelTask.refine:
        return LipRefiner(package, wanted)
    return None if wanted.face.division.renderer is None else OwnMouthRefiner(package, wanted)
