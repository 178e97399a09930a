"""Model packages on disk: the one used when the user names none, and what a package says about itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.files import read_json
from common.models.package_info import METADATA_FILE, SPEECH_FOLDER
from common.models.shipped import shipped_places

if TYPE_CHECKING:
    from common.lip_shapes.encoder import LipEncoder

MODEL_VARIABLE = "BOOTDUB_MODEL"
PACKAGED_MODEL = "bootdub-small"


def default_model_path() -> Path:
    """The model package for callers that name none.

    Looked for in this order: the folder in the environment variable ``BOOTDUB_MODEL``; the folder
    ``models/bootdub-small`` beside the code, which is where a clone of the repository keeps it; the same
    folder under ``share/bootdub`` of the installation.

    Raises:
        UserError: the variable names no model package, or none of the places holds one.
    """
    chosen = os.environ.get(MODEL_VARIABLE)
    if chosen:
        if not (Path(chosen) / METADATA_FILE).is_file():
            raise UserError(
                f"{MODEL_VARIABLE} is set to '{chosen}', which holds no model package: point it at a folder "
                f"with a {METADATA_FILE} or give --model."
            )
        return Path(chosen)
    places = shipped_places(PACKAGED_MODEL)
    for place in places:
        if (place / METADATA_FILE).is_file():
            return place
    raise UserError(
        f"No model was named and none is installed at '{places[0]}': give --model FOLDER or set "
        f"{MODEL_VARIABLE}."
    )


def shipped_lip_encoder() -> LipEncoder:
    """The predictor of lip shapes of the shipped model, for models whose speech features are not lip shapes.

    Raises:
        UserError: it is not installed.
    """
    from common.lip_shapes.encoder import LipEncoder

    places = [place / SPEECH_FOLDER for place in shipped_places(PACKAGED_MODEL)]
    return LipEncoder(next((place for place in places if place.is_dir()), places[0]))


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
