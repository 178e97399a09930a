"""Where the model lives that is used when the user names none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from common.errors import UserError

MODEL_VARIABLE = "BOOTDUB_MODEL"
PACKAGED_MODEL = "bootdub-tiny"
METADATA_FILE = "bootdub.json"


def default_model_path() -> Path:
    """The model package for callers that name none.

    Looked for in this order: the folder in the environment variable ``BOOTDUB_MODEL``; the folder
    ``models/bootdub-tiny`` beside the code, which is where a clone of the repository keeps it; the same
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
    places = [
        Path(__file__).resolve().parent.parent / "models" / PACKAGED_MODEL,
        Path(sys.prefix) / "share" / "bootdub" / "models" / PACKAGED_MODEL,
    ]
    for place in places:
        if (place / METADATA_FILE).is_file():
            return place
    raise UserError(
        f"No model was named and none is installed at '{places[0]}': give --model FOLDER or set "
        f"{MODEL_VARIABLE}."
    )
