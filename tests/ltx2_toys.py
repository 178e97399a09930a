"""A tiny LTX-2 of each version, of diffusers' own classes, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
from safetensors.torch import save_file

NEWER = {
    "gated_attn": True,
    "audio_gated_attn": True,
    "cross_attn_mod": True,
    "audio_cross_attn_mod": True,
    "perturbed_attn": True,
    "use_prompt_embeddings": False,
}
"""What 2.3 changes."""


def tiny_joint_model(version: str = "2.0", **changes: Any) -> LTX2VideoTransformer3DModel:
    torch.manual_seed(0)
    sizes = {
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "cross_attention_dim": 24,
        "audio_num_attention_heads": 2,
        "audio_attention_head_dim": 4,
        "audio_cross_attention_dim": 8,
        "num_layers": 2,
        "caption_channels": 8,
        "audio_in_channels": 16,
        "audio_out_channels": 16,
        "rope_type": "split",
    }
    newer = NEWER if version == "2.3" else {}
    return LTX2VideoTransformer3DModel(**(sizes | newer | changes)).eval()


def write_joint_folder(folder: Path, version: str = "2.0") -> Path:
    """A whole folder in diffusers' format."""
    tiny_joint_model(version).save_pretrained(folder / "transformer")
    LTX2TextConnectors(
        caption_channels=8,
        text_proj_in_factor=2,
        video_connector_num_attention_heads=1,
        video_connector_attention_head_dim=8,
        video_connector_num_layers=1,
        audio_connector_num_attention_heads=1,
        audio_connector_attention_head_dim=8,
        audio_connector_num_layers=1,
    ).save_pretrained(folder / "connectors")
    AutoencoderKLLTX2Video(
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 4,
    ).save_pretrained(folder / "vae")
    # Statistics are stored for base_channels channels, so that these must be those of a token.
    AutoencoderKLLTX2Audio(
        base_channels=16, ch_mult=(1, 1, 1), num_res_blocks=1, latent_channels=1
    ).save_pretrained(folder / "audio_vae")
    LTX2Vocoder(hidden_channels=64).save_pretrained(folder / "vocoder")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "LTX2Pipeline"}))
    return folder


def write_text_encoder(folder: Path) -> None:
    """Gemma 3 with one layer of 8 channels, and a tokenizer of a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, PreTrainedTokenizerFast

    torch.manual_seed(0)
    text = {
        "vocab_size": 32,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "layer_types": ["full_attention"],
    }
    vision = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 16,
        "patch_size": 8,
    }
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    Gemma3ForConditionalGeneration(config).save_pretrained(folder / "text_encoder")
    words = ["<pad>", "<unk>", "A", "person", "is", "speaking", ".", "blurry"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    fast.save_pretrained(folder / "tokenizer")


def write_states(path: Path, width: int = 8, negative: bool = True, audio_width: int = 8) -> Path:
    """States of a prompt of four tokens, and of a negative one."""
    noise = torch.Generator().manual_seed(1)
    widths = {"video": width, "audio": audio_width}
    if negative:
        widths |= {"negative_video": width, "negative_audio": audio_width}
    save_file({name: torch.randn(1, 4, size, generator=noise) for name, size in widths.items()}, path)
    return path


def write_lora(
    path: Path, metadata: dict[str, str] | None = None, width: int = 24, layer: str = "attn1.to_q"
) -> Path:
    """A public LoRA of rank 2 on one layer of ``width`` channels."""
    name = f"diffusion_model.transformer_blocks.1.{layer}"
    tensors = {f"{name}.lora_A.weight": torch.randn(2, width), f"{name}.lora_B.weight": torch.randn(width, 2)}
    save_file(tensors, path, metadata)
    return path
