"""The ``model`` section: the shape of the dubbing transformer."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.checks import multiple_of, one_of
from common.errors import UserError

CROSS_ATTENTION, ADAIN = SPEECH_INJECTIONS = ("cross_attention", "adain")
"""How blocks take the speech in: by attention to its features, or as a scale and a shift of each frame."""


@dataclass
class ModelConfig:
    """Constructor arguments of the dubbing transformer (R: Wan2.2-TI2V-5B with an audio branch)."""

    dim: int = 3072
    num_heads: int = 24
    num_layers: int = 30
    ffn_dim: int = 14336
    text_dim: int = 4096
    freq_dim: int = 256
    latent_channels: int = 48
    condition_channels: int = 0  # extra input channels of the target; stage 1 puts the masked video here,
    # data.own_mouths of stage 2 its 29 planes
    patch_size: list[int] = field(default_factory=lambda: [1, 2, 2])
    reference_layout: str = "spatial"  # beside the target | "temporal": before it, on the frame axis
    prediction: str = "velocity"  # | "sample" | "edit": common/models/prediction.py
    audio_channels: int = 2048
    audio_dim: int = 1536
    audio_heads: int = 24
    audio_layers: int = 4
    speech_injection: str = "cross_attention"  # | "adain": common/models/speech_adain.py
    eps: float = 1e-6
    text_tokens: int = 512  # 0: no text cross-attention at all
    gradient_checkpointing: bool = False
    attention_backend: str = "native"

    def __post_init__(self) -> None:
        one_of("model.reference_layout", self.reference_layout, ("spatial", "temporal"))
        one_of("model.prediction", self.prediction, ("velocity", "sample", "edit"))
        one_of("model.speech_injection", self.speech_injection, SPEECH_INJECTIONS)
        multiple_of("model.dim", self.dim, "model.num_heads", self.num_heads)
        multiple_of("model.audio_dim", self.audio_dim, "model.audio_heads", self.audio_heads)
        if len(self.patch_size) != 3:
            raise UserError(
                f"model.patch_size is {self.patch_size}; give three numbers: frames, height, width."
            )
