"""The networks: the painter as plain modules, so that a dub reads it fast, and the critic of its training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.errors import UserError
from common.files import PathLike
from common.models.plain_network import load_network, read_network_config
from common.own_mouths.painting.patch import COLOURS, PLANES

_GROUPS = 8
_FOLD = 2
"""Pixels of a patch are folded into channels, so many in either direction: four times as fast."""


class PainterNetwork(nn.Module):
    """A U-Net of residual convolutions at a half, a quarter and an eighth of the patch.

    Args:
        widths: channels at these, multiples of 8.
        colours: whose colours it is told.

    forward: (B, PLANES, H, W) of :func:`common.own_mouths.painting.patch.known`, H and W multiples of 8, ->
    (B, 3, H, W), colours in 0 to 1.
    """

    def __init__(self, widths: Sequence[int] = (48, 96, 128), colours: str = COLOURS) -> None:
        super().__init__()
        if colours != COLOURS:
            raise ValueError(f"it was told the colours of {colours!r}, not of {COLOURS!r}")
        self.widths = tuple(widths)
        first, second, third = widths
        self.proj_in = nn.Conv2d(PLANES * _FOLD**2, first, 3, padding=1)
        self.down_blocks = nn.ModuleList([_Residual(first, first), _Residual(second, second)])
        self.downsamplers = nn.ModuleList(
            [_Convolution(first, second, stride=2), _Convolution(second, third, stride=2)]
        )
        self.mid_block = nn.Sequential(_Residual(third, third), _Residual(third, third))
        self.up_blocks = nn.ModuleList([_Residual(second + third, second), _Residual(first + second, first)])
        self.norm = nn.GroupNorm(_GROUPS, first)
        self.proj_out = _Convolution(first, 3 * _FOLD**2)

    def forward(self, planes: Tensor) -> Tensor:
        hidden = self.proj_in(functional.pixel_unshuffle(planes, _FOLD))
        skipped = []
        for block, down in zip(self.down_blocks, self.downsamplers, strict=True):
            hidden = block(hidden)
            skipped.append(hidden)
            hidden = down(hidden)
        hidden = self.mid_block(hidden)
        for block in self.up_blocks:
            larger = functional.interpolate(hidden, scale_factor=2.0, mode="nearest")
            hidden = block(torch.cat([skipped.pop(), larger], dim=1))
        hidden = self.proj_out(functional.silu(self.norm(hidden)))
        return torch.sigmoid(functional.pixel_shuffle(hidden, _FOLD))


class PatchCritic(nn.Module):
    """Tells filmed patches from painted ones, place by place (Isola et al. 2017, section 3.2.2).

    Args:
        channels: of its input.
        widths: of its layers.

    forward: (B, channels, H, W) -> logits (B, H / 4, W / 4), high: filmed; and the features of each layer.
    """

    def __init__(self, channels: int, widths: Sequence[int] = (32, 64, 96)) -> None:
        super().__init__()
        first, second, third = widths
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(channels, first, 4, 2, 1),
                nn.Conv2d(first, second, 4, 2, 1),
                nn.Conv2d(second, third, 3, 1, 1),
            ]
        )
        self.norms = nn.ModuleList(
            [nn.Identity(), nn.GroupNorm(_GROUPS, second), nn.GroupNorm(_GROUPS, third)]
        )
        self.proj_out = nn.Conv2d(third, 1, 3, 1, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            pictures = functional.leaky_relu(norm(layer(pictures)), 0.2)
            features.append(pictures)
        return self.proj_out(pictures)[:, 0], features


def load_painter(folder: PathLike) -> PainterNetwork:
    """The painter that :class:`common.own_mouths.painting.model.MouthPainter` wrote to a folder, frozen.

    Raises:
        UserError: there is none, it cannot be loaded, or it learnt from the colours of lips, as painters of
            earlier versions did.
    """
    what = "painter of mouths"
    if "colours" not in read_network_config(Path(folder), what):
        raise UserError(
            f"{folder}: this painter of mouths is one of an earlier version, which was told other colours: "
            "train it again, or adapt it again with `bootdub adapt`."
        )
    return load_network(PainterNetwork, Path(folder), what)


class _Residual(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(_GROUPS, channels), _Convolution(channels, out)
        self.norm2, self.conv2 = nn.GroupNorm(_GROUPS, out), _Convolution(out, out)
        self.shortcut = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, hidden: Tensor) -> Tensor:
        changed = self.conv1(functional.silu(self.norm1(hidden)))
        return self.shortcut(hidden) + self.conv2(functional.silu(self.norm2(changed)))


class _Convolution(nn.Conv2d):
    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__(channels, out, 3, stride=stride, padding=1)
