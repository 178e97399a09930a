"""One window of the transformer as a graph of PyTorch's own export."""

from __future__ import annotations

import torch
from torch import nn

from common.models.conditions import ModelConditions
from common.models.config import ModelConfig
from common.models.transformer import DubbingTransformer, build_transformer

SMALL = ModelConfig(
    dim=48,
    num_heads=2,
    num_layers=2,
    ffn_dim=64,
    text_dim=16,
    latent_channels=8,
    audio_channels=12,
    audio_dim=24,
    audio_heads=2,
    audio_layers=1,
    text_tokens=4,
)


class _Window(nn.Module):
    """The transformer with its conditions as plain tensors, which a graph has as inputs."""

    def __init__(self, transformer: DubbingTransformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        audio_features: torch.Tensor,
        reference: torch.Tensor,
        text: torch.Tensor,
        motion: torch.Tensor,
    ) -> torch.Tensor:
        conditions = ModelConditions(audio_features, reference=reference, text=text, motion=motion)
        return self.transformer(latents, timestep, conditions)


@torch.no_grad()
def test_an_exported_window_computes_what_the_model_does() -> None:
    torch.manual_seed(0)
    transformer = build_transformer(SMALL).eval()
    nn.init.normal_(transformer.head.head.weight, std=0.1)

    def inputs() -> tuple[torch.Tensor, ...]:
        video = (1, 8, 4, 4, 4)
        speech, text = torch.randn(1, 4, 8, 12), torch.randn(1, 4, 16)
        return (
            torch.randn(video),
            torch.rand(1) * 1000,
            speech,
            torch.randn(video),
            text,
            torch.randn(1, 8, 1, 4, 4),
        )

    window = _Window(transformer)
    exported = torch.export.export(window, inputs(), strict=False).module()
    others = inputs()
    assert torch.allclose(exported(*others), window(*others), atol=1e-6)
    assert not torch.allclose(exported(*others), exported(*inputs()), atol=1e-3)


@torch.no_grad()
def test_a_window_of_the_5b_editor_is_exported() -> None:
    """77 frames at 512 x 512 pixels through two of the thirty blocks, without numbers: one graph."""
    with torch.device("meta"):
        window = _Window(build_transformer(ModelConfig(num_layers=2)).eval().to(torch.bfloat16))
        latents, speech = torch.randn(1, 48, 20, 32, 32), torch.randn(1, 20, 8, 2048)
        inputs = (latents, torch.ones(1), speech, latents, torch.randn(1, 512, 4096), latents[:, :, :2])
    exported = torch.export.export(window, inputs, strict=False)
    (made,) = [node.args[0][0] for node in exported.graph.nodes if node.op == "output"]
    assert made.meta["val"].shape == latents.shape
