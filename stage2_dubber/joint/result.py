"""What a training of LTX-2 leaves behind: a package that dubs, or from which another training starts."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from common.files import atomic_dir
from common.models.ltx2.folder import folder_fingerprint
from common.models.ltx2.index import INDEX_FILE
from common.models.ltx2.lora import write_lora
from common.models.ltx2.package import LORA_FILE, PROMPT_FILE
from common.models.ltx2.transformer import JointTransformer
from common.models.package_info import BASE_PHASE, PackageInfo, write_info
from common.training.record import short_name
from stage2_dubber.joint.config import JointTrainingConfig, TargetAudio
from stage2_dubber.joint.model import ADAPTER, JointStart

MODEL_FOLDER = "ltx2"
PHASE = "dub"


def save_lora_package(
    model: JointTransformer, start: JointStart, config: JointTrainingConfig, folder: Path
) -> None:
    """A package that refers to the same LTX-2 as the starting one, with the LoRA in the public format."""
    settings = start.opened.settings
    info = replace(
        start.opened.info,
        phase=PHASE,
        training=_record(config),
        joint=replace(settings, model=str(Path(settings.model).resolve()), speaks=_speaks(config)),
    )
    with atomic_dir(folder) as temporary:
        downscale = settings.conventions.reference_downscale
        write_lora(model.model, ADAPTER, downscale, temporary / LORA_FILE)
        _finish(temporary, start, info)


def save_model_package(
    model: JointTransformer, start: JointStart, config: JointTrainingConfig, folder: Path
) -> None:
    """A package that brings its LTX-2: the trained transformer, and the other parts of the starting one."""
    with atomic_dir(folder) as temporary:
        whole = temporary / MODEL_FOLDER
        for part in sorted(start.opened.model.iterdir()):
            if part.is_dir() and part.name != "transformer":
                shutil.copytree(part, whole / part.name)
        shutil.copyfile(start.opened.model / INDEX_FILE, whole / INDEX_FILE)
        model.model.save_pretrained(whole / "transformer")
        settings = replace(
            start.opened.settings,
            model=MODEL_FOLDER,
            fingerprint=folder_fingerprint(whole),
            speaks=_speaks(config),
        )
        info = replace(start.opened.info, phase=BASE_PHASE, training=_record(config), joint=settings)
        _finish(temporary, start, info)


def _speaks(config: JointTrainingConfig) -> bool:
    return config.joint.audio is TargetAudio.generated


def _finish(temporary: Path, start: JointStart, info: PackageInfo) -> None:
    shutil.copyfile(start.prompt_file, temporary / PROMPT_FILE)
    write_info(temporary, info)


def _record(config: JointTrainingConfig) -> dict[str, Any]:
    train = {name: value for name, value in asdict(config.train).items() if name != "output"}
    train["init_from"] = short_name(config.train.init_from)
    return {
        "train": train,
        "joint": asdict(config.joint),
        "shards": [short_name(s) for s in config.data.shards],
    }
