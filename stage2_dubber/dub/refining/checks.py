"""Which packages edit and which refine; only what they say of themselves is read."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError
from common.models.package_info import ModelTask, PackageInfo, read_info
from common.own_mouths.config import Renderer
from stage2_dubber.dub.request import DubRequest


def check_refiner(folder: Path) -> PackageInfo:
    """What a package for ``--refine`` says.

    Raises:
        UserError: it is no package, or one that edits.
    """
    info = read_info(folder)
    if info.task is ModelTask.edit:
        raise UserError(
            f"{folder}: the model edits, but --refine wants one that refines lips or own mouths: train one "
            "with configs/edidub_srd.yaml (docs/edidub.md) or configs/refine_own_mouths.yaml "
            "(docs/own_mouths.md)."
        )
    return info


def check_drawn(request: DubRequest, renderer: Renderer) -> None:
    """Refuse a job whose refiner would have nothing to refine.

    Args:
        request: the job.
        renderer: what draws its mouths.

    Raises:
        UserError: it refines frames that own mouths draw, and these draw none.
    """
    if renderer is not Renderer.editor or request.refine is None:
        return
    if read_info(request.refine).task is ModelTask.refine_own_mouths:
        raise UserError(
            f"{request.refine}: the model refines frames that own mouths draw, but they draw none with "
            "--renderer editor: give --renderer own-mouths or auto, or leave --refine out."
        )


def check_editor(folder: Path, info: PackageInfo) -> None:
    """Refuse a refiner where a model that dubs is wanted.

    Raises:
        UserError: it is one.
    """
    if info.task is not ModelTask.edit:
        what = (
            "lips that another one has drawn"
            if info.task is ModelTask.refine
            else "frames that own mouths draw"
        )
        raise UserError(
            f"{folder}: the model refines {what}: give it with --refine, beside a model that dubs."
        )
