"""A sync expert in pixel space: do these lips and this sound belong together?

Two towers of convolutions, one for 16 frames of the lower half of a face crop, one for the speech features of
the same time; the cosine of their outputs says how well they fit (SyncNet, Chung & Zisserman 2016; window and
recipe after the stable SyncNet of LatentSync, arXiv 2412.09262). A learnt scale and bias turn the cosine into
a logit, so that the loss can leave 0.693 whatever the spread of cosines at the start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.downsampling import Downsample2D
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional

from common.errors import UserError
from common.speech.windows import FEATURES_PER_FRAME

GROUPS = 8
# A coarse plane is kept before the last layer: sync is about where in the picture and when in the sound.
PLANE = 4


class SyncExpert(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Embeds lips and speech into one space.

    Args:
        crop_size: side S of the face crops in pixels.
        frames: video frames N (25 per second) that it sees at once.
        audio_channels: size A of a speech feature (50 per second).
        widths: channels per level; every level but the last halves height and width.
        embed_dim: size D of the embeddings.
        speech: fingerprint of the speech encoder whose features it reads; empty: unknown.
    """

    @register_to_config
    def __init__(
        self,
        crop_size: int = 64,
        frames: int = 16,
        audio_channels: int = 80,
        widths: Sequence[int] = (32, 64, 128, 128),
        embed_dim: int = 128,
        speech: str = "",
    ) -> None:
        super().__init__()
        self.frames, self.speech = frames, speech
        self.visual = _Tower(3 * frames, widths, embed_dim)
        self.audio = _Tower(1, widths, embed_dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def embed_frames(self, frames: Tensor) -> Tensor:
        """(B, 3, N, S, S) in [-1, 1] -> (B, D) of unit length. Only the lower half is looked at."""
        lower = frames[..., frames.shape[-2] // 2 :, :]
        return self.visual(lower.flatten(1, 2))

    def embed_features(self, features: Tensor) -> Tensor:
        """(B, 2 N, A) -> (B, D) of unit length."""
        return self.audio(features.unsqueeze(1))

    def logits(self, visual: Tensor, audio: Tensor) -> Tensor:
        """(..., D) and (..., D) -> (...): positive where they are taken to belong together."""
        return self.log_scale.exp() * (visual * audio).sum(dim=-1) + self.bias

    def forward(self, frames: Tensor, features: Tensor) -> Tensor:
        """Logits (B, K) of clips (B, 3, N, S, S) with K candidates of speech each, (B, K, 2 N, A)."""
        batch, candidates = features.shape[:2]
        audio = self.embed_features(features.flatten(0, 1)).unflatten(0, (batch, candidates))
        return self.logits(self.embed_frames(frames)[:, None], audio)


class _Tower(nn.Module):
    """Residual levels, then one vector of unit length."""

    def __init__(self, in_channels: int, widths: Sequence[int], embed_dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, widths[0], 3, padding=1)]
        for i, width in enumerate(widths):
            layers.append(_Residual(widths[max(0, i - 1)], width))
            if i < len(widths) - 1:
                layers.append(Downsample2D(width, use_conv=True, name="op"))
        self.layers = nn.Sequential(*layers)
        self.norm = nn.GroupNorm(GROUPS, widths[-1])
        self.project = nn.Linear(widths[-1] * PLANE * PLANE, embed_dim)

    def forward(self, values: Tensor) -> Tensor:
        maps = functional.silu(self.norm(self.layers(values)))
        pooled = functional.adaptive_avg_pool2d(maps, PLANE)
        return functional.normalize(self.project(pooled.flatten(1)), dim=-1)


class _Residual(nn.Module):
    """Diffusers' block without a timestep."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        # temb_channels=None is the block's own way of having no timestep; its annotation says int.
        self.block = ResnetBlock2D(
            in_channels=in_channels,
            out_channels=out_channels,
            temb_channels=None,  # type: ignore[arg-type]
            groups=GROUPS,
        )

    def forward(self, values: Tensor) -> Tensor:
        output: Tensor = self.block(values, None)
        return output


def load_expert(folder: Path | str) -> SyncExpert:
    """A saved expert. Raises UserError where there is none."""
    if not (Path(folder) / "config.json").is_file():
        raise UserError(
            f"{folder}: no sync expert there (no config.json); train one with common/sync_expert/train.py."
        )
    expert = SyncExpert.from_pretrained(folder, local_files_only=True)
    assert isinstance(expert, SyncExpert)
    return expert


@torch.no_grad()
def offset_scores(expert: SyncExpert, frames: Tensor, features: Tensor, margin: int, reach: int) -> Tensor:
    """How well lips and sound fit when the sound is shifted.

    Args:
        frames: (3, L, S, S) in [-1, 1], L >= N.
        features: (2 (L + 2 margin), A), features of the clip with ``margin`` video frames on each side.
        reach: largest shift in video frames.

    Returns:
        (2 reach + 1,) mean cosine for shifts -reach ... reach; a positive shift pairs the lips with sound
        that comes later. NaN where a shift is beyond the features.
    """
    size = expert.frames
    starts = range(frames.shape[1] - size + 1)
    visual = expert.embed_frames(torch.stack([frames[:, s : s + size] for s in starts]))
    total = features.shape[0] // FEATURES_PER_FRAME - size + 1
    windows = [features[FEATURES_PER_FRAME * s :][: FEATURES_PER_FRAME * size] for s in range(total)]
    audio = expert.embed_features(torch.stack(windows))
    cosines = visual @ audio.T  # (starts, total)
    scores = torch.full((2 * reach + 1,), math.nan)
    for shift in range(-reach, reach + 1):
        pairs = [(s, margin + s + shift) for s in starts if 0 <= margin + s + shift < total]
        if pairs:
            scores[shift + reach] = torch.stack([cosines[pair] for pair in pairs]).mean()
    return scores


@dataclass(frozen=True)
class SyncScore:
    """``score``: mean cosine at no shift. ``offset``: best shift in frames. ``confidence``: best - median."""

    score: float
    offset: int
    confidence: float

    @classmethod
    def of(cls, scores: Tensor) -> SyncScore:
        """From (2 reach + 1,) scores of ``offset_scores``, NaN where a shift could not be tried."""
        known = scores[~scores.isnan()]
        best = int(scores.nan_to_num(-2.0).argmax())
        confidence = float(known.max() - known.median())
        return cls(float(scores[len(scores) // 2]), best - len(scores) // 2, confidence)
