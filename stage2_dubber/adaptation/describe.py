"""`python -m stage2_dubber.adaptation.describe`: what a model package was trained with, as configurations.

With ``stage1.yaml`` pairs are made that its editor can be trained on, with ``stage2.yaml`` it is trained
further. Other files say the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import yaml

from common.autoencoder.config import VaeConfig
from common.errors import UserError
from common.files import atomic_path, read_json
from common.models.config import ModelConfig
from common.models.conventions import CropRule
from common.models.package_info import ModelTask, PackageInfo, read_info
from stage2_dubber.adaptation.command import run_with_folders


def main(argv: Sequence[str] | None = None) -> int:
    return run_with_folders(
        "stage2_dubber.adaptation.describe",
        __doc__,
        describe,
        argv,
        model="the package of an editor",
        output="the folder of both files",
    )


def describe(model: Path, output: Path) -> None:
    """Write both files.

    Raises:
        UserError: the package is no editor, or cannot be adapted.
    """
    info = adaptable(model)
    output.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("stage1.yaml", pair_sections(model, info)),
        ("stage2.yaml", sections(model, info)),
    ):
        with atomic_path(output / name) as temporary:
            temporary.write_text(yaml.safe_dump(content, sort_keys=False))


def adaptable(model: Path) -> PackageInfo:
    """What a package says of itself.

    Raises:
        UserError: it is no editor of stage 2, or an adapter more would not fit it.
    """
    info = read_info(model)
    if info.stage != 2 or info.joint is not None or info.task is not ModelTask.edit:
        raise UserError(
            f"{model}: only editors of stage 2 can be adapted to a person; choose another package."
        )
    if info.adapters:
        names = ", ".join(adapter.name for adapter in info.adapters)
        raise UserError(
            f"{model}: the package has adapters already ({names}), beside which a further one has not been "
            "trained; choose the package that they were trained from."
        )
    if info.conventions.crops is CropRule.frame:
        raise UserError(
            f"{model}: the model sees whole pictures, of which no pairs are made; choose another."
        )
    return info


def sections(model: Path, info: PackageInfo) -> dict[str, Any]:
    """The sections of a training that goes on from ``model``."""
    shape = _stored(ModelConfig, model / "transformer")
    return {"model": shape, **_shared(model, info), "diffusion": asdict(info.diffusion)}


def pair_sections(model: Path, info: PackageInfo) -> dict[str, Any]:
    """The sections of the commands of stage 1 that make pairs for ``model``."""
    channels = {"latent_channels": _stored(VaeConfig, model / "vae")["z_dim"]}
    return {
        "model": {**channels, "audio_channels": info.speech.channels},
        **_shared(model, info),
        "pairs": {"clip_frames": info.geometry.clip_frames},
        "prepare": {"crops": info.conventions.crops.value},
    }


def _shared(model: Path, info: PackageInfo) -> dict[str, Any]:
    # Torch, which those that only ask what can be adapted need not wait for.
    from common.autoencoder.codec import stored_kind

    vae = model.resolve() / "vae"
    return {
        "vae": {**_stored(VaeConfig, vae), "kind": stored_kind(vae), "path": str(vae)},
        "speech": {**asdict(info.speech), "path": info.speech.path and str(Path(info.speech.path).resolve())},
        "geometry": asdict(info.geometry),
    }


def _stored(schema: type[ModelConfig] | type[VaeConfig], folder: Path) -> dict[str, Any]:
    """The fields of a section that a network was stored with; diffusers' word for a patch of 1 is none."""
    stored = read_json(folder / "config.json")
    known = {item.name: stored[item.name] for item in fields(schema) if item.name in stored}
    return {**known, **({"patch_size": known["patch_size"] or 1} if "patch_size" in known else {})}


if __name__ == "__main__":
    sys.exit(main())
