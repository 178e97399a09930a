"""Geometries of the dubbing benchmark, and models of them with random weights, made where they are used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2Model, WhisperConfig, WhisperModel

from common.autoencoder.codec import Autoencoder, VideoCodec, build_vae
from common.autoencoder.config import VaeConfig
from common.config import load_config
from common.diffusion.config import DiffusionConfig
from common.geometry import GeometryConfig
from common.media import SAMPLE_RATE, VideoWriter, save_wav
from common.models.audio_projector import MAX_WINDOW
from common.models.config import ModelConfig
from common.models.transformer import DubbingTransformer, build_transformer
from common.speech.config import SpeechConfig
from stage2_dubber.config import Stage2Config

WAN5B = Path(__file__).resolve().parent.parent.parent / "configs" / "wan5b.yaml"
FACE_SHARE = 0.6  # side of the face box over that of the crop


@dataclass(frozen=True)
class Size:
    """Everything that the cost of a window depends on."""

    model: ModelConfig
    vae: VaeConfig
    geometry: GeometryConfig
    speech: SpeechConfig
    diffusion: DiffusionConfig
    whisper: dict[str, Any] = field(default_factory=dict)
    wav2vec2: dict[str, Any] = field(default_factory=dict)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(width, height) of the clip that is dubbed: its crop takes about a third of the frame."""
        side = self.geometry.crop_size
        return 2 * round(1.25 * side), 2 * round(0.75 * side)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The face in it."""
        (width, height), half = self.frame_size, FACE_SHARE * self.geometry.crop_size / 2
        return width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half


def named_size(name: str) -> Size:
    """ "wan5b": the public geometry. "small": a quarter of its width, 8 blocks. "tiny": for tests."""
    config = load_config(Stage2Config, [WAN5B])
    model = replace(config.model, gradient_checkpointing=False)
    whisper = {"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120}
    public = Size(model, config.vae, config.geometry, config.speech, config.diffusion, whisper)
    if name == "wan5b":
        return public
    if name == "small":
        model = replace(
            model,
            dim=768,
            num_heads=6,
            num_layers=8,
            ffn_dim=3584,
            text_dim=1024,
            audio_channels=512,
            audio_dim=384,
            audio_heads=6,
        )
        return replace(
            public,
            model=model,
            vae=replace(config.vae, base_dim=40, decoder_base_dim=64),
            speech=replace(config.speech, channels=512),
            diffusion=replace(config.diffusion, num_steps=2),
            whisper={
                "d_model": 320,
                "encoder_layers": 8,
                "encoder_attention_heads": 5,
                "encoder_ffn_dim": 1280,
            },
            wav2vec2=_narrow_wav2vec2(192, 3, 3, 128),
        )
    model = replace(
        model,
        dim=48,
        num_heads=2,
        num_layers=2,
        ffn_dim=96,
        text_dim=16,
        freq_dim=16,
        latent_channels=8,
        audio_channels=32,
        audio_dim=16,
        audio_heads=2,
        audio_layers=1,
        text_tokens=6,
    )
    return replace(
        public,
        model=model,
        vae=replace(config.vae, base_dim=4, decoder_base_dim=4, z_dim=8, dim_mult=[1, 1, 1, 1]),
        geometry=replace(config.geometry, crop_size=64, clip_frames=13),
        speech=replace(config.speech, channels=32),
        diffusion=replace(config.diffusion, num_steps=2),
        whisper={"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16},
        wav2vec2=_narrow_wav2vec2(16, 1, 2, 8),
    )


def _narrow_wav2vec2(hidden: int, layers: int, heads: int, convolutions: int) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "conv_dim": (convolutions,) * 7,
    }


def write_inputs(folder: Path, size: Size, speech: Path | None = None) -> None:
    """A clip and speech as long as a window, and random speech encoders unless ``speech`` is their folder."""
    frames, rate = size.geometry.clip_frames, size.geometry.fps
    width, height = size.frame_size
    rows, columns = np.mgrid[0:height, 0:width]
    with VideoWriter(folder / "clip.mp4", width, height, rate=rate) as writer:
        for index in range(frames):
            # Smooth in space and time, so that writing and reading it is no part of the work.
            waves = [np.sin((rows * (c + 1) + columns * (3 - c)) / 90 + 0.2 * index) for c in range(3)]
            writer.write((128 + 100 * np.stack(waves, axis=-1)).astype(np.uint8))
    noise = np.random.default_rng(0).standard_normal(round(frames / rate * SAMPLE_RATE))
    save_wav(folder / "speech.wav", (0.1 * noise).astype(np.float32), SAMPLE_RATE)
    if speech is not None:
        (folder / "speech").symlink_to(speech.resolve(), target_is_directory=True)
        return
    torch.manual_seed(0)
    # The decoder is never run: the smallest that can be stored.
    unused: dict[str, Any] = {
        **{"decoder_layers": 1, "decoder_attention_heads": 1, "decoder_ffn_dim": 1},
        **{"vocab_size": 8, "max_target_positions": 2},
        **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
    }
    whisper: Any = WhisperModel(WhisperConfig(**size.whisper, **unused))
    whisper.to(torch.bfloat16).save_pretrained(folder / "speech" / "whisper")
    wav2vec2: Any = Wav2Vec2Model(Wav2Vec2Config(**size.wav2vec2))
    wav2vec2.to(torch.bfloat16).save_pretrained(folder / "speech" / "wav2vec2")


def random_transformer(size: Size, device: torch.device, dtype: torch.dtype) -> DubbingTransformer:
    """A transformer that predicts something (a fresh one predicts zero), in evaluation mode."""
    kept: Sequence[str] = DubbingTransformer._keep_in_fp32_modules  # type: ignore[assignment]
    model: DubbingTransformer = materialised(lambda: build_transformer(size.model), device, dtype, kept)
    for module in model.modules():
        if isinstance(getattr(module, "pos_embed", None), SinusoidalPositionalEmbedding):
            table = SinusoidalPositionalEmbedding(size.model.audio_dim, max_seq_length=MAX_WINDOW)
            module.pos_embed = table.to(device, dtype)
    left = [name for name, tensor in model.state_dict(keep_vars=True).items() if tensor.is_meta]
    assert not left, f"no values for {left}"
    return model


def random_autoencoder(size: Size, device: torch.device, dtype: torch.dtype) -> Autoencoder:
    vae: Autoencoder = materialised(lambda: build_vae(size.vae), device, dtype)
    return vae


def materialised(
    build: Callable[[], Any], device: torch.device, dtype: torch.dtype, wide: Sequence[str] = ()
) -> Any:
    """What ``build`` makes, drawn straight onto ``device`` in ``dtype``: no copy of any other kind exists.

    Parameters with a name that contains one of ``wide`` are float32.
    """
    with torch.device("meta"):
        module = build()
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in list(module.named_parameters()):
        own = torch.float32 if any(part in name for part in wide) else dtype
        value = torch.empty(parameter.shape, dtype=own, device=device)
        place, _, leaf = name.rpartition(".")
        owner = module.get_submodule(place)
        owner.register_parameter(leaf, nn.Parameter(_drawn(leaf, value, generator), requires_grad=False))
    return module.eval()


def _drawn(leaf: str, value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Weights that keep the scale of what passes through them."""
    if leaf == "modulation":
        return value.normal_(std=value.shape[-1] ** -0.5, generator=generator)
    if leaf == "bias":
        return value.normal_(std=0.02, generator=generator)
    if leaf == "gamma" or value.ndim == 1:  # of norms
        return value.fill_(1.0)
    return value.normal_(std=(value.numel() / value.shape[0]) ** -0.5, generator=generator)


def hollow_transformer(size: Size) -> DubbingTransformer:
    """Without any weights, to count what it would compute."""
    with torch.device("meta"):
        return build_transformer(size.model)


def hollow_codec(size: Size) -> VideoCodec:
    """As :func:`hollow_transformer`."""
    with torch.device("meta"):
        return VideoCodec(build_vae(size.vae))
