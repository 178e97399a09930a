"""Compare this program's arithmetic with a folder of golden vectors: ``python tools/parity.py DIR``.

Prints the max abs difference of every output. Exit code 0: all within tolerance (1e-4 for forwards and
schedules, 1e-3 for samplers); 1: at least one is not; 2: the folder is no golden folder.

The kind of the folder is recognised by the keys of its ``config.json``; each kind is one function that maps
the folder's content to computed outputs, with the same code that dubbing and training run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import Wav2Vec2Config, Wav2Vec2Model

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # also runs from a checkout that is not installed
    sys.path.insert(0, str(ROOT))

from common.autoencoder.codec import VideoCodec  # noqa: E402
from common.diffusion.flow import FlowMatching  # noqa: E402
from common.diffusion.guidance import Guidance  # noqa: E402
from common.diffusion.sampler import EulerSampler  # noqa: E402
from common.errors import EXIT_CODE, UserError  # noqa: E402
from common.files import read_json, require_file  # noqa: E402
from common.geometry import frames_to_latents  # noqa: E402
from common.models.conditions import ModelConditions  # noqa: E402
from common.models.convert import from_public_state_dict  # noqa: E402
from common.models.convert_vae import from_original_vae  # noqa: E402
from common.models.convert_whisper import from_openai_whisper  # noqa: E402
from common.models.transformer import DubbingTransformer  # noqa: E402
from common.speech.pretrained import PretrainedEncoder  # noqa: E402
from common.speech.windows import audio_windows  # noqa: E402

FORWARD_TOLERANCE = 1e-4
SAMPLER_TOLERANCE = 1e-3

TINY_WAV2VEC2 = Wav2Vec2Config(
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    conv_dim=(8,) * 7,
    num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2,
)

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Golden:
    """A golden folder: its configuration and three tensor files."""

    config: Mapping[str, Any]
    weights: Tensors
    inputs: Tensors
    outputs: Tensors


@dataclass(frozen=True)
class Kind:
    """keys: entries of ``config.json`` that tell the kind. compute: outputs by name.

    samplers: outputs with the wider tolerance. clamped: outputs that are compared within [-1, 1].
    """

    keys: frozenset[str]
    compute: Callable[[Golden], Tensors]
    samplers: frozenset[str] = frozenset()
    clamped: frozenset[str] = frozenset()


def compute_xdub(golden: Golden) -> Tensors:
    """The transformer, its audio projector, the schedules and both samplers."""
    cfg, inputs = golden.config["cfg"], golden.inputs
    arguments, state = from_public_state_dict(
        golden.weights, num_heads=cfg["heads"], audio_heads=cfg["aheads"], source="weights.safetensors"
    )
    model = DubbingTransformer(**arguments)
    model.load_state_dict(state)
    model.eval()

    noise, motion = inputs["noise"], inputs["motion_latents"]
    given = ModelConditions(
        audio_features=inputs["audio_feats"], reference=inputs["ref_latents"], text=inputs["context"]
    )
    moving = replace(given, motion=motion)
    started = noise.clone()
    started[:, :, : motion.shape[2]] = motion
    guidance = Guidance(reference_scale=2.5, audio_scale=10.0, dynamic=True)
    flow = FlowMatching(shift=5.0)
    sampler = EulerSampler(flow, guidance, num_steps=golden.config["steps"], border=1)
    grid = torch.linspace(0, 1, 101, dtype=torch.float64).tolist()
    return {
        "audio_embedding": model.audio_embedding(given.audio_features),
        "forward_t637": model(noise, torch.tensor([637.0]), given),
        "forward_t250_motion": model(started, torch.tensor([250.0]), moving),
        "timesteps_30_shift5": flow.model_timestep(flow.sigmas(30)[:-1]),
        "ref_guidance_schedule_scale2.5_t0to1": torch.tensor([guidance.scales(t)[0] for t in grid]),
        "sample": sampler.sample(model, noise, given),
        "sample_motion": sampler.sample(model, noise, moving),
    }


def compute_vae38(golden: Golden) -> Tensors:
    """The Wan2.2 autoencoder through the codec: normalised latents, and the video decoded from them."""
    statistics = golden.inputs["latents_mean"], golden.inputs["latents_std"]
    codec = VideoCodec(from_original_vae(golden.weights, *statistics, source="weights.safetensors"))
    latents = codec.encode(golden.inputs["video"])
    return {"latents": latents, "decoded": codec.decode(latents)}


def compute_whisper(golden: Golden) -> Tensors:
    """Whisper's half of the speech features in the release's hard 30 s windows, cut per latent frame."""
    config = golden.config
    heads = config["n_audio_head"]
    whisper = from_openai_whisper(golden.weights, heads, source="weights.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        whisper.save_pretrained(Path(folder) / "whisper")
        # The features are made together with those of wav2vec2, on which this folder says nothing.
        Wav2Vec2Model(TINY_WAV2VEC2).save_pretrained(Path(folder) / "wav2vec2")
        encoder = PretrainedEncoder(folder, chunking="release")
    features = encoder.encode(golden.inputs["audio"].numpy())[:, : config["n_audio_state"]]
    latent_frames = frames_to_latents(config["num_frames"])
    outputs = {
        f"window_start{start}": torch.from_numpy(audio_windows(features, start, latent_frames))
        for start in config["starts"]
    }
    return {"features_last": torch.from_numpy(features), **outputs}


KINDS = {
    "xdub": Kind(frozenset({"cfg", "steps"}), compute_xdub, samplers=frozenset({"sample", "sample_motion"})),
    "vae38": Kind(frozenset({"dec_dim", "z_dim", "dim_mult"}), compute_vae38, clamped=frozenset({"decoded"})),
    "whisper": Kind(frozenset({"n_audio_state", "n_audio_head", "starts"}), compute_whisper),
}


def load_golden(folder: Path) -> tuple[Kind, Golden]:
    """Read a golden folder. Raises UserError where it is missing, incomplete or of no known kind."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder of golden vectors.")
    config = read_json(folder / "config.json")
    tensors = {}
    for name in ("weights", "inputs", "outputs"):
        file = require_file(folder / f"{name}.safetensors", "golden file")
        try:
            tensors[name] = load_file(file)
        except SafetensorError as error:
            raise UserError(f"{file}: not a safetensors file ({error}); fetch it again.") from error
    for kind in KINDS.values():
        if isinstance(config, dict) and kind.keys <= config.keys():
            return kind, Golden(config, **tensors)
    raise UserError(f"{folder / 'config.json'}: the keys fit none of the known kinds: {', '.join(KINDS)}.")


