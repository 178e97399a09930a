"""What a training of LTX-2 starts from, and which of its layers are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from diffusers.training_utils import cast_training_params
from peft import LoraConfig

from common.arithmetic import resolve_precision
from common.errors import UserError
from common.files import fingerprint, sha256_file
from common.models.ltx2.conventions import JointConventions
from common.models.ltx2.folder import load_joint_transformer
from common.models.ltx2.lora import attach_lora, read_lora
from common.models.ltx2.package import LORA_FILE, PROMPT_FILE, OpenedPackage, open_joint_package
from common.models.ltx2.transformer import JointTransformer
from stage2_dubber.joint.config import JointTaskConfig, JointTrainingConfig

ADAPTER = "dub"
AUDIO_BRANCH = ("audio_attn", "audio_ff")
"""In names of layers whose adapters learn at ``train.audio_learning_rate`` (JUST-DUB-IT): the self-attention
of the sound, what it sees of the pictures, and its feed-forward layers."""


@dataclass(frozen=True)
class JointStart:
    """A checked package that training starts from; no weights of the model are loaded."""

    folder: Path
    opened: OpenedPackage
    model_config: Any

    @property
    def prompt_file(self) -> Path:
        return self.folder / PROMPT_FILE

    @property
    def lora(self) -> Path | None:
        """The adapter that training goes on with."""
        file = self.folder / LORA_FILE
        return file if file.is_file() else None

    @property
    def fingerprint(self) -> str:
        """Identifies the frozen weights, the prompt and the adapter."""
        own = [sha256_file(file) for file in (self.prompt_file, self.lora) if file is not None]
        return fingerprint([self.opened.settings.fingerprint, *own])


def load_joint_start(config: JointTrainingConfig) -> JointStart:
    """Open ``train.init_from``.

    Raises:
        UserError: it is no package of LTX-2, or another model or other clips than the configuration says.
    """
    if not config.train.init_from:
        raise UserError(
            "train.init_from is empty: name a package of LTX-2, which `bootdub import-ltx2` makes, or for a "
            "small model `python -m stage2_dubber.joint.build`."
        )
    folder = Path(config.train.init_from)
    opened = open_joint_package(folder)
    found: Any = LTX2VideoTransformer3DModel.load_config(opened.model / "transformer")
    for name, value in config.model.arguments().items():
        if found[name] != value:
            raise UserError(
                f"{folder}: the model has {name} {found[name]}, the configuration says {value}: choose the "
                "size that fits (configs/ltx2_*.yaml)."
            )
    if opened.info.geometry != config.geometry:
        raise UserError(
            f"{folder}: the package takes clips of {opened.info.geometry}, the configuration says "
            f"{config.geometry}: make them equal."
        )
    start = JointStart(folder, opened, _Fields(found))
    if start.lora is not None and not config.joint.lora_rank:
        raise UserError(
            f"{folder}: the package has a LoRA, which will not fit once all parameters are trained: start "
            "from one without, or set joint.lora_rank."
        )
    return start


def starting_transformer(start: JointStart, config: JointTrainingConfig) -> JointTransformer:
    """The transformer with ``requires_grad`` on what is trained.

    Below a LoRA the frozen weights have the precision of the arithmetic, unless they are split over the
    processes, which wants one format for all.

    Raises:
        UserError: the package has a LoRA of another rank or other layers, or a target names no layer.
    """
    task, train = config.joint, config.train
    conventions = training_conventions(start.opened.settings.conventions, task)
    narrow = task.lora_rank and train.sharding == "ddp"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = resolve_precision(train.mixed_precision, device) if narrow else torch.float32
    transformer = load_joint_transformer(start.opened.model / "transformer", conventions, dtype)
    if task.lora_rank:
        add_lora(transformer.model, task, start.lora)
    else:
        transformer.requires_grad_(True)
    if train.gradient_checkpointing:
        transformer.model.enable_gradient_checkpointing()
    return transformer


def training_conventions(conventions: JointConventions, task: JointTaskConfig) -> JointConventions:
    """Those of the package, with the mask of the training."""
    return replace(conventions, mask=task.mask)


def add_lora(model: LTX2VideoTransformer3DModel, task: JointTaskConfig, lora: Path | None = None) -> None:
    """Give ``model`` a trainable adapter in float32, fresh or that of the file ``lora``; all else is frozen.

    Its scale is 1, as public files mean it.

    Raises:
        UserError: the file fits no such adapter, or a target names no layer.
    """
    _check_targets(model, task.lora_targets)
    rank = task.lora_rank
    model.requires_grad_(False)
    if lora is None:
        model.add_adapter(_lora_config(task), ADAPTER)
    else:
        read = read_lora(lora, model)
        ranks = {tensor.shape[0] for name, tensor in read.tensors.items() if ".lora_A." in name}
        if ranks != {rank}:
            raise UserError(
                f"{lora}: the LoRA has rank {', '.join(map(str, sorted(ranks)))}, the configuration says "
                f"{rank}: set joint.lora_rank."
            )
        attach_lora(model, read, ADAPTER)
        for name, value in model.named_parameters():
            value.requires_grad_(".lora_" in name)
    cast_training_params(model, torch.float32)


def _lora_config(task: JointTaskConfig) -> LoraConfig:
    rank = task.lora_rank
    return LoraConfig(r=rank, lora_alpha=rank, target_modules=list(task.lora_targets))


def audio_branch(name: str) -> bool:
    """Whether a parameter belongs to the audio branch's own layers."""
    return any(part in name for part in AUDIO_BRANCH)


def _check_targets(model: LTX2VideoTransformer3DModel, targets: Sequence[str]) -> None:
    names = [name for name, _ in model.named_modules()]
    for target in targets:
        if not any(name.endswith(f".{target}") for name in names):
            raise UserError(f"joint.lora_targets: no layer of LTX-2 is called {target!r}; correct the name.")


class _Fields:
    """A configuration by attributes."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.__dict__.update(content)
