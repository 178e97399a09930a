"""FID: do made frames come from the distribution of real frames? (Heusel 2017, arXiv 1706.08500, eq. 6)."""

from __future__ import annotations

import numpy as np
import torch

from common.files import PathLike, fingerprint
from common.models.frozen import weight_fingerprint
from evaluation.dubbed_clip import DubbedClip, Frames
from evaluation.metrics.base import Better, Features, Kind, Metric, Values
from evaluation.metrics.batches import batches
from evaluation.metrics.frechet import pooled_distance
from evaluation.networks.inception import FEATURES, FidInception
from evaluation.networks.weights import load_network

EVERY = 5
"""One frame of so many: neighbours are nearly the same picture."""

FEWEST = 500
"""Frames per side below which FID is left out."""


def load_inception(path: PathLike) -> FidInception:
    """From ``pt_inception-2015-12-05-6726825d.pth``. Raises UserError for any other file."""
    return load_network(FidInception(), path, "Inception v3 of FID")


class Fid:
    """FID of face crops against the source's at the same frames.

    Args:
        network: its Inception v3.
        device: where it runs.
        fewest: frames per side below which the value is left out.
    """

    def __init__(self, network: FidInception, device: str = "cpu", fewest: int = FEWEST) -> None:
        self.network, self.device, self.fewest = network.to(device), device, fewest
        self.metrics = (
            Metric(
                "fid", "FID", "", Better.lower,
                f"Frechet distance of Inception features, every {EVERY}th face crop of made against source; "
                f"biased upwards for small sets (rank {FEATURES}), left out under {fewest} frames",
                "Heusel 2017, eq. 6, weights of pytorch-fid; on face crops: not to be compared with whole "
                "frames", "looks", (Kind.cross, Kind.self),
            ),
        )  # fmt: skip
        self.fingerprint = fingerprint(["fid", 1, EVERY, fewest, weight_fingerprint(network)])

    def features(self, clip: DubbedClip) -> Features:
        """``made`` and ``real``: (n, 2048) float16, of frames whose source shows a face."""
        if clip.kind not in self.metrics[0].kinds:
            return {}
        chosen = np.flatnonzero(clip.source.present)
        chosen = chosen[chosen % EVERY == 0]
        if not len(chosen):
            return {}
        return {"made": self._run(clip.made.crops[chosen]), "real": self._run(clip.source.crops[chosen])}

    def pool(self, clips: list[Features]) -> Values:
        value = pooled_distance(((clip["made"], clip["real"]) for clip in clips if clip), self.fewest)
        return {} if value is None else {"fid": value}

    def _run(self, frames: Frames) -> np.ndarray:
        with torch.inference_mode():
            rows = [self.network(pictures).cpu() for pictures in batches(frames, self.device)]
        return np.asarray(torch.cat(rows).numpy(), np.float16)