@torch.no_grad()
def compare(folder: Path) -> bool:
    """Print one line per output; whether all are within tolerance."""
    kind, golden = load_golden(folder)
    try:
        computed = kind.compute(golden)
    except KeyError as error:
        raise UserError(f"{folder}: lacks the entry {error}; the folder is incomplete.") from error
    passed = True
    for name, expected in sorted(golden.outputs.items()):
        tolerance = SAMPLER_TOLERANCE if name in kind.samplers else FORWARD_TOLERANCE
        if name in kind.clamped:
            expected = expected.clamp(-1, 1)
        difference = max_difference(computed.get(name), expected)
        passed &= difference <= tolerance  # a NaN is not
        verdict = "ok" if difference <= tolerance else "FAILED"
        print(f"{name:<40} max abs difference {difference:.3e}   allowed {tolerance:.0e}   {verdict}")
    return passed


def max_difference(computed: torch.Tensor | None, expected: torch.Tensor) -> float:
    """Infinite where the output is not computed at all or has another shape."""
    if computed is None or computed.shape != expected.shape:
        return float("inf")
    return (computed.double() - expected.double()).abs().max().item()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare the arithmetic with a folder of golden vectors.")
    parser.add_argument("folder", type=Path, metavar="DIR")
    arguments = parser.parse_args(argv)
    try:
        return 0 if compare(arguments.folder) else 1
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE


if __name__ == "__main__":
    sys.exit(main())
