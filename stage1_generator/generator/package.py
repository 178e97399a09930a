"""The trained generator as later commands find it: a named package, or that of the training run."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError
from common.files import fingerprint, sha256_file
from common.models.package import ModelPackage, load_package
from common.models.package_info import METADATA_FILE
from common.speech.prepared import PreparedSpeech
from stage1_generator.config import Stage1Config
from stage1_generator.generator.frozen import pick_device, pick_dtype

STAGE = 1


def find_package(config: Stage1Config) -> Path:
    """Folder of the generator's model package.

    Raises:
        UserError: none is named and the training run has left none.
    """
    if config.synthesis.model:
        return Path(config.synthesis.model)
    folder = Path(config.train.output) / "package"
    if not config.train.output or not (folder / METADATA_FILE).is_file():
        raise UserError(
            f"No trained generator lies in '{folder}': run `python -m stage1_generator.train` first, or name "
            "a model package with synthesis.model."
        )
    return folder


def load_generator(config: Stage1Config, speech: PreparedSpeech) -> tuple[ModelPackage, str]:
    """The generator on the configured device, and a fingerprint of its weights.

    Raises:
        UserError: no package, or one of another stage, crop, rate or speech encoder than configured.
    """
    folder = find_package(config)
    device = pick_device(config.device)
    package = load_package(folder, device, pick_dtype(config.dtype, device), stage=STAGE)
    package.require_speech(speech.encoder.name, speech.fingerprint)
    trained, wanted = package.info.geometry, config.geometry
    for name in ("crop_size", "crop_scale", "fps"):
        if getattr(trained, name) != getattr(wanted, name):
            raise UserError(
                f"{folder}: the generator was trained with geometry.{name} {getattr(trained, name)}, not "
                f"{getattr(wanted, name)}: configure it alike."
            )
    window = package.info.speech.extra_window
    if window != config.speech.extra_window:
        raise UserError(
            f"{folder}: the generator was trained with speech.extra_window {window}, not "
            f"{config.speech.extra_window}: configure it alike."
        )
    files = sorted(path for path in folder.rglob("*.safetensors"))
    mark = fingerprint([[path.relative_to(folder).as_posix(), sha256_file(path)] for path in files])
    return package, mark
