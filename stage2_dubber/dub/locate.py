"""Model packages on disk: the one used when the user names none, and what a package says about itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.files import read_json
from common.models.package_info import METADATA_FILE, SPEECH_FOLDER
from common.models.shipped import ShippedModel, shipped_place

if TYPE_CHECKING:
    from common.lip_shapes.encoder import LipEncoder

PACKAGED_MODEL = ShippedModel(
    "bootdub-small", METADATA_FILE, "BOOTDUB_MODEL", "model package", "--model FOLDER"
)


def default_model_path() -> Path:
    """The model package for callers that name none. Raises UserError where there is none."""
    return PACKAGED_MODEL.folder()


def shipped_lip_encoder() -> LipEncoder:
    """The predictor of lip shapes of the shipped model, for models whose speech features are not lip shapes.

    Raises:
        UserError: it is not installed.
    """
    from common.lip_shapes.encoder import LipEncoder

    return LipEncoder(shipped_place(PACKAGED_MODEL.name) / SPEECH_FOLDER)


def read_metadata(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What a model package says about itself; no weights are read.

    Raises:
        UserError: there is no model package at ``folder``, or its metadata is damaged.
    """
    path = Path(folder)
    if not (path / METADATA_FILE).is_file():
        raise UserError(
            f"The model '{path}' is not a model package (no {METADATA_FILE} in it): give the folder of one."
        )
    metadata = read_json(path / METADATA_FILE)
    if not isinstance(metadata, dict):
        raise UserError(f"The file '{path / METADATA_FILE}' holds no metadata: get the model package again.")
    return metadata
