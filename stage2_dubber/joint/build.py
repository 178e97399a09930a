"""Make a small LTX-2 to be trained from nothing, and a package of it.

``python -m stage2_dubber.joint.build --config configs/ltx2_tiny.yaml data.shards=[PAIRS] output=DIR``: the
autoencoders are fitted to the pairs, the transformer is fresh. It has no text encoder: its prompt is the same
for all clips, and means nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.ltx2 import LTX2TextConnectors

from common.command import run_configured
from common.data.config import DataConfig
from common.data.dataset import ShardDataset
from common.errors import UserError
from common.files import atomic_dir, write_json
from common.models.ltx2.block_codecs import PhaseVocoder
from common.models.ltx2.config import JointModelConfig
from common.models.ltx2.folder import folder_fingerprint, inspect_folder
from common.models.ltx2.fresh import fresh_transformer
from common.models.ltx2.index import INDEX_FILE, PIPELINE
from common.models.ltx2.package import PROMPT_FILE, check_joint_geometry
from common.models.ltx2.prompts import StoredPrompts, prompt_widths
from common.models.ltx2.roles import PromptStates
from common.models.package_info import BASE_PHASE, write_info
from stage2_dubber.importing.ltx2 import JointImportConfig, check_output, joint_info, joint_settings
from stage2_dubber.joint.fit import BlocksConfig, fit_codecs

MODEL_FOLDER = "ltx2"
PROMPT_TOKENS = 4
SEED = 0


@dataclass
class JointBuildConfig(JointImportConfig):
    """Root of ``python -m stage2_dubber.joint.build``."""

    model: JointModelConfig = field(default_factory=JointModelConfig)
    blocks: BlocksConfig = field(default_factory=BlocksConfig)
    data: DataConfig = field(default_factory=DataConfig)
    output: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    about = "Make a small LTX-2 to be trained from nothing."
    prog = "python -m stage2_dubber.joint.build"
    return run_configured(JointBuildConfig, run, prog=prog, description=about, argv=argv)


def run(config: JointBuildConfig, dry_run: bool = False) -> None:
    """Write the package, or only say what it would be.

    Raises:
        UserError: no output is named, the clips are none of LTX-2, or the guidance wants a negative prompt.
    """
    if not config.output:
        raise UserError("output is empty: name the folder of the package.")
    check_joint_geometry(config.geometry, 1)
    if config.joint.text_scale != 1:
        raise UserError(
            "joint.text_scale must be 1: a model that is made from nothing has no negative prompt."
        )
    dataset = ShardDataset(list(config.data.shards))
    with torch.device("meta"):
        count = sum(value.numel() for value in fresh_transformer(config.model).parameters())
    print(f"build: a transformer of {count:,} parameters, autoencoders fitted to {len(dataset)} pairs")
    if not dry_run:
        write_package(config, dataset)
        print(f"build: package in {config.output}", file=sys.stderr)


def write_package(config: JointBuildConfig, dataset: ShardDataset) -> None:
    """Write the package to ``config.output``, whole or not at all.

    Raises:
        UserError: the output exists and is no package, or the pairs cannot be used.
    """
    model, output = config.model, Path(config.output)
    check_output(output, overwrite=True)
    pairs = (dataset.sample(number) for number in range(len(dataset)))
    video, audio = fit_codecs(pairs, model.latent_channels, model.audio_channels, config.blocks)
    torch.manual_seed(SEED)
    parts = {
        "transformer": fresh_transformer(model),
        "vae": video,
        "audio_vae": audio,
        "vocoder": PhaseVocoder(),
        "connectors": _connectors(),
    }
    with atomic_dir(output) as temporary:
        folder = temporary / MODEL_FOLDER
        for name, part in parts.items():
            part.save_pretrained(folder / name)
        write_json(folder / INDEX_FILE, {"_class_name": PIPELINE})
        found = inspect_folder(folder)
        _prompts(found.transformer.config).save(temporary / PROMPT_FILE)
        fingerprint = folder_fingerprint(folder)
        settings = joint_settings(config, MODEL_FOLDER, fingerprint, found.version, 1, "")
        write_info(temporary, joint_info(config, settings, BASE_PHASE))


def _prompts(config: Any) -> StoredPrompts:
    """Constant states that mean nothing."""
    widths = prompt_widths(config)
    return StoredPrompts(PromptStates(*(torch.randn(1, PROMPT_TOKENS, width) for width in widths)))


def _connectors() -> LTX2TextConnectors:
    """The smallest ones: the folder of an LTX-2 has them, and nothing here computes states."""
    sizes = {
        f"{name}_connector_{size}": value
        for name in ("video", "audio")
        for size, value in (("num_attention_heads", 1), ("attention_head_dim", 8), ("num_layers", 1))
    }
    return LTX2TextConnectors(caption_channels=8, text_proj_in_factor=2, **sizes)


if __name__ == "__main__":
    sys.exit(main())
