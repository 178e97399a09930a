"""LPIPS: how different two pictures look to a network (Zhang 2018, arXiv 1801.03924, eq. 1; version 0.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.files import PathLike, fingerprint
from common.models.frozen import weight_fingerprint
from evaluation.dubbed_clip import DubbedClip, Footage, Frames
from evaluation.metrics.base import Better, Metric, Values
from evaluation.metrics.batches import batches
from evaluation.networks.alexnet import AlexNet
from evaluation.networks.vgg16 import VGG16
from evaluation.networks.weights import load_network

# Mean and deviation of ImageNet, for pictures in [-1, 1].
_MEAN = (-0.030, -0.088, -0.188)
_DEVIATION = (0.458, 0.448, 0.450)
_NAMES = {"alex": "AlexNet", "vgg": "VGG-16"}


class _Linear(nn.Module):
    """One weight per channel; named as in the public files, which count a dropout before it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))

    def forward(self, squares: Tensor) -> Tensor:
        weighted: Tensor = self.model(squares)
        return weighted


class _Linears(nn.Module):
    """``lin0`` ... ``lin4``."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        for i, channels in enumerate(widths):
            self.add_module(f"lin{i}", _Linear(channels))


class Lpips(nn.Module):
    """Distance of pictures: over layers, the mean over places of w . (f_a - f_b)^2, f of unit length.

    Args:
        backbone: :class:`AlexNet` or :class:`VGG16`.
        linears: its weights per channel.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: AlexNet | VGG16, linears: _Linears) -> None:
        super().__init__()
        self.backbone, self.linears = backbone, linears
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(B, 3, S, S) RGB in [-1, 1], twice -> (B,)."""
        maps_a, maps_b = (self.backbone((x - self.mean) / self.deviation) for x in (a, b))
        total = torch.zeros(len(a), device=a.device)
        for linear, fa, fb in zip(self.linears.children(), maps_a, maps_b, strict=True):
            total += linear((_unit(fa) - _unit(fb)).square()).mean(dim=(1, 2, 3))
        return total


def _unit(maps: Tensor) -> Tensor:
    return maps / (maps.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def load_lpips(variant: str, backbone: PathLike, linear: PathLike) -> Lpips:
    """LPIPS from two files.

    Args:
        variant: "alex" or "vgg".
        backbone: torchvision's state dict of AlexNet or VGG-16.
        linear: ``alex.pth`` or ``vgg.pth`` of LPIPS v0.1 (keys ``lin0.model.1.weight`` ...).

    Raises:
        UserError: a file is missing, damaged or another network's.
    """
    network = AlexNet() if variant == "alex" else VGG16()
    name = _NAMES[variant]
    trunk = load_network(network, backbone, f"{name} of torchvision")
    linears = load_network(_Linears(trunk.channels), linear, f"linear part of LPIPS for {name}")
    return Lpips(trunk, linears).eval()


def lpips_distances(network: Lpips, a: Frames, b: Frames, device: str = "cpu") -> list[float]:
    """Distance of each of N pairs of frames (N, S, S, 3) uint8; ``device``: where the network is.

    Raises:
        ValueError: other shapes.
    """
    if a.shape != b.shape:
        raise ValueError(f"frames of shapes {a.shape} and {b.shape}")
    found: list[float] = []
    with torch.inference_mode():
        for x, y in zip(batches(a, device), batches(b, device), strict=True):
            found += network(x, y).tolist()
    return found


class LpipsToTruth:
    """LPIPS of face crops against the right answer: the truth, or the source where it says its own speech."""

    def __init__(self, network: Lpips, variant: str, device: str = "cpu") -> None:
        self.network, self.device = network.to(device), device
        self.key = f"lpips_{variant}"
        self.metrics = (
            Metric(
                self.key, f"LPIPS ({variant})", "", Better.lower,
                "mean over frames of LPIPS v0.1(made, truth) on face crops; the source is the truth of self "
                "and cycle rows",
                "Zhang 2018, eq. 1", "truth",
            ),
        )  # fmt: skip
        self.fingerprint = fingerprint([self.key, 1, weight_fingerprint(network)])

    def __call__(self, clip: DubbedClip) -> Values:
        truth = right_answer(clip)
        if truth is None or not len(clip):
            return {}
        distances = lpips_distances(self.network, clip.made.crops, truth.crops, self.device)
        return {self.key: sum(distances) / len(distances)}


def right_answer(clip: DubbedClip) -> Footage | None:
    """What a perfect dub would be, where that is known."""
    if clip.truth is not None:
        return clip.truth
    return clip.source if clip.kind in ("self", "cycle") else None
