"""Train the small video autoencoder on folders of videos.

``python -m common.autoencoder.train --config configs/tiny.yaml autoencoder.folders=[DIR]
autoencoder.output=DIR``. Only the ``vae``, ``geometry`` and ``autoencoder`` sections matter here; the others
are accepted so that the files which describe a model serve this command unchanged.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.autoencoder.training import AutoencoderConfig, AutoencoderTrainer, describe_autoencoder
from common.command import run_configured
from common.config import ModelSections, TrainingSections


@dataclass
class AutoencoderRunConfig(TrainingSections, ModelSections):
    """Root of this command."""

    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)


def main(argv: Sequence[str] | None = None) -> int:
    about = "Train the small video autoencoder on folders of videos."
    return run_configured(AutoencoderRunConfig, run, description=about, argv=argv)


def run(config: AutoencoderRunConfig, dry_run: bool = False) -> None:
    """Train, or only print what the configuration amounts to."""
    size, frames = config.geometry.crop_size, config.geometry.clip_frames
    lines = describe_autoencoder(config.autoencoder, config.vae, size, frames)
    print("\n".join(lines), flush=True)
    if dry_run:
        return
    trainer = AutoencoderTrainer(config.autoencoder, config.vae, size, frames)
    trainer.run(report=lambda line: print(line, flush=True))


if __name__ == "__main__":
    sys.exit(main())
