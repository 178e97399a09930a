"""How much of a source's sound and lips gets into dubs of LTX-2, on rendered characters whose truth is known.

``python tools/leak_ltx2.py --clips DIR --model PACKAGE --output FILE [--audio generated]
[--reference-audio] [--mask none]``. DIR holds what ``python -m common.rendered --pairs`` wrote: clip a is the
source, clip b the truth.
Windows are made one by one, from noise; nothing is composited.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evaluate_rendered import HeldOutCharacter, correlation, load_case
from numpy.typing import NDArray
from torch import Tensor

from common.diffusion.joint import JointGuidance, joint_sigmas, sample_joint
from common.errors import EXIT_CODE, UserError
from common.files import read_json, write_json
from common.media import load_audio
from common.models.ltx2.codecs import mel_frames
from common.models.ltx2.conventions import CrossMask
from common.models.ltx2.inputs import ClipParts
from common.models.ltx2.package import JointPackage, load_joint_package
from common.models.ltx2.positions import JointClip
from common.rendered.measure import opening_curves
from common.speech.joint_mel import JointMelEncoder, mel_window


@dataclass(frozen=True)
class Leak:
    """Of one character; r: Pearson, over all windows.

    lips_of_speech, lips_of_source: mouth openings of the result with those of the truth, and of the source.
    lips_of_made_sound: with the loudness of the sound that was made, where one was made. sound_of_source,
    sound_of_truth: loudness of that sound with the source's and with the truth's.
    """

    name: str
    lips_of_speech: float
    lips_of_source: float
    lips_of_made_sound: float | None
    sound_of_source: float | None
    sound_of_truth: float | None


@dataclass(frozen=True)
class Task:
    """What is asked of the model."""

    generated: bool
    reference_audio: bool
    steps: int


def measure(package: JointPackage, folder: Path, name: str, task: Task) -> Leak:
    """Dub clip a of one character with the speech of clip b, window by window."""
    geometry = package.info.geometry
    case = load_case(folder, name, geometry.crop_size, geometry.crop_scale)
    source_sound = load_audio(folder / read_json(folder / f"{name}.json")["clips"]["a"]["video"])
    frames = geometry.clip_frames
    starts = range(0, len(case.source) - frames + 1, frames)
    mels = [JointMelEncoder().encode(sound) for sound in (case.speech, source_sound)]
    pictures, made_sound, sounds = [], [], ([], [])  # type: ignore[var-annotated]
    for start in starts:
        clip = JointClip(frames, geometry.crop_size, geometry.crop_size, geometry.fps)
        windows = [mel_window(mel, start / geometry.fps, mel_frames(clip.audio_tokens)) for mel in mels]
        tokens = [package.audio_codec.encode(torch.from_numpy(mel).expand(1, 2, -1, -1)) for mel in windows]
        video, sound = _dubbed(package, clip, case.source[start : start + frames], tokens, task)
        pictures.append(video)
        if task.generated:
            made = package.audio_codec.decode(sound)[0].mean(dim=0).numpy()
            made_sound.append(_loudness(made))
            for kept, mel in zip(sounds, windows, strict=True):
                kept.append(_loudness(mel))
    return _compared(case, np.concatenate(pictures), made_sound, sounds, name)


def _dubbed(
    package: JointPackage, clip: JointClip, source: NDArray[np.uint8], tokens: list[Tensor], task: Task
) -> tuple[NDArray[np.uint8], Tensor]:
    noise = torch.Generator().manual_seed(0)
    reference = package.codec.encode_frames(source[None])
    speech, source_sound = tokens
    parts = ClipParts(
        clip,
        torch.randn(reference.shape, generator=noise),
        0,
        torch.randn(speech.shape, generator=noise) if task.generated else speech,
        not task.generated,
        reference,
        source_sound if task.reference_audio else None,
    )
    inputs = parts.inputs(package.transformer, package.prompts.positive, torch.ones(1))
    with torch.no_grad():
        made = sample_joint(package.transformer, inputs, joint_sigmas(task.steps).tolist(), JointGuidance())
    return package.codec.decode_frames(parts.latents(made))[0], parts.sound(made)


def _compared(
    case: HeldOutCharacter,
    made: NDArray[np.uint8],
    made_sound: list[NDArray[Any]],
    sounds: tuple[list[NDArray[Any]], list[NDArray[Any]]],
    name: str,
) -> Leak:
    (curve,) = opening_curves(case.scene, [list(made)], case.matrices)
    truth, source = case.opening_truth[: len(curve)], case.opening_source[: len(curve)]
    if not made_sound:
        return Leak(name, correlation(curve, truth), correlation(curve, source), None, None, None)
    loudness, spoken, heard = (np.concatenate(rows) for rows in (made_sound, *sounds))
    return Leak(
        name,
        correlation(curve, truth),
        correlation(curve, source),
        correlation(curve, _per_frame(loudness, len(curve))),
        correlation(loudness, heard),
        correlation(loudness, spoken),
    )


def _loudness(mel: NDArray[Any]) -> NDArray[Any]:
    """(T, bands) of logarithms -> (T,)."""
    means: NDArray[Any] = mel.mean(axis=1)
    return means


def _per_frame(loudness: NDArray[Any], frames: int) -> NDArray[Any]:
    places = np.linspace(0, len(loudness) - 1, frames)
    return np.asarray(np.interp(places, np.arange(len(loudness)), loudness))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure what leaks from a source into dubs of LTX-2.")
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--audio", choices=("given", "generated"), default="given")
    parser.add_argument("--reference-audio", action="store_true", help="the source's sound is heard")
    parser.add_argument("--mask", choices=[mask.value for mask in CrossMask], help="instead of the package's")
    parser.add_argument("--num-steps", type=int, default=12)
    words = parser.parse_args(argv)
    task = Task(words.audio == "generated", words.reference_audio, words.num_steps)
    try:
        package = load_joint_package(words.model)
        if words.mask:
            conventions = package.transformer.conventions
            package.transformer.conventions = replace(conventions, mask=CrossMask(words.mask))
        names = sorted(p.stem for p in words.clips.glob("*.json") if "b" in read_json(p).get("clips", {}))
        if not names:
            raise UserError(f"{words.clips}: holds no rendered pair; make some with common.rendered --pairs.")
        rows = [asdict(measure(package, words.clips, name, task)) for name in names]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    means = {
        key: float(np.mean([row[key] for row in rows]))
        for key, value in rows[0].items()
        if isinstance(value, float)
    }
    write_json(words.output, {"means": means, "clips": rows})
    print("  ".join(f"{key} {value:.2f}" for key, value in means.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
