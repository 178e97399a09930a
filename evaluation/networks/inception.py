"""The Inception v3 that FID is defined by (Szegedy 2016; weights of 2015-12-05, from pytorch-fid).

It is not torchvision's network. Average pools leave the padding out of the mean, the last block pools by
maximum, and there are 1008 classes. Names are those of ``pt_inception-2015-12-05-6726825d.pth``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 299
FEATURES = 2048

Size = tuple[int, int]
Pool = Callable[[Tensor], Tensor]
Branches = Mapping[str, Sequence[tuple[int, int | Size, int]]]

_shrink: Pool = partial(functional.max_pool2d, kernel_size=3, stride=2)
_average: Pool = partial(functional.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
_maximum: Pool = partial(functional.max_pool2d, kernel_size=3, stride=1, padding=1)


class _Unit(nn.Module):
    """Convolution, batch norm, ReLU. ``same``: padded so that a stride of 1 keeps the size."""

    def __init__(
        self, inputs: int, outputs: int, size: int | Size, stride: int = 1, same: bool = True
    ) -> None:
        super().__init__()
        height, width = (size, size) if isinstance(size, int) else size
        padding = (height // 2, width // 2) if same and stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class _Mixed(nn.Module):
    """Branches side by side, joined on the channels.

    Args:
        inputs: channels that come in.
        branches: name of a branch -> its units (outputs, size, stride). One unit takes the branch's name,
            several are numbered: ``NAME_1`` ...
        pool: of the last branch.
        pool_outputs: channels of ``branch_pool`` behind it; 0: nothing behind it.
        forks: branches whose end is a pair (1, 3) and (3, 1) on the same input, each of so many channels.
    """

    def __init__(
        self,
        inputs: int,
        branches: Branches,
        pool: Pool,
        pool_outputs: int = 0,
        forks: dict[str, int] | None = None,
    ) -> None:
        super().__init__()
        self._pool, self._paths = pool, []
        for branch, units in branches.items():
            fork = (forks or {}).get(branch, 0)
            width, names = inputs, []
            for number, (outputs, size, stride) in enumerate(units, 1):
                name = f"{branch}_{number}" if len(units) > 1 or fork else branch
                self.add_module(name, _Unit(width, outputs, size, stride))
                names.append(name)
                width = outputs
            ends = []
            for letter, size in (("a", (1, 3)), ("b", (3, 1))) if fork else ():
                name = f"{branch}_{len(units) + 1}{letter}"
                self.add_module(name, _Unit(width, fork, size))
                ends.append(name)
            self._paths.append((names, ends))
        if pool_outputs:
            self.branch_pool = _Unit(inputs, pool_outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        joined = []
        for names, ends in self._paths:
            y = x
            for name in names:
                y = getattr(self, name)(y)
            joined += [getattr(self, name)(y) for name in ends] if ends else [y]
        pooled = self._pool(x)
        joined.append(self.branch_pool(pooled) if hasattr(self, "branch_pool") else pooled)
        return torch.cat(joined, dim=1)


def _grid35(inputs: int, pooled: int) -> _Mixed:
    branches = {
        "branch1x1": ((64, 1, 1),),
        "branch5x5": ((48, 1, 1), (64, 5, 1)),
        "branch3x3dbl": ((64, 1, 1), (96, 3, 1), (96, 3, 1)),
    }
    return _Mixed(inputs, branches, _average, pooled)


def _grid17(width: int) -> _Mixed:
    row, column = (1, 7), (7, 1)
    branches = {
        "branch1x1": ((192, 1, 1),),
        "branch7x7": ((width, 1, 1), (width, row, 1), (192, column, 1)),
        "branch7x7dbl": (
            (width, 1, 1),
            (width, column, 1),
            (width, row, 1),
            (width, column, 1),
            (192, row, 1),
        ),
    }
    return _Mixed(768, branches, _average, 192)


def _grid8(inputs: int, pool: Pool) -> _Mixed:
    branches = {
        "branch1x1": ((320, 1, 1),),
        "branch3x3": ((384, 1, 1),),
        "branch3x3dbl": ((448, 1, 1), (384, 3, 1)),
    }
    return _Mixed(inputs, branches, pool, 192, forks={"branch3x3": 384, "branch3x3dbl": 384})


class FidInception(nn.Module):
    """Pictures to the 2048 features of the last average pool."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Unit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Unit(32, 32, 3, same=False)
        self.Conv2d_2b_3x3 = _Unit(32, 64, 3)
        self.Conv2d_3b_1x1 = _Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = _Unit(80, 192, 3, same=False)
        self.Mixed_5b = _grid35(192, 32)
        self.Mixed_5c = _grid35(256, 64)
        self.Mixed_5d = _grid35(288, 64)
        down = {"branch3x3": ((384, 3, 2),), "branch3x3dbl": ((64, 1, 1), (96, 3, 1), (96, 3, 2))}
        self.Mixed_6a = _Mixed(288, down, _shrink)
        self.Mixed_6b = _grid17(128)
        self.Mixed_6c = _grid17(160)
        self.Mixed_6d = _grid17(160)
        self.Mixed_6e = _grid17(192)
        deeper: Branches = {
            "branch3x3": ((192, 1, 1), (320, 3, 2)),
            "branch7x7x3": ((192, 1, 1), (192, (1, 7), 1), (192, (7, 1), 1), (192, 3, 2)),
        }
        self.Mixed_7a = _Mixed(768, deeper, _shrink)
        self.Mixed_7b = _grid8(1280, _average)
        self.Mixed_7c = _grid8(2048, _maximum)
        # Never run. Its size tells these weights from torchvision's, whose other names are the same.
        self.fc = nn.Linear(FEATURES, 1008)

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [-1, 1], any size -> (B, 2048)."""
        x = functional.interpolate(pictures, (SIDE, SIDE), mode="bilinear", align_corners=False)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(_shrink(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(_shrink(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean(dim=(2, 3))
