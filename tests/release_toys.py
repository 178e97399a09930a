"""Folders as the public weights are downloaded, at toy size: random weights, public names and key formats."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from model_toys import tiny_hubert, tiny_transformer
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, processors
from torch import Tensor
from transformers import (
    HubertModel,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    WhisperConfig,
    WhisperModel,
)

from common.models.convert import to_public_state_dict
from common.models.transformer import DubbingTransformer

LATENT_CHANNELS = 4
TEXT_DIM = 10
WHISPER_HEADS = 2
WHISPER_WIDTH = 16
WAV2VEC2_WIDTH = 8
OPTIONS = (
    "heads.transformer=2",
    "heads.audio=2",
    "geometry.crop_size=64",
    "geometry.clip_frames=13",
    "diffusion.num_steps=2",
)
"""What a toy's import has to be told: its heads are not the public ones, and its clips are small.

Latents of 64 pixels have 4 x 4 cells, of which the sampler's border leaves 2 x 2 to the model; of 32, none.
"""

State = dict[str, Tensor]


@dataclass(frozen=True)
class Toy:
    """The models whose weights lie in ``folder``; ``statistics`` is the file of the autoencoder's."""

    folder: Path
    statistics: Path
    transformer: Any
    vae: Any
    whisper: Any
    wav2vec2: Any
    text: Any

    @property
    def options(self) -> list[str]:
        return ["--latent-statistics", str(self.statistics)]


def write_release(folder: Path, **changes: Any) -> Toy:
    """The X-Dub release. ``changes`` are arguments of the transformer."""
    torch.manual_seed(0)
    sizes = {
        "text_tokens": 512,
        "text_dim": TEXT_DIM,
        "latent_channels": LATENT_CHANNELS,
        "audio_channels": WHISPER_WIDTH + WAV2VEC2_WIDTH,
    }
    toy = Toy(
        folder,
        folder.with_name(f"{folder.name}.statistics.safetensors"),
        tiny_transformer(**(sizes | changes)),
        _vae(),
        toy_whisper(),
        toy_wav2vec2(),
        _text(),
    )
    _save(folder / "X-Dub_model.safetensors", to_public_state_dict(toy.transformer.state_dict()))
    _save(folder / "Wan2.2_VAE.safetensors", original_vae_state(toy.vae))
    _save(
        toy.statistics,
        {name: torch.tensor(toy.vae.config[name]) for name in ("latents_mean", "latents_std")},
    )
    _save(folder / "models_t5_umt5-xxl-enc-bf16.safetensors", original_text_state(toy.text))
    write_tokenizer(folder / "umt5-xxl")
    write_speech(folder, toy.whisper, toy.wav2vec2)
    return toy


@dataclass(frozen=True)
class TbdubToy:
    """The models whose weights lie in ``folder``; both variants have the same transformer."""

    folder: Path
    statistics: Path
    transformer: Any
    vae: Any
    hubert: Any
    context: Tensor

    @property
    def options(self) -> list[str]:
        return ["--latent-statistics", str(self.statistics)]


def write_tbdub(folder: Path, hubert: HubertModel | None = None, **changes: Any) -> TbdubToy:
    """The TBDub release, both variants, bfloat16 as it is published. ``changes``: of the transformer."""
    hubert = hubert or tiny_hubert()
    torch.manual_seed(2)
    sizes = {
        "text_tokens": 512,
        "text_dim": TEXT_DIM,
        "latent_channels": LATENT_CHANNELS,
        "audio_channels": 4 * hubert.config.hidden_size,
    }
    transformer = tiny_transformer(**(sizes | changes)).bfloat16()
    context = torch.randn(1, 512, TEXT_DIM).bfloat16()
    context[:, 3:] = 0
    statistics = folder.with_name(f"{folder.name}.statistics.safetensors")
    toy = TbdubToy(folder, statistics, transformer, _vae(), hubert, context)
    for name in ("student", "teacher"):
        _save(folder / f"tbdub_{name}.safetensors", to_public_state_dict(transformer.state_dict()))
    _save(folder / "Wan2.2_VAE.safetensors", original_vae_state(toy.vae))
    _save(statistics, {n: torch.tensor(toy.vae.config[n]) for n in ("latents_mean", "latents_std")})
    torch.save(context, folder / "null_prompt_emb.pt")
    settings = {
        "format_version": 2,
        "model_type": "tbdub",
        "input": {"video_fps": 25, "face_resolution": [32, 32]},
        "generation": {"clip_num_frames": 13, "motion_num_frames": 5, "cpu_offload": False},
        "variants": {
            "teacher": {
                "num_inference_steps": 3,
                "ref_cfg_scale": 2.0,
                "audio_cfg_scale": 6.0,
                "checkpoints": ["tbdub_teacher.safetensors"],
            },
            "student": {
                "num_inference_steps": 2,
                "sigma_shift": 1.0,
                "motion_from_latents": True,
                "checkpoints": ["tbdub_student.safetensors"],
            },
        },
    }
    (folder / "config.json").write_text(json.dumps(settings))
    place = folder / "hubert-large-ll60k"
    hubert.config.save_pretrained(place)
    torch.save({old_norm_name(n): t for n, t in hubert.state_dict().items()}, place / "pytorch_model.bin")
    (place / "preprocessor_config.json").write_text('{"do_normalize": true, "sampling_rate": 16000}')
    return toy


