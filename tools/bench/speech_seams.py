"""How far speech features of a long recording are from those of a single pass, at the seams and elsewhere.

    python tools/bench/speech_seams.py --speech PACKAGE/speech --audio talk.wav [--json]

The single pass: wav2vec2 over the whole recording, and Whisper with its sinusoidal positions continued beyond
30 s, the only part of it that ends there. Per way of chunking and network it prints

- error: RMS difference to the single pass over the RMS of its features, within half a second of a seam and
  elsewhere. What both have in common is the positions, which start again in every window;
- jump: the step from one feature to the next at the seams over the median step of the recording. 1: no seam.

Seams are where the hard windows of the release meet. Without --speech, random toy networks with
windows of 6 s are measured. The last line is JSON with --json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model, WhisperConfig, WhisperModel
from transformers.models.whisper.modeling_whisper import sinusoids

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # also runs from a checkout that is not installed
    sys.path.insert(0, str(ROOT))

from common.errors import EXIT_CODE, UserError  # noqa: E402
from common.files import require_file  # noqa: E402
from common.media import SAMPLE_RATE, load_audio  # noqa: E402
from common.speech.base import Features, feature_count  # noqa: E402
from common.speech.pretrained import PretrainedEncoder  # noqa: E402

NEAR = 25  # features on each side of a seam
TOY_WINDOW = 300
TOY_SECONDS = 20.0


def measure_seams(speech: Path, audio: np.ndarray) -> dict[str, dict[str, float]]:
    """Numbers by "chunking network": ``seam_error``, ``error`` and ``jump``, see above.

    Raises:
        UserError: there are no networks in ``speech``, or the recording fits into one window.
    """
    whisper = WhisperModel.from_pretrained(speech / "whisper", local_files_only=True)
    window, width = whisper.config.max_source_positions, whisper.config.d_model
    count = feature_count(len(audio))
    if count <= window:
        raise UserError(f"The recording fits into one window of {window / 50:g} s: give a longer one.")
    with one_pass_folder(speech, whisper, count) as folder:
        single = PretrainedEncoder(folder, chunking="release").encode(audio)
    seams = np.arange(window, count, window)
    results = {}
    for chunking in ("release", "overlap"):
        features = PretrainedEncoder(speech, chunking=chunking).encode(audio)
        for name, channels in {"whisper": slice(0, width), "wav2vec2": slice(width, None)}.items():
            results[f"{chunking} {name}"] = compare(features[:, channels], single[:, channels], seams)
    return results


def compare(features: Features, single: Features, seams: np.ndarray) -> dict[str, float]:
    """Features (T, C) against those of a single pass; ``seams``: first features of later windows."""
    error = np.square(features - single).mean(axis=1)
    scale = np.square(single).mean()
    near = np.abs(np.arange(len(features))[:, None] - seams).min(axis=1) < NEAR
    steps = np.sqrt(np.square(np.diff(features, axis=0)).mean(axis=1))
    return {
        "seam_error": float(np.sqrt(error[near].mean() / scale)),
        "error": float(np.sqrt(error[~near].mean() / scale)),
        "jump": float(steps[seams - 1].mean() / np.median(steps)),
    }


@contextmanager
def one_pass_folder(speech: Path, whisper: WhisperModel, count: int) -> Iterator[Path]:
    """A folder of the same networks in which Whisper has ``count`` positions."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "wav2vec2").symlink_to((speech / "wav2vec2").resolve())
        encoder = whisper.get_encoder()
        encoder.embed_positions = torch.nn.Embedding.from_pretrained(sinusoids(count, whisper.config.d_model))
        whisper.config.max_source_positions = encoder.config.max_source_positions = count
        whisper.save_pretrained(folder / "whisper")
        yield folder


def write_toy(folder: Path, seed: int = 0) -> None:
    """Random networks with windows of 6 s, in which the sound counts for more than the positions do."""
    torch.manual_seed(seed)
    whisper = WhisperConfig(
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_layers=0,
        decoder_attention_heads=1,
        num_mel_bins=80,
        max_source_positions=TOY_WINDOW,
        vocab_size=8,
        max_target_positions=4,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=0,
    )
    wav2vec2 = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    model = WhisperModel(whisper)
    for convolution in (model.get_encoder().conv1, model.get_encoder().conv2):
        torch.nn.init.normal_(convolution.weight, std=10 / convolution.weight[0].numel() ** 0.5)
    model.save_pretrained(folder / "whisper")
    Wav2Vec2Model(wav2vec2).save_pretrained(folder / "wav2vec2")


def toy_speech(seconds: float = TOY_SECONDS, seed: int = 0) -> np.ndarray:
    """Noise whose loudness follows syllables and pauses: (samples,) float32 at 16 kHz."""
    random = np.random.default_rng(seed)
    clock = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    loudness = np.clip(np.sin(2 * np.pi * 2.3 * clock) + 0.6 * np.sin(2 * np.pi * 0.31 * clock), 0.02, None)
    return (0.2 * loudness * random.normal(size=len(clock))).astype(np.float32)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.speech is None:
        with tempfile.TemporaryDirectory() as folder:
            write_toy(Path(folder))
            return measure_seams(Path(folder), toy_speech())
    if arguments.audio is None:
        raise UserError("--speech needs --audio: a recording of more than 30 s.")
    return measure_seams(arguments.speech, load_audio(require_file(arguments.audio, "recording")))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Seams of long recordings against a single pass.")
    parser.add_argument("--speech", type=Path, help="folder with whisper/ and wav2vec2/")
    parser.add_argument("--audio", type=Path, help="recording of more than 30 s")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args(argv)
    try:
        results = run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    print(f"{'':<20}{'error at seams':>16}{'elsewhere':>12}{'jump':>8}")
    for name, numbers in results.items():
        print(f"{name:<20}{numbers['seam_error']:>16.4f}{numbers['error']:>12.4f}{numbers['jump']:>8.2f}")
    if arguments.json:
        print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
