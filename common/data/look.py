"""Look at shards: ``python -m common.data.look SHARDS --output DIR [--count N] [--decode --vae FOLDER]``.

Prints what the shards hold and writes a contact sheet per sample: the stored frames and, with --decode, what
the cached latents decode to, with the PSNR between the two.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.data.dataset import ShardDataset
from common.data.schema import CACHE, SOURCE, TARGET, Sample
from common.data.summary import describe_cache, describe_index, describe_shapes, spread
from common.errors import EXIT_CODE, UserError
from common.files import require_writable_dir
from common.media import contact_sheet
from common.psnr import psnr

if TYPE_CHECKING:
    from common.autoencoder.codec import VideoCodec

Rows = list[tuple[str, np.ndarray]]

# Cached latents, and the stored video that they are of; masked latents have none.
_VIDEO_OF = {"target_latents": TARGET, "source_latents": SOURCE, "masked_latents": ""}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m common.data.look", description=__doc__)
    parser.add_argument("shards", nargs="+", help="shard folders or their index.json")
    parser.add_argument("--output", required=True, help="folder for the contact sheets")
    parser.add_argument("--count", type=int, default=4, help="samples to look at, evenly spread (default 4)")
    parser.add_argument("--decode", action="store_true", help="decode the cached latents, too")
    parser.add_argument("--vae", default="", help="folder of the autoencoder that made the latents")
    options = parser.parse_args(argv)
    try:
        look(options.shards, Path(options.output), options.count, options.vae if options.decode else None)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    return 0


def look(shards: Sequence[str], output: Path, count: int = 4, vae: str | None = None) -> list[Path]:
    """Print what ``shards`` hold and write sheets of ``count`` samples; returns the sheets.

    Args:
        vae: folder of the autoencoder to decode with; None: nothing is decoded.

    Raises:
        UserError: shards are missing or damaged, or the latents were made by another autoencoder.
    """
    if count < 1:
        raise UserError(f"--count is {count}; look at one sample at least.")
    dataset = ShardDataset(list(shards))
    codec = None if vae is None else _open_codec(vae, dataset)
    for index in dataset.indices:
        print("\n".join(describe_index(index)))
    print("\n".join(describe_shapes(dataset)))
    require_writable_dir(output)
    sheets = []
    for number in spread(len(dataset), count):
        sample = dataset.sample(number)
        print(f"{sample.key}: {sample.meta}")
        print("\n".join(describe_cache(sample)))
        rows = _stored(sample) + (_decoded(sample, codec) if codec is not None else [])
        if rows:
            sheets.append(output / f"{number:06d}-{sample.key}.png")
            contact_sheet(rows, sheets[-1])
            print(f"  -> {sheets[-1]}")
    return sheets


def _open_codec(folder: str, dataset: ShardDataset) -> VideoCodec:
    from common.autoencoder.codec import VideoCodec, load_vae

    if not folder:
        raise UserError("--decode needs --vae: name the folder of the autoencoder that made the latents.")
    codec = VideoCodec(load_vae(folder))
    for index in dataset.indices:
        found = index.meta.get("vae")
        if found != codec.fingerprint:
            raise UserError(
                f"The latents in '{index.folder}' were made by the autoencoder {found}, '{folder}' is "
                f"{codec.fingerprint}: name the one that made them with --vae."
            )
    return codec


def _stored(sample: Sample) -> Rows:
    rows: Rows = []
    if sample.has(TARGET):
        rows.append(("target", sample.target))
    if sample.has(SOURCE):
        rows.append(("source", sample.source))
    return rows


def _decoded(sample: Sample, codec: VideoCodec) -> Rows:
    from common.autoencoder.pixels import to_frames

    if not sample.has(CACHE):
        raise UserError(f"The sample {sample.key} has no cache to decode: leave --decode away.")
    rows: Rows = []
    for name, member in _VIDEO_OF.items():
        if name not in sample.cache:
            continue
        frames = to_frames(codec.decode(sample.cache[name][None])[0])
        label = f"{name} decoded"
        if member and sample.has(member):
            stored = sample.target if member == TARGET else sample.source
            label += f", {psnr(frames, stored):.1f} dB"
            print(f"  {label}")
        rows.append((label, frames))
    if "reference_latents" in sample.cache:
        stills = codec.decode(sample.cache["reference_latents"])
        rows.append(("reference_latents decoded", to_frames(stills)[:, 0]))
    return rows


if __name__ == "__main__":
    sys.exit(main())
