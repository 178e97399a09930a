"""Train the small video autoencoder on folders of videos.

``python -m stage1_generator.train_autoencoder --config configs/tiny.yaml autoencoder.folders=[DIR]
autoencoder.output=DIR``. Only the ``vae``, ``geometry`` and ``autoencoder`` sections matter here; the others
are accepted so that the files which describe a model serve this command unchanged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.config import (
    DataConfig,
    DiffusionConfig,
    FaceConfig,
    GeometryConfig,
    ModelConfig,
    SpeechConfig,
    TrainConfig,
    VaeConfig,
    add_config_arguments,
    load_config,
    parse_config_arguments,
)
from common.errors import UserError
from common.training.autoencoder import AutoencoderConfig, AutoencoderTrainer, describe_autoencoder


@dataclass
class AutoencoderRunConfig:
    """Root of this command."""

    vae: VaeConfig = field(default_factory=VaeConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)
    face: FaceConfig = field(default_factory=FaceConfig)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train the small video autoencoder on folders of videos.")
    add_config_arguments(parser)
    try:
        args = parse_config_arguments(parser, argv)
        config = load_config(AutoencoderRunConfig, args.config, args.overrides)
        size, frames = config.geometry.crop_size, config.geometry.clip_frames
        lines = describe_autoencoder(config.autoencoder, config.vae, size, frames)
        print("\n".join(lines), flush=True)
        if args.dry_run:
            return 0
        trainer = AutoencoderTrainer(config.autoencoder, config.vae, size, frames)
        trainer.run(report=lambda line: print(line, flush=True))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
