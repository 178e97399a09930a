"""Where painters of insides of mouths lie: the one that comes with the program, and those of packages."""

from __future__ import annotations

from pathlib import Path

from common.models.shipped import ShippedModel

PAINTER_FOLDER = "mouth_painter"
"""Of a model package that has a painter of its own."""

SHIPPED_PAINTER = ShippedModel(
    "mouth-painter", "config.json", "BOOTDUB_MOUTH_PAINTER", "painter of mouths", "own_mouths.paint=false"
)


def painter_folder(package: Path) -> Path:
    """The painter of a model package, else the one that is installed or that ``BOOTDUB_MOUTH_PAINTER`` names.

    Raises:
        UserError: there is none.
    """
    own = package / PAINTER_FOLDER
    return own if own.is_dir() else SHIPPED_PAINTER.folder()
