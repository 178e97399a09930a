"""From checked sources to a model package that is whole or absent."""

from __future__ import annotations

import errno
import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from common.autoencoder.codec import autoencoder_fingerprint
from common.errors import UserError
from common.files import fingerprint, publish_dir, require_writable_dir, sampled_digest
from common.models.package_info import (
    CONTEXT_FILE,
    METADATA_FILE,
    SPEECH_FOLDER,
    PackageInfo,
    read_info,
    write_info,
)
from common.models.shards import plan_shards, write_shards
from common.models.stored import open_folder
from common.speech.build import speech_fingerprint
from stage2_dubber.importing.config import PackageConfig
from stage2_dubber.importing.sources import Given, Sources

STAGE = 2
Told = Callable[[str, float, float | None], None]
"""Called with the part, the megabytes written of it, and its megabytes."""


def plan_lines(sources: Sources, config: PackageConfig, shard_size: str) -> list[str]:
    """What an import would write, for people."""
    model = sources.part("transformer").facts
    keys = ("dim", "num_heads", "num_layers", "ffn_dim", "text_dim", "latent_channels", "audio_channels")
    lines = [f"{sources.phase} model: " + ", ".join(f"{key} {model[key]}" for key in keys)]
    for part in sources.parts:
        files, _ = plan_shards(part.entries, part.stem, shard_size)
        lines.append(
            f"{part.folder}: {len(part.entries)} tensors, {part.size / 1e9:.3f} GB, {len(files)} files"
        )
    geometry, sampling = config.geometry, config.diffusion
    lines.append(f"context: {sources.context.text}")
    lines.append(f"speech: {sources.speech.encoder}, {sources.speech.channels} channels")
    lines.append(
        f"clips: {geometry.clip_frames} frames of {geometry.crop_size} pixels at {geometry.fps:g} fps"
    )
    lines.append(
        f"sampling: {sampling.num_steps} steps, shift {sampling.shift:g}, guidance "
        f"{sampling.reference_scale:g} / {sampling.audio_scale:g}"
    )
    return lines


def import_package(
    sources: Sources,
    config: PackageConfig,
    given: Given,
    output: Path,
    shard_size: str = "5GB",
    overwrite: bool = False,
    told: Told | None = None,
) -> bool:
    """Write the package of ``sources`` to ``output``; False where it is there already.

    Memory holds pieces of single tensors, and one block of the text encoder. What is left of an import that
    was killed is removed by the next one.

    Raises:
        UserError: ``output`` holds something else and ``overwrite`` is not set, another import writes there,
            the disk is full, or a tensor's values do not fit; nothing is left then.
    """
    mark = _mark(sources, config, given, shard_size)
    if _is_there(output, mark, overwrite):
        return False
    with _staged(output, sources) as folder, _disk_errors(output):
        save_file({"context": sources.context.make().contiguous()}, folder / CONTEXT_FILE)
        for part in sources.parts:
            write_shards(
                folder / part.folder,
                part.entries,
                part.stem,
                shard_size,
                _counter(part.folder, part.size, told),
            )
            part.save_config(folder / part.folder)
        write_info(folder, _info(sources, config, folder, mark))
    return True


def _info(sources: Sources, config: PackageConfig, folder: Path, mark: str) -> PackageInfo:
    vae = sources.part("vae")
    stored = open_folder(folder / vae.folder, vae.stem)
    pieces = ((name, tensor.pieces()) for name, tensor in sorted(stored.items()))
    placed = replace(sources.speech, path=str(folder / SPEECH_FOLDER))
    return PackageInfo(
        stage=STAGE,
        phase=sources.phase,
        geometry=config.geometry,
        speech=sources.speech,
        diffusion=config.diffusion,
        speech_fingerprint=speech_fingerprint(placed),
        vae_fingerprint=autoencoder_fingerprint(vae.facts, pieces),
        conventions=sources.conventions,
        training={"imported": {"mark": mark, "files": sorted({file.name for file in sources.files})}},
    )


def _mark(sources: Sources, config: PackageConfig, given: Given, shard_size: str) -> str:
    """Equal for equal files, options and conventions."""
    options: dict[str, Any] = {
        "config": asdict(config),
        "dtype": str(given.dtype),
        "shard_size": shard_size,
        # A package of before these were known is another one.
        "conventions": asdict(sources.conventions),
        # Not among the files of the parts: numbers that end up in a configuration.
        "statistics": [list(sources.part("vae").facts[key]) for key in ("latents_mean", "latents_std")],
    }
    return fingerprint([options, sampled_digest(sources.files)])


def _is_there(output: Path, mark: str, overwrite: bool) -> bool:
    if not output.exists() or overwrite:
        if output.is_file() or (output.is_dir() and any(output.iterdir()) and not _is_package(output)):
            raise UserError(f"The output '{output}' is no model package: it is not replaced; choose another.")
        return False
    if output.is_dir() and not any(output.iterdir()):
        return False
    if _is_package(output) and read_info(output).training.get("imported", {}).get("mark") == mark:
        return True
    raise UserError(
        f"The output '{output}' exists and was not imported from these files with these options: choose "
        "another folder or give --overwrite."
    )


def _is_package(folder: Path) -> bool:
    return (folder / METADATA_FILE).is_file()


@contextmanager
def _staged(output: Path, sources: Sources) -> Iterator[Path]:
    """A folder beside ``output`` that becomes it at the end. Its name is known, so that the next import finds
    what a killed one left."""
    output = output.absolute()
    parent = require_writable_dir(output.parent)
    needed, free = sum(part.size for part in sources.parts), shutil.disk_usage(parent).free
    if needed > free:
        raise UserError(
            f"The disk of '{parent}' has {free / 1e9:.1f} GB free, the package takes {needed / 1e9:.1f} GB: "
            "free some or choose another folder."
        )
    staging, lock = parent / f".part-{output.name}.import", parent / f".part-{output.name}.lock"
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"Another import is writing '{output}': wait for it.") from error
        try:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            yield staging
            publish_dir(staging, output)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            lock.unlink(missing_ok=True)


@contextmanager
def _disk_errors(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"The disk of '{output}' is full: free some space and start again.") from error
        raise


def _counter(name: str, size: int, told: Told | None) -> Callable[[int], None] | None:
    if told is None:
        return None
    done = 0

    def count(written: int) -> None:
        nonlocal done
        done += written
        told(name, done / 1e6, size / 1e6)

    return count


def load_dtype(name: str) -> torch.dtype | None:
    """The number format that a word of the command line means; None for "auto"."""
    return {
        "auto": None,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
        "float32": torch.float32,
    }[name]
