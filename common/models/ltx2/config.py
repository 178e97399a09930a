"""The size of a transformer of LTX-2; light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.checks import at_least, one_of

_NEWER = (*("gated_attn", "audio_gated_attn", "cross_attn_mod", "audio_cross_attn_mod", "perturbed_attn"),)


@dataclass
class JointModelConfig:
    """The ``model`` section of LTX-2; the defaults are 2.0, "19B"."""

    version: str = "2.0"  # | "2.3"
    heads: int = 32
    head_channels: int = 128
    audio_heads: int = 32
    audio_head_channels: int = 64
    layers: int = 48
    prompt_channels: int = 3840  # of the prompt's states, where the model projects them itself (2.0)
    latent_channels: int = 128  # of a latent of the video
    audio_channels: int = 128  # of a latent of the sound
    max_seconds: int = 20  # that positions are relative to
    max_side: int = 2048  # in pixels, likewise
    rope_theta: float = 10000.0  # highest over lowest frequency of the rotary embeddings

    def __post_init__(self) -> None:
        one_of("model.version", self.version, ("2.0", "2.3"))
        for name in ("heads", "audio_heads", "layers", "latent_channels", "audio_channels"):
            at_least(f"model.{name}", getattr(self, name), 1)

    def arguments(self) -> dict[str, Any]:
        """Of diffusers' LTX2VideoTransformer3DModel."""
        newer = self.version == "2.3"
        return {
            "in_channels": self.latent_channels,
            "out_channels": self.latent_channels,
            "num_attention_heads": self.heads,
            "attention_head_dim": self.head_channels,
            "cross_attention_dim": self.heads * self.head_channels,
            "audio_in_channels": self.audio_channels,
            "audio_out_channels": self.audio_channels,
            "audio_num_attention_heads": self.audio_heads,
            "audio_attention_head_dim": self.audio_head_channels,
            "audio_cross_attention_dim": self.audio_heads * self.audio_head_channels,
            "num_layers": self.layers,
            "caption_channels": self.prompt_channels,
            "pos_embed_max_pos": self.max_seconds,
            "audio_pos_embed_max_pos": self.max_seconds,
            "base_height": self.max_side,
            "base_width": self.max_side,
            "rope_type": "split",
            "rope_theta": self.rope_theta,
            "use_prompt_embeddings": not newer,
            **dict.fromkeys(_NEWER, newer),
        }
