"""I3D, Inception v1 in three dimensions (Carreira & Zisserman 2017), whose logits FVD is defined by.

Names are those of ``rgb_imagenet.pt`` of pytorch-i3d: DeepMind's weights for Kinetics-400.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 224
FRAMES = 16
CLASSES = 400

Size = tuple[int, int, int]


def _pad_as_tensorflow(x: Tensor, size: Size, stride: Size) -> Tensor:
    """Zeros so that the output has ceil(n / stride) places; the odd one goes behind."""
    edges: list[int] = []
    for length, kernel, step in zip(x.shape[:1:-1], size[::-1], stride[::-1], strict=True):
        total = max((-(-length // step) - 1) * step + kernel - length, 0)
        edges += [total // 2, total - total // 2]
    return functional.pad(x, edges)


def _max_pool(x: Tensor, size: Size, stride: Size) -> Tensor:
    # Zeros never win against what comes out of a ReLU.
    return functional.max_pool3d(_pad_as_tensorflow(x, size, stride), size, stride)


class _Unit(nn.Module):
    """Convolution with batch norm and ReLU, or with neither and a bias (``logits``)."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, stride: int = 1, last: bool = False) -> None:
        super().__init__()
        self._size, self._stride = (size,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(inputs, outputs, size, stride, bias=last)
        self.bn = None if last else nn.BatchNorm3d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(_pad_as_tensorflow(x, self._size, self._stride))
        return x if self.bn is None else functional.relu(self.bn(x))


class _Mixed(nn.Module):
    """Four branches. ``widths``: 1x1 | 1x1 -> 3x3 | 1x1 -> 3x3 | 1x1 behind the pool."""

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.b0 = _Unit(inputs, widths[0])
        self.b1a, self.b1b = _Unit(inputs, widths[1]), _Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = _Unit(inputs, widths[3]), _Unit(widths[3], widths[4], 3)
        self.b3b = _Unit(inputs, widths[5])

    def forward(self, x: Tensor) -> Tensor:
        pooled = _max_pool(x, (3, 3, 3), (1, 1, 1))
        branches = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)]
        return torch.cat(branches, dim=1)


class I3D(nn.Module):
    """Clips to the logits of 400 actions."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, stride=2)
        self.Conv3d_2b_1x1 = _Unit(64, 64)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3)
        self.Mixed_3b = _Mixed(192, (64, 96, 128, 16, 32, 32))
        self.Mixed_3c = _Mixed(256, (128, 128, 192, 32, 96, 64))
        self.Mixed_4b = _Mixed(480, (192, 96, 208, 16, 48, 64))
        self.Mixed_4c = _Mixed(512, (160, 112, 224, 24, 64, 64))
        self.Mixed_4d = _Mixed(512, (128, 128, 256, 24, 64, 64))
        self.Mixed_4e = _Mixed(512, (112, 144, 288, 32, 64, 64))
        self.Mixed_4f = _Mixed(528, (256, 160, 320, 32, 128, 128))
        self.Mixed_5b = _Mixed(832, (256, 160, 320, 32, 128, 128))
        self.Mixed_5c = _Mixed(832, (384, 192, 384, 48, 128, 128))
        self.logits = _Unit(1024, CLASSES, last=True)

    def forward(self, clips: Tensor) -> Tensor:
        """(B, 3, N, 224, 224) RGB in [-1, 1], N >= 9 -> (B, 400)."""
        wide, cube, small = (1, 3, 3), (3, 3, 3), (2, 2, 2)
        x = _max_pool(self.Conv3d_1a_7x7(clips), wide, (1, 2, 2))
        x = _max_pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), wide, (1, 2, 2))
        x = _max_pool(self.Mixed_3c(self.Mixed_3b(x)), cube, small)
        x = self.Mixed_4f(self.Mixed_4e(self.Mixed_4d(self.Mixed_4c(self.Mixed_4b(x)))))
        x = self.Mixed_5c(self.Mixed_5b(_max_pool(x, small, small)))
        x = functional.avg_pool3d(x, (2, 7, 7), stride=1)
        return self.logits(x).mean(dim=(2, 3, 4))
