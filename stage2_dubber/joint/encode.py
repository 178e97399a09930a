"""Encode pairs of stage 1 for LTX-2: shards of the latents and tokens that its training reads.

``python -m stage2_dubber.joint.encode data.shards=[PAIRS] package=PACKAGE output=DIR``, where PACKAGE is of
``bootdub import-ltx2``. Pairs need their videos (``pack`` stores them); longer ones give several windows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, repeat
from pathlib import Path

import torch
from torch import Tensor

from common.checks import at_least
from common.command import run_configured
from common.data.clips import clip_key, clip_starts
from common.data.config import DataConfig
from common.data.dataset import ShardDataset
from common.data.schema import Sample, encode_sample
from common.data.writer import ShardWriter
from common.errors import UserError
from common.files import fingerprint, remove_partial
from common.geometry import GeometryConfig
from common.models.ltx2.package import load_joint_codecs, open_joint_package
from common.models.ltx2.positions import JointClip
from common.models.ltx2.prompts import encode_prompts, require_text_parts
from common.parallel import run_ahead
from common.progress import StepProgress
from stage2_dubber.joint.tokens import AUDIO_PROMPT, CAPTION, PROMPT, PairEncoder, shard_marks


@dataclass
class JointEncodeConfig:
    """Root of ``python -m stage2_dubber.joint.encode``."""

    package: str = ""  # of LTX-2: its autoencoders, and the clips that it takes
    output: str = ""
    stride: int = 0  # frames from one window's start to the next; 0: those of a window
    samples_per_shard: int = 256
    captions: bool = False
    """What `caption` in the meta of each pair says is its prompt, whose states the model's text encoder
    computes; else all have the package's."""
    data: DataConfig = field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        at_least("stride", self.stride, 0)
        at_least("samples_per_shard", self.samples_per_shard, 1)


def main(argv: Sequence[str] | None = None) -> int:
    about = "Encode pairs of stage 1 for LTX-2."
    prog = "python -m stage2_dubber.joint.encode"
    return run_configured(JointEncodeConfig, run, prog=prog, description=about, argv=argv)


def run(config: JointEncodeConfig, dry_run: bool = False) -> None:
    """Write the shards, or only say how many windows there are.

    Raises:
        UserError: a folder is not named, missing or of another kind, or no pair fills a window.
    """
    for name in ("package", "output"):
        if not getattr(config, name):
            raise UserError(f"{name} is empty: name a folder.")
    dataset = ShardDataset(list(config.data.shards))
    opened = open_joint_package(Path(config.package))
    geometry = opened.info.geometry
    windows = plan_windows(dataset, geometry, config.stride)
    if not windows:
        raise UserError(
            f"No pair of data.shards has the {geometry.clip_frames} frames of a window of {config.package}: "
            "make longer pairs (pairs.clip_frames)."
        )
    if config.captions:
        require_text_parts(opened.model)
        _captions(dataset, windows)
    print(f"encode: {len(dataset)} pairs -> {len(windows)} windows of {geometry.clip_frames} frames")
    if dry_run:
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    side = geometry.crop_size
    encoder = PairEncoder(
        JointClip(geometry.clip_frames, side, side, geometry.fps),
        *load_joint_codecs(opened.model, device),
        opened.settings.conventions.reference_downscale,
    )
    marks = {
        "step": "encode",
        **shard_marks(opened),
        "content": fingerprint([[shard.sha256 for shard in index.shards] for index in dataset.indices]),
        "config": fingerprint(
            [geometry, encoder.downscale, config.stride, *(["captions"] if config.captions else [])]
        ),
    }
    output = Path(config.output)
    remove_partial(output)
    with ShardWriter(output, "joint", config.samples_per_shard, marks) as writer:
        todo = windows[writer.resume([window.key for window in windows]) :]
        progress = StepProgress("encode", len(todo))
        prompts: Iterator[dict[str, Tensor]] = repeat({})
        if config.captions:
            prompts = _prompts(opened.model, _captions(dataset, todo))
        for window, sample in run_ahead(partial(_read, dataset), todo):
            meta = {**sample.meta, "frames": geometry.clip_frames, "window": window.start}
            cache = {**encoder.encode(sample, window.start), **next(prompts)}
            writer.add(window.key, encode_sample(meta, cache=cache))
            progress.step(geometry.clip_frames)
    print(f"encode: {len(windows)} windows -> {output}", file=sys.stderr)


@dataclass(frozen=True)
class PairWindow:
    """A window of pair ``number``, from its frame ``start`` on."""

    key: str
    number: int
    start: int


def plan_windows(dataset: ShardDataset, geometry: GeometryConfig, stride: int) -> list[PairWindow]:
    """All windows of all pairs. Raises UserError where a pair has another size or rate than ``geometry``."""
    windows = []
    for number in range(len(dataset)):
        sample = dataset.sample(number)
        found = float(sample.meta["fps"]), int(sample.meta["crop_size"])
        if found != (geometry.fps, geometry.crop_size):
            raise UserError(
                f"The pair {sample.key} has {found[1]} pixels at {found[0]:g} frames per second, the package "
                f"takes {geometry.crop_size} at {geometry.fps:g}: make the pairs with that geometry."
            )
        for start in clip_starts(int(sample.meta["frames"]), geometry.clip_frames, stride):
            windows.append(PairWindow(clip_key(sample.key, start), number, start))
    return windows


def _captions(dataset: ShardDataset, windows: Sequence[PairWindow]) -> list[str]:
    """Of each window. Raises UserError where a pair has none."""
    found = []
    for window in windows:
        sample = dataset.sample(window.number)
        caption = str(sample.meta.get(CAPTION, "")).strip()
        if not caption:
            raise UserError(
                f"The pair {sample.key} has no caption in its meta: write one, or set captions=false."
            )
        found.append(caption)
    return found


def _prompts(model: Path, captions: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """The states of each caption; those of neighbours that are equal are computed once."""
    runs = [(caption, len(list(group))) for caption, group in groupby(captions)]
    states = encode_prompts(model, [caption for caption, _ in runs])
    for (_, count), one in zip(runs, states, strict=True):
        named = {PROMPT: one.video[0].to(torch.bfloat16), AUDIO_PROMPT: one.audio[0].to(torch.bfloat16)}
        yield from repeat(named, count)


def _read(dataset: ShardDataset, window: PairWindow) -> tuple[PairWindow, Sample]:
    """The sample of a window with its videos decoded, ahead of the networks."""
    sample = dataset.sample(window.number)
    _ = sample.target, sample.source, sample.audio
    return window, sample


if __name__ == "__main__":
    sys.exit(main())
