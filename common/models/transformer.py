"""The dubbing transformer: one class for both stages and all sizes (R; docs/notation.md §2).

Shapes as in common/models/conditions.py; D is the width of the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as dist
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention import AttentionMixin
from diffusers.models.attention_dispatch import AttentionBackendName
from diffusers.models.cache_utils import CacheMixin
from diffusers.models.embeddings import PixArtAlphaTextProjection, TimestepEmbedding
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from common.models.attention import DubbingAttention
from common.models.audio_projector import AudioProjector
from common.models.block import DubbingBlock, OutputHead
from common.models.conditions import ModelConditions
from common.models.config import CROSS_ATTENTION, SPEECH_INJECTIONS, ModelConfig
from common.models.context_parallel import split_frames
from common.models.modulation import make_segments, timestep_sinusoid
from common.models.prediction import EDIT, PREDICTIONS, as_velocity, seen_latents
from common.models.rope import rotary_table


class DubbingTransformer(  # type: ignore[misc]  # the mixins disagree about config_name
    ModelMixin, ConfigMixin, AttentionMixin, PeftAdapterMixin, CacheMixin
):
    """Predicts the flow velocity of a dubbed clip from noisy latents, a reference video and speech features.

    The constructor takes the fields of ``common.config.ModelConfig``. With ``text_tokens=0`` there is no text
    cross-attention at all. ``condition_channels`` extra input channels belong to the target (such as the
    masked video of stage 1); reference tokens see zeros there. ``prediction`` says what the layers put out;
    the caller gets a velocity in every case (common/models/prediction.py).
    """

    # How a run computes is no property of the weights.
    ignore_for_config = ["gradient_checkpointing", "attention_backend"]  # noqa: RUF012
    _supports_gradient_checkpointing = True
    _no_split_modules = ["DubbingBlock"]  # type: ignore[assignment]  # noqa: RUF012
    _repeated_blocks = ["DubbingBlock"]  # noqa: RUF012
    _keep_in_fp32_modules = [  # type: ignore[assignment]  # noqa: RUF012
        "time_embedding",
        "time_projection",
        "modulation",
    ]
    _skip_layerwise_casting_patterns = [  # type: ignore[assignment]  # noqa: RUF012
        "patch_embedding",
        "time_",
        "text_embedding",
        "norm",
    ]

    @register_to_config
    def __init__(
        self,
        dim: int = 3072,
        num_heads: int = 24,
        num_layers: int = 30,
        ffn_dim: int = 14336,
        text_dim: int = 4096,
        freq_dim: int = 256,
        latent_channels: int = 48,
        condition_channels: int = 0,
        patch_size: Sequence[int] = (1, 2, 2),
        reference_layout: str = "spatial",
        prediction: str = "velocity",
        audio_channels: int = 2048,
        audio_dim: int = 1536,
        audio_heads: int = 24,
        audio_layers: int = 4,
        speech_injection: str = CROSS_ATTENTION,
        eps: float = 1e-6,
        text_tokens: int = 512,
        gradient_checkpointing: bool = False,
        attention_backend: str = "native",
    ) -> None:
        super().__init__()
        if patch_size[0] != 1:
            raise ValueError(
                "The audio attention needs one token frame per latent frame: patch_size[0] must be 1."
            )
        if reference_layout not in ("spatial", "temporal"):
            raise ValueError(f"reference_layout is {reference_layout!r}; it must be 'spatial' or 'temporal'.")
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction is {prediction!r}; it must be one of {', '.join(PREDICTIONS)}.")
        if speech_injection not in SPEECH_INJECTIONS:
            raise ValueError(
                f"speech_injection is {speech_injection!r}; it must be one of {', '.join(SPEECH_INJECTIONS)}."
            )
        self.prediction = prediction
        self.patch: tuple[int, int, int] = (1, patch_size[1], patch_size[2])
        self.head_dim = dim // num_heads
        self.freq_dim = freq_dim
        self.latent_channels = latent_channels
        self.condition_channels = condition_channels
        self.reference_layout = reference_layout
        self.patch_embedding = nn.Conv3d(
            latent_channels + condition_channels, dim, kernel_size=self.patch, stride=self.patch
        )
        self.time_embedding = TimestepEmbedding(freq_dim, dim)
        self.time_projection = nn.Linear(dim, 6 * dim)
        self.text_embedding = (
            PixArtAlphaTextProjection(text_dim, dim, act_fn="gelu_tanh") if text_tokens else None
        )
        self.audio_embedding = AudioProjector(audio_channels, audio_dim, audio_heads, audio_layers, dim)
        self.blocks = nn.ModuleList(
            DubbingBlock(dim, num_heads, ffn_dim, eps, text_tokens > 0, speech_injection)
            for _ in range(num_layers)
        )
        self.head = OutputHead(dim, latent_channels * math.prod(self.patch), eps)
        self._context_group: dist.ProcessGroup | None = None
        self.gradient_checkpointing = False
        if gradient_checkpointing:
            self.enable_gradient_checkpointing()
        self.init_weights()
        self.set_attention_backend(attention_backend)

    def init_weights(self, silent_audio: bool = False) -> None:
        """Initialise as Wan does: Xavier linears, zero biases, small embeddings, a head that predicts zero.

        With ``silent_audio`` what takes the speech in starts without effect, which is right when the other
        weights come from a video model that has no audio branch; from scratch it would only delay learning.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.data.flatten(1))
        nn.init.zeros_(self.patch_embedding.bias)  # type: ignore[arg-type]
        for embedding in (self.time_embedding, self.text_embedding):
            if embedding is None:
                continue
            nn.init.normal_(embedding.linear_1.weight, std=0.02)
            nn.init.normal_(embedding.linear_2.weight, std=0.02)
        nn.init.zeros_(self.head.head.weight)
        if silent_audio:
            for block in self.blocks:
                assert isinstance(block, DubbingBlock)
                adain, attention = block.audio_adain, block.audio_attn
                last: Any = attention.to_out[0] if attention is not None else adain and adain.linear
                nn.init.zeros_(last.weight)

    def set_attention_backend(self, backend: str) -> None:
        """Choose the attention kernel by its diffusers name ("native", "xformers", "flash", ...).

        Unlike diffusers' own method this leaves the default of the process, and thus other models, alone.
        Raises ValueError for a name that diffusers does not know.
        """
        name = AttentionBackendName(backend)
        for module in self.modules():
            if isinstance(module, DubbingAttention):
                processor: Any = module.processor
                processor._attention_backend = name

    def enable_context_parallel(self, group: dist.ProcessGroup | None) -> None:
        """Share the tokens of every window among the processes of ``group`` (None: whole windows again).

        All of them call ``forward`` with the same inputs, under equal weights, and get the same velocity of
        the whole window; see common/models/context_parallel.py for what it saves and costs. Not to be
        combined with step caches, whose decisions would differ between the processes.

        Raises:
            ValueError: the number of heads is no multiple of the number of processes.
        """
        heads = self.config.num_heads  # type: ignore[attr-defined]
        if group is not None and heads % dist.get_world_size(group):
            raise ValueError(f"{heads} heads cannot be shared by {dist.get_world_size(group)} processes.")
        self._context_group = group

    def forward(
        self, latents: torch.Tensor, timestep: torch.Tensor, conditions: ModelConditions
    ) -> torch.Tensor:
        """Velocity (B, C, F, h, w) of the target.

        Args:
            latents: noisy target (B, C, F, h, w), with clean latents in the motion frames.
            timestep: (B,), 1000 sigma with the noise level sigma in [0, 1].
            conditions: everything else; the tokens of its reference have timestep 0.

        Raises:
            ValueError: latents and conditions do not fit each other or the model.
        """
        self._check(latents, conditions)
        batch, _, frames, height, width = latents.shape
        reference, audio_features = conditions.reference, conditions.audio_features
        condition_planes, motion_mask = conditions.condition_planes, conditions.motion_mask
        motion_frames = conditions.motion_frames
        whole, edited = latents, self._edited(conditions)
        latents = seen_latents(self.prediction, latents, timestep, motion_frames, motion_mask)
        grid = (frames, height // self.patch[1], width // self.patch[2])
        frame_tokens = grid[1] * grid[2]
        reference_frames = 0 if reference is None else reference.shape[2]
        split, own_reference, own_frames = None, reference_frames, frames
        if self._context_group is not None:  # from here on every frame and token is one of this process
            split = split_frames(self._context_group, reference_frames, frames, frame_tokens)
            own_reference, own_frames = split.reference[split.rank], split.target[split.rank]
            latents, audio_features = split.of_target(latents, 2), split.of_target(audio_features, 1)
            reference = None if reference is None else split.of_reference(reference, 2)
            condition_planes = None if condition_planes is None else split.of_target(condition_planes, 2)
            motion_frames = split.leading(motion_frames)
        reference_tokens = own_reference * frame_tokens

        # The residual stream has the dtype of the weights; autocast makes the convolution return its own.
        dtype = self.patch_embedding.weight.dtype
        x = self._patchify(*(_cast(tensor, dtype) for tensor in (latents, reference, condition_planes))).to(
            dtype
        )
        motion_tokens, target_tokens = motion_frames * frame_tokens, own_frames * frame_tokens
        lengths = (reference_tokens, motion_tokens, target_tokens - motion_tokens)
        embedded, projected = self._time_rows(timestep)
        segments = make_segments(lengths, projected, motion_mask)
        head_rows = embedded[:, None].expand(-1, 2, -1)
        head_segments = make_segments(lengths, head_rows, motion_mask).after(reference_tokens)
        rotary = rotary_table(
            self.head_dim, grid, reference_frames, self.reference_layout, x.device, conditions.offset
        )
        if split is not None:
            rotary = split.of_tokens(rotary)
        audio_features = self.audio_embedding(audio_features.to(dtype))
        text = conditions.text
        if self.text_embedding is not None:
            text = self.text_embedding(_cast(text, dtype)).expand(batch, -1, -1)

        for index, block in enumerate(self.blocks):
            # The head reads the target alone: the last block's output for the reference would go unused.
            # (Training counts and pays for the whole block; a share of a window has no tokens to spare.)
            last = index == len(self.blocks) - 1
            target_only = last and reference_tokens > 0 and split is None and not torch.is_grad_enabled()
            arguments = (x, text, audio_features, segments, reference_tokens, rotary, split, target_only)
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                x = self._gradient_checkpointing_func(block, *arguments)  # type: ignore[misc]
            else:
                x = block(*arguments)
        x = self.head(x[:, reference_tokens:], head_segments)
        if split is not None:
            x = split.gather_target(x)
        return as_velocity(self.prediction, self._unpatchify(x, grid), whole, timestep, edited)

    def _patchify(
        self, latents: torch.Tensor, reference: torch.Tensor | None, condition_planes: torch.Tensor | None
    ) -> torch.Tensor:
        """Tokens (B, reference + target, D): reference frames first, then frame, row, column."""
        if condition_planes is not None:
            latents = torch.cat((latents, condition_planes), dim=1)
        if reference is not None:
            missing = latents.shape[1] - reference.shape[1]
            reference = nn.functional.pad(reference, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else reference
            latents = torch.cat((reference, latents), dim=2)
        return self.patch_embedding(latents).flatten(2).transpose(1, 2)

    def _unpatchify(self, x: torch.Tensor, grid: tuple[int, int, int]) -> torch.Tensor:
        x = x.unflatten(2, (*self.patch, -1)).unflatten(1, grid)  # B f h w pt ph pw C
        return x.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)

    def _time_rows(self, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Time embedding (1 + B, D) and its projection (1 + B, 6, D); row 0 is that of timestep 0.

        Always outside autocast: bfloat16 cannot tell neighbouring timesteps apart.
        """
        timestep = torch.cat((timestep.new_zeros(1), timestep))
        device = timestep.device.type
        # "meta", on which shapes alone are computed, knows no autocast.
        known = torch.amp.is_autocast_available(device)
        with torch.autocast(device, enabled=False) if known else nullcontext():
            sinusoid = timestep_sinusoid(timestep, self.freq_dim)
            embedded = self.time_embedding(sinusoid.to(self.time_embedding.linear_1.weight.dtype))
            projected = self.time_projection(nn.functional.silu(embedded))
        return embedded, projected.unflatten(1, (6, -1))

    def _edited(self, conditions: ModelConditions) -> torch.Tensor | None:
        """The clip (B, C, F, h, w) that ``prediction=edit`` changes: what lies on the target's own tokens."""
        return conditions.condition_planes if self.reference_layout == "temporal" else conditions.reference

    def _check(self, latents: torch.Tensor, conditions: ModelConditions) -> None:
        batch, channels, frames, height, width = latents.shape
        reference, audio_features = conditions.reference, conditions.audio_features
        condition_planes, motion_frames = conditions.condition_planes, conditions.motion_frames
        if channels != self.latent_channels:
            raise ValueError(f"latents have {channels} channels, the model {self.latent_channels}.")
        if height % self.patch[1] or width % self.patch[2]:
            raise ValueError(f"latents of {height}x{width} do not divide into patches of {self.patch[1:]}.")
        if reference is not None and reference.shape[3:] != latents.shape[3:]:
            raise ValueError(f"reference is {tuple(reference.shape[3:])} in space, latents {height}x{width}.")
        if audio_features.shape[:2] != (batch, frames):
            raise ValueError(
                f"audio_features start with {tuple(audio_features.shape[:2])}, not {(batch, frames)}."
            )
        if (conditions.text is not None) != (self.text_embedding is not None):
            raise ValueError(
                "text must be given exactly when the model has text attention (text_tokens > 0)."
            )
        if (0 if condition_planes is None else condition_planes.shape[1]) != self.condition_channels:
            raise ValueError(
                f"condition_planes must have {self.condition_channels} channels (condition_channels)."
            )
        if self.prediction == EDIT:
            edited = self._edited(conditions)
            if edited is None or edited.shape != latents.shape:
                raise ValueError(
                    f"an edit needs a source of the latents' shape {tuple(latents.shape)}, got "
                    f"{None if edited is None else tuple(edited.shape)}."
                )
        if motion_frames > frames:
            raise ValueError(f"motion_frames is {motion_frames} for {frames} latent frames.")


def build_transformer(config: ModelConfig) -> DubbingTransformer:
    """A freshly initialised transformer of the configured geometry."""
    return DubbingTransformer(**asdict(config))


def _cast(tensor: torch.Tensor | None, dtype: torch.dtype) -> Any:
    return None if tensor is None else tensor.to(dtype)
