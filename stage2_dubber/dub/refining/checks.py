"""Which packages edit and which refine; only what they say of themselves is read."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError
from common.models.package_info import PackageInfo, read_info


def check_refiner(folder: Path) -> tuple[PackageInfo, int]:
    """What a package for ``--refine`` says, and the pixels of a crop's side that lips are brought down to.

    These are the most that it was trained with.

    Raises:
        UserError: it is no package, or one that edits.
    """
    info = read_info(folder)
    if info.lip_resolution is None:
        raise UserError(
            f"{folder}: the model edits, but --refine wants one that refines lips: train one with "
            "configs/edidub_srd.yaml (docs/edidub.md)."
        )
    return info, info.lip_resolution[1]


def check_editor(folder: Path, info: PackageInfo) -> None:
    """Refuse a refiner where a model that dubs is wanted.

    Raises:
        UserError: it is one.
    """
    if info.lip_resolution is not None:
        raise UserError(
            f"{folder}: the model refines lips that another one has drawn: give it with --refine, beside a "
            "model that dubs."
        )
