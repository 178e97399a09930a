"""Dubs of imported releases: by the command line, and by the converters without a package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from dub_clips import BOX, steady, write_clip, write_speech
from safetensors.torch import load_file
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.autoencoder.codec import VideoCodec
from common.media import read_frames
from common.models.convert import from_public_state_dict
from common.models.convert_vae import from_original_vae
from common.models.package import ModelPackage
from common.models.package_info import PackageInfo
from common.models.transformer import DubbingTransformer
from stage2_dubber.dub.pipeline import DubPipeline


def converted(network: Path, autoencoder: Path, statistics: Path) -> tuple[DubbingTransformer, VideoCodec]:
    """The networks of a release with two heads each, as tools/parity.py makes them."""
    config, state = from_public_state_dict(load_file(network), num_heads=2, audio_heads=2)
    transformer = DubbingTransformer(**config)
    transformer.load_state_dict(state)
    vae = from_original_vae(load_file(autoencoder), *load_file(statistics).values())
    return transformer.eval(), VideoCodec(vae)


def assert_package_dubs_as_parts(
    package: Path,
    info: PackageInfo,
    parts: tuple[DubbingTransformer, VideoCodec, Any],
    speech: Any,
    folder: Path,
) -> None:
    """A clip of two windows and a bit, dubbed by the command with ``package`` and in Python with its parts.

    Args:
        parts: transformer, autoencoder and the prompt's states.
        folder: where the clips are written.
    """
    video = write_clip(folder / "v.mkv", steady(18, 25), lossless=True)
    audio = write_speech(folder / "a.wav", 0.72)
    words = ["--video", video, "--audio", audio, "--output", folder / "o.mkv", "--lossless"]
    words += ["--model", package, "--dtype", "float32"]
    words += ["--box", ",".join(str(round(value)) for value in BOX)]
    done = CliRunner().invoke(app, ["dub", *map(str, words)])
    assert done.exit_code == 0, done.stderr
    output = folder / "direct.mkv"
    DubPipeline(ModelPackage(info, *parts, folder), speech)(
        video=video, audio=audio, output=output, box=BOX, lossless=True
    )
    dubbed, expected = read_frames(folder / "o.mkv"), read_frames(output)
    assert (dubbed != read_frames(video)).any()
    assert np.abs(dubbed.astype(int) - expected).max() <= 1  # rounding of the last float32 digits
    assert (dubbed != expected).mean() < 1e-3
