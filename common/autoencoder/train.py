"""Train the small video autoencoder on folders of videos.

``python -m common.autoencoder.train --config configs/tiny_autoencoder.yaml autoencoder.folders=[DIR]
autoencoder.output=DIR``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.autoencoder.config import AutoencoderRunConfig
from common.autoencoder.training import AutoencoderTrainer, describe_autoencoder
from common.command import run_configured


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
