"""FVD: do made clips move as real clips do? (Unterthiner 2018, arXiv 1812.01717, sec. 3)."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from common.files import PathLike, fingerprint
from common.models.frozen import weight_fingerprint
from evaluation.dubbed_clip import DubbedClip, Frames
from evaluation.metrics.base import Better, Features, Kind, Metric, Values
from evaluation.metrics.batches import to_tensor
from evaluation.metrics.frechet import pooled_distance
from evaluation.networks.i3d import CLASSES, FRAMES, I3D, SIDE
from evaluation.networks.weights import load_network

FEWEST = 64
"""Clips per side below which FVD is left out."""


def load_i3d(path: PathLike) -> I3D:
    """From ``rgb_imagenet.pt`` of pytorch-i3d. Raises UserError for any other file, TorchScript included."""
    return load_network(I3D(), path, "I3D of Kinetics-400")


class Fvd:
    """FVD of face crops against the source's at the same frames.

    Args:
        network: I3D.
        device: where it runs.
        fewest: clips per side below which the value is left out.
    """

    def __init__(self, network: I3D, device: str = "cpu", fewest: int = FEWEST) -> None:
        self.network, self.device, self.fewest = network.to(device), device, fewest
        self.metrics = (
            Metric(
                "fvd", "FVD", "", Better.lower,
                f"Frechet distance of I3D logits, {FRAMES}-frame clips of face crops at {SIDE} px, made "
                f"against source; biased upwards for small sets (rank {CLASSES}), left out under {fewest}",
                "Unterthiner 2018, sec. 3, weights of pytorch-i3d; on face crops: not to be compared with "
                "whole frames", "looks", (Kind.cross, Kind.self),
            ),
        )  # fmt: skip
        self.fingerprint = fingerprint(["fvd", 1, fewest, weight_fingerprint(network)])

    def features(self, clip: DubbedClip) -> Features:
        """``made`` and ``real``: (n, 400) float32, of clips without overlap whose source shows a face."""
        if clip.kind not in self.metrics[0].kinds:
            return {}
        seen = clip.source.present
        starts = [i for i in range(0, len(clip) - FRAMES + 1, FRAMES) if seen[i : i + FRAMES].all()]
        if not starts:
            return {}
        return {"made": self._run(clip.made.crops, starts), "real": self._run(clip.source.crops, starts)}

    def pool(self, clips: list[Features]) -> Values:
        value = pooled_distance(((clip["made"], clip["real"]) for clip in clips if clip), self.fewest)
        return {} if value is None else {"fvd": value}

    def _run(self, frames: Frames, starts: list[int]) -> np.ndarray:
        rows = []
        with torch.inference_mode():
            for first in starts:
                pictures = to_tensor(frames[first : first + FRAMES], self.device)
                pictures = functional.interpolate(
                    pictures, (SIDE, SIDE), mode="bilinear", align_corners=False
                )
                rows.append(self.network(pictures.transpose(0, 1)[None])[0].cpu().numpy())
        return np.stack(rows)