def write_speech(folder: Path, whisper: WhisperModel, wav2vec2: Wav2Vec2ForCTC) -> None:
    """whisper/large-v2.pt and wav2vec2-base-960h/ as they are published."""
    (folder / "whisper").mkdir(parents=True)
    state = {f"encoder.{openai_name(n)}": t.half() for n, t in whisper.get_encoder().state_dict().items()}
    config = whisper.config
    dims = {
        "n_mels": config.num_mel_bins,
        "n_audio_ctx": config.max_source_positions,
        "n_audio_state": config.d_model,
        "n_audio_head": config.encoder_attention_heads,
        "n_audio_layer": config.encoder_layers,
        "n_text_state": config.d_model,
    }
    state["decoder.token_embedding.weight"] = torch.randn(5, config.d_model).half()
    torch.save({"dims": dims, "model_state_dict": state}, folder / "whisper" / "large-v2.pt")
    place = folder / "wav2vec2-base-960h"
    wav2vec2.save_pretrained(place)
    state = {old_norm_name(name): tensor.clone() for name, tensor in wav2vec2.state_dict().items()}
    del state["wav2vec2.masked_spec_embed"]  # as in the published file
    _save(place / "model.safetensors", state)
    (place / "preprocessor_config.json").write_text('{"do_normalize": true, "sampling_rate": 16000}')


def write_base(folder: Path, shard_size: str = "20KB") -> tuple[WanTransformer3DModel, Any, Any]:
    """A Wan2.2 text-to-video model in diffusers' format: (transformer, autoencoder, text encoder)."""
    torch.manual_seed(1)
    wan = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        text_dim=TEXT_DIM,
        freq_dim=16,
        ffn_dim=40,
        num_layers=2,
        rope_max_seq_len=32,
    ).eval()
    vae, text = _vae(), _text()
    wan.save_pretrained(folder / "transformer", max_shard_size=shard_size)
    vae.save_pretrained(folder / "vae")
    text.save_pretrained(folder / "text_encoder", max_shard_size=shard_size)
    write_tokenizer(folder / "tokenizer")
    return wan, vae, text


def write_tokenizer(folder: Path) -> None:
    """Five words; the end mark follows every text, as in T5."""
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), ("a", -2.0)]
    tokenizer = Tokenizer(models.Unigram(words, unk_id=2))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer", **names}))


def empty_prompt(text: UMT5EncoderModel) -> Tensor:
    """The whole encoder on the padded prompt, zeros after its one token: (1, 512, width)."""
    tokens = torch.zeros(1, 512, dtype=torch.long)
    tokens[0, 0] = 1
    with torch.no_grad():
        states = text(input_ids=tokens, attention_mask=(tokens > 0).long()).last_hidden_state.clone()
    states[:, 1:] = 0
    return states


def silent(transformer: DubbingTransformer) -> bool:
    """Whether the audio attention has no effect."""
    return all(not block.audio_attn.to_out[0].weight.any() for block in transformer.blocks)


# ------------------------------------------------------------------------------------------------- the models


def _vae() -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=6,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 2, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[0.5, 1.5, 0.75, 1.0],
    ).eval()


