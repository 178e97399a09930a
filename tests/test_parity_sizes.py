"""tools/parity.py on golden folders of other sizes, made with diffusers and transformers themselves."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan
from release_toys import openai_name, original_vae_state
from safetensors.torch import save_file
from transformers import WhisperConfig, WhisperModel
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import parity


def write_golden(folder: Path, config: dict[str, Any], **tensors: dict[str, torch.Tensor]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for name, state in tensors.items():
        save_file({k: v.detach().contiguous() for k, v in state.items()}, folder / f"{name}.safetensors")
    return folder


@pytest.mark.parametrize(
    "sizes",
    [
        {"base_dim": 6, "decoder_base_dim": 4, "z_dim": 5, "dim_mult": [1, 2, 2], "num_res_blocks": 1,
         "temperal_downsample": [True, True]},
        {"base_dim": 4, "decoder_base_dim": 8, "z_dim": 3, "dim_mult": [1, 1, 2, 2], "num_res_blocks": 3,
         "temperal_downsample": [True, False, True]},
    ],
)  # fmt: skip
@torch.no_grad()
def test_autoencoders(tmp_path: Path, sizes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    channels, stages = sizes["z_dim"], len(sizes["dim_mult"])
    mean, std = torch.randn(channels), torch.rand(channels) + 0.5
    vae: Any = AutoencoderKLWan(
        **sizes,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=2**stages,
        latents_mean=mean.tolist(),
        latents_std=std.tolist(),
    ).eval()
    video = torch.rand(1, 3, 9, 32, 16) * 2 - 1
    view = (1, -1, 1, 1, 1)
    raw = vae.encode(video).latent_dist.mode()
    folder = write_golden(
        tmp_path / "vae",
        {"dec_dim": sizes["decoder_base_dim"], **sizes},
        weights=original_vae_state(vae),
        inputs={"video": video, "latents_mean": mean, "latents_std": std},
        outputs={"latents": (raw - mean.view(view)) / std.view(view), "decoded": vae.decode(raw).sample},
    )
    assert parity.main([str(folder)]) == 0


@pytest.mark.parametrize(("seconds", "bands", "heads"), [(2.7, 80, 2), (5.1, 128, 4)])
@torch.no_grad()
def test_ears(tmp_path: Path, seconds: float, bands: int, heads: int) -> None:
    """Windows of 2 s. The spectrogram is transformers' own, as are the encoder's states."""
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=heads,
        encoder_ffn_dim=24,
        decoder_layers=0,
        decoder_attention_heads=1,
        num_mel_bins=bands,
        max_source_positions=100,
        vocab_size=8,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=0,
    )
    encoder = WhisperModel(config).get_encoder().eval()
    audio = np.random.default_rng(0).normal(0, 0.1, round(16000 * seconds)).astype(np.float32)
    filters = mel_filter_bank(201, bands, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
    power = spectrogram(
        audio, window_function(400, "hann"), 400, 160, power=2.0, mel_filters=filters, mel_floor=1e-10
    )
    log = np.log10(power[:, :-1])
    mel = torch.from_numpy(((np.maximum(log, log.max() - 8) + 4) / 4).astype(np.float32))
    states: list[torch.Tensor] = []
    encoder.layers[-1].register_forward_hook(
        lambda module, args, result: states.append(result[0] if isinstance(result, tuple) else result)
    )
    for first in range(0, mel.shape[1], 200):
        piece = mel[:, first : first + 200]
        encoder(torch.nn.functional.pad(piece, (0, 200 - piece.shape[1]))[None])
        states[-1] = states[-1].reshape(-1, 16)[: piece.shape[1] // 2]
    features = torch.cat(states)
    outputs = {"features_last": features}
    for start in (0, 20):
        starts = [2 * (start - 3), *(2 * (start + 4 * (k - 1) + 1) for k in range(1, 5))]
        indices = torch.tensor([list(range(s, s + 8)) for s in starts]).clamp(0, len(features) - 1)
        outputs[f"window_start{start}"] = features[indices]
    folder = write_golden(
        tmp_path / "whisper",
        {"n_audio_state": 16, "n_audio_head": heads, "starts": [0, 20], "num_frames": 17},
        weights={f"encoder.{openai_name(name)}": tensor for name, tensor in encoder.state_dict().items()},
        inputs={"audio": torch.from_numpy(audio)},
        outputs=outputs,
    )
    assert parity.main([str(folder)]) == 0
