"""The joint transformer: diffusers' LTX-2 blocks, conditioned by the roles of their tokens."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from torch import Tensor, nn

from common.models.ltx2.attention import Crossing, CrossModalProcessor
from common.models.ltx2.conventions import CrossModulation, JointConventions
from common.models.ltx2.roles import JointInputs, JointVelocity, Modality


class JointTransformer(nn.Module):
    """Predicts the velocities of video and audio tokens from their roles, positions and noise levels.

    ``model`` holds the weights and is stored and loaded as diffusers does; its attentions between the
    modalities get a processor of ours. diffusers' own ``forward`` knows two of the three cross-modal
    modulations and hands no mask to its blocks, which take one; so the blocks are called from here.
    """

    _no_split_modules = ("LTX2VideoTransformerBlock",)
    """What is gathered as one where the parameters are split over processes."""

    def __init__(self, model: LTX2VideoTransformer3DModel, conventions: JointConventions) -> None:
        super().__init__()
        self.model = model
        self.conventions = conventions
        for block in model.transformer_blocks:
            block.audio_to_video_attn.set_processor(CrossModalProcessor())  # type: ignore[union-attr, operator]
            block.video_to_audio_attn.set_processor(CrossModalProcessor())  # type: ignore[union-attr, operator]

    def forward(
        self, inputs: JointInputs, perturbed_blocks: Collection[int] = (), isolated: bool = False
    ) -> JointVelocity:
        """Velocities of all tokens, in their order.

        Args:
            inputs: tokens with their roles, and the prompt.
            perturbed_blocks: in these blocks self-attention passes the values on as they are.
            isolated: no attention between the modalities.
        """
        model: Any = self.model
        video, audio = inputs.video, inputs.audio
        dtype = model.dtype
        x, y = model.proj_in(video.tokens.to(dtype)), model.audio_proj_in(audio.tokens.to(dtype))
        temb, video_embedded = self._time(model.time_embed, video.timesteps, x)
        audio_temb, audio_embedded = self._time(model.audio_time_embed, audio.timesteps, y)
        mask = self.conventions.mask
        seeing, hearing = video.crossing(mask), audio.crossing(mask)
        masked = seeing is not None or hearing is not None
        shared = {
            **self._prompt(inputs, x, y),
            "temb": temb,
            "temb_audio": audio_temb,
            **self._cross_modulation(video, audio, x, y),
            **self._rotary(video, audio, x.device),
            "a2v_cross_attention_mask": Crossing(seeing, hearing) if masked else None,
            "v2a_cross_attention_mask": Crossing(hearing, seeing) if masked else None,
            "use_a2v_cross_attention": not isolated,
            "use_v2a_cross_attention": not isolated,
        }
        for index, block in enumerate(model.transformer_blocks):
            run = partial(block, **shared, all_perturbed=index in perturbed_blocks)
            if torch.is_grad_enabled() and model.gradient_checkpointing:
                x, y = model._gradient_checkpointing_func(run, x, y)
            else:
                x, y = run(x, y)
        return JointVelocity(
            model.proj_out(_modulated(model.norm_out(x), model.scale_shift_table, video_embedded)),
            model.audio_proj_out(
                _modulated(model.audio_norm_out(y), model.audio_scale_shift_table, audio_embedded)
            ),
        )

    def _time(self, embedding: nn.Module, levels: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Modulation and embedding, (B, N or 1, channels), of noise levels (B, N or 1) in [0, 1]."""
        config: Any = self.model.config
        scaled = levels.flatten() * config.timestep_scale_multiplier
        modulation, embedded = embedding(scaled, batch_size=len(levels), hidden_dtype=x.dtype)
        return modulation.unflatten(0, levels.shape), embedded.unflatten(0, levels.shape)

    def _prompt(self, inputs: JointInputs, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """States of the prompt; in 2.3 with the modulation of their keys and values by the noise level."""
        model: Any = self.model
        states = {
            "encoder_hidden_states": inputs.prompt.video.to(x.dtype),
            "audio_encoder_hidden_states": inputs.prompt.audio.to(y.dtype),
        }
        if model.config.use_prompt_embeddings:
            states["encoder_hidden_states"] = model.caption_projection(states["encoder_hidden_states"])
            states["audio_encoder_hidden_states"] = model.audio_caption_projection(
                states["audio_encoder_hidden_states"]
            )
        if model.prompt_modulation:
            level, audio_level = inputs.video.noise_level[:, None], inputs.audio.noise_level[:, None]
            states["temb_prompt"] = self._time(model.prompt_adaln, level, x)[0]
            states["temb_prompt_audio"] = self._time(model.audio_prompt_adaln, audio_level, y)[0]
        return states

    def _cross_modulation(self, video: Modality, audio: Modality, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Scale, shift and gate of the attention between the modalities (:class:`CrossModulation`)."""
        model: Any = self.model
        config, rule = model.config, self.conventions.modulation
        gate_factor = config.cross_attn_timestep_scale_multiplier / config.timestep_scale_multiplier

        def modulate(own: Modality, other: Modality, tables: tuple[Any, Any], z: Tensor) -> list[Tensor]:
            others = other.noise_level[:, None]
            scaling = others if rule is CrossModulation.other_modality else own.timesteps
            gating = own.timesteps if rule is CrossModulation.own_token else others
            return [
                self._time(tables[0], scaling, z)[0],
                self._time(tables[1], gating * gate_factor, z)[0],
            ]

        of_video = modulate(
            video, audio, (model.av_cross_attn_video_scale_shift, model.av_cross_attn_video_a2v_gate), x
        )
        of_audio = modulate(
            audio, video, (model.av_cross_attn_audio_scale_shift, model.av_cross_attn_audio_v2a_gate), y
        )
        return {
            "temb_ca_scale_shift": of_video[0],
            "temb_ca_gate": of_video[1],
            "temb_ca_audio_scale_shift": of_audio[0],
            "temb_ca_audio_gate": of_audio[1],
        }

    def _rotary(self, video: Modality, audio: Modality, device: torch.device) -> dict[str, Any]:
        """Rotary tables; between the modalities they tell time only."""
        model: Any = self.model
        where, when = video.positions.to(device), audio.positions.to(device)
        return {
            "video_rotary_emb": model.rope(where),
            "audio_rotary_emb": model.audio_rope(when),
            "ca_video_rotary_emb": model.cross_attn_rope(where[:, :1]),
            "ca_audio_rotary_emb": model.cross_attn_audio_rope(when),
        }


def _modulated(normed: Tensor, table: Tensor, embedded: Tensor) -> Tensor:
    """Scale and shift of the output layer: table (2, channels), embedded (B, N or 1, channels)."""
    shift, scale = (table[None, None] + embedded[:, :, None]).unbind(dim=2)
    return normed * (1 + scale) + shift