def toy_whisper() -> WhisperModel:
    config = WhisperConfig(
        d_model=WHISPER_WIDTH,
        encoder_layers=2,
        encoder_attention_heads=WHISPER_HEADS,
        encoder_ffn_dim=32,
        decoder_layers=0,
        decoder_attention_heads=1,
        decoder_ffn_dim=8,
        num_mel_bins=80,
        max_source_positions=100,
        vocab_size=8,
        max_target_positions=4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return WhisperModel(config).eval()


def toy_wav2vec2() -> Wav2Vec2ForCTC:
    config = Wav2Vec2Config(
        hidden_size=WAV2VEC2_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        vocab_size=5,
    )
    return Wav2Vec2ForCTC(config).eval()


def _text() -> UMT5EncoderModel:
    config = UMT5Config(
        vocab_size=9, d_model=TEXT_DIM, d_kv=4, d_ff=12, num_layers=2, num_heads=3, is_encoder_decoder=False
    )
    model = UMT5EncoderModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


# ---------------------------------------------------------------------------------- the publishers' own names


def original_vae_state(vae: AutoencoderKLWan) -> State:
    """Under the names of the original Wan code: stages are sequences, and so are their blocks."""
    blocks = vae.config.num_res_blocks
    rules = (
        (r"quant_conv\.(.+)", r"conv1.\1"),
        (r"post_quant_conv\.(.+)", r"conv2.\1"),
        (r"(\w+)\.conv_in\.(.+)", r"\1.conv1.\2"),
        (r"(\w+)\.norm_out\.(.+)", r"\1.head.0.\2"),
        (r"(\w+)\.conv_out\.(.+)", r"\1.head.2.\2"),
        (r"(\w+)\.mid_block\.resnets\.0\.(.+)", r"\1.middle.0.\2"),
        (r"(\w+)\.mid_block\.resnets\.1\.(.+)", r"\1.middle.2.\2"),
        (r"(\w+)\.mid_block\.attentions\.0\.(.+)", r"\1.middle.1.\2"),
        (r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.(.+)", r"encoder.downsamples.\1.downsamples.\2.\3"),
        (
            r"encoder\.down_blocks\.(\d+)\.downsampler\.(.+)",
            rf"encoder.downsamples.\1.downsamples.{blocks}.\2",
        ),
        (r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)\.(.+)", r"decoder.upsamples.\1.upsamples.\2.\3"),
        (r"decoder\.up_blocks\.(\d+)\.upsampler\.(.+)", rf"decoder.upsamples.\1.upsamples.{blocks + 1}.\2"),
    )
    inner = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6"}

    def rename(name: str) -> str:
        for pattern, replacement in rules:
            if re.fullmatch(pattern, name):
                name = re.sub(pattern, replacement, name)
                break
        if re.search(r"samples\.\d+\.\w+samples\.|middle\.[02]\.", name):
            name = re.sub(r"\.(norm1|conv1|norm2|conv2)\.", lambda found: f".{inner[found[1]]}.", name)
        return name.replace(".conv_shortcut.", ".shortcut.")

    return {rename(name): tensor for name, tensor in vae.state_dict().items()}


def openai_name(name: str) -> str:
    """Of a tensor of transformers' Whisper encoder."""
    for old, new in {
        "layers.": "blocks.",
        "self_attn_layer_norm": "attn_ln",
        "final_layer_norm": "mlp_ln",
        "self_attn.q_proj": "attn.query",
        "self_attn.k_proj": "attn.key",
        "self_attn.v_proj": "attn.value",
        "self_attn.out_proj": "attn.out",
        "fc1": "mlp.0",
        "fc2": "mlp.2",
        "embed_positions.weight": "positional_embedding",
    }.items():
        name = name.replace(old, new)
    return re.sub(r"^layer_norm\.", "ln_post.", name)


def old_norm_name(name: str) -> str:
    name = name.replace("parametrizations.weight.original0", "weight_g")
    return name.replace("parametrizations.weight.original1", "weight_v")


def original_text_state(text: UMT5EncoderModel) -> State:
    """Under the names of the original Wan code, bfloat16 as it is published."""
    state = {}
    for name, tensor in text.state_dict().items():
        if name == "encoder.embed_tokens.weight":
            continue
        for old, new in {
            "shared.": "token_embedding.",
            "encoder.final_layer_norm.": "norm.",
            "encoder.block.": "blocks.",
            "layer.0.SelfAttention.relative_attention_bias.": "pos_embedding.embedding.",
            "layer.0.SelfAttention.": "attn.",
            "layer.0.layer_norm.": "norm1.",
            "layer.1.layer_norm.": "norm2.",
            "layer.1.DenseReluDense.wi_0.": "ffn.gate.0.",
            "layer.1.DenseReluDense.wi_1.": "ffn.fc1.",
            "layer.1.DenseReluDense.wo.": "ffn.fc2.",
        }.items():
            name = name.replace(old, new)
        state[name] = tensor.bfloat16()
    return state


def _save(path: Path, state: State) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().contiguous() for name, tensor in state.items()}, path)
