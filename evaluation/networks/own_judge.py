"""The repository's own sync expert as a judge: small, always there, and never used by a loss."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from common.autoencoder.pixels import to_video
from common.errors import UserError
from common.files import PathLike, sha256_file
from common.models.shipped import ShippedModel
from common.speech.base import SpeechEncoder
from common.speech.mel import MelEncoder
from common.speech.windows import FEATURES_PER_FRAME
from common.sync_expert.model import load_expert

_CONFIG = "config.json"
_WEIGHTS = "diffusion_pytorch_model.safetensors"
_BATCH = 32
SHIPPED_JUDGE = ShippedModel("sync-judge", _CONFIG, "BOOTDUB_SYNC_JUDGE", "sync expert", "--judge FOLDER")


def default_judge_path() -> Path:
    """The sync expert for callers that name none. Raises UserError where there is none."""
    return SHIPPED_JUDGE.folder()


class OwnJudge:
    """A :class:`~common.sync_expert.model.SyncExpert` that no training's loss has used.

    Distances are 1 - cosine. A shift for which the clip has no sound is NaN: nothing is made up beyond its
    ends.

    Args:
        folder: a saved expert; None takes :func:`default_judge_path`.
        speech: the encoder whose features it takes; None takes log-mel, which needs no weights.
        device: where it runs.

    Raises:
        UserError: no expert there, or one that was trained on features of another encoder.
    """

    key, reach, cosine = "own", 15, True

    def __init__(
        self,
        folder: PathLike | None = None,
        speech: SpeechEncoder | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        place = default_judge_path() if folder is None else Path(folder)
        self.speech = speech or MelEncoder()
        # Stored in half precision, computed in single.
        self.expert = load_expert(place).float().eval()
        if self.expert.speech and self.expert.speech != self.speech.fingerprint:
            raise UserError(
                f"The sync judge '{place}' was trained on features of another speech encoder "
                f"({self.expert.speech}) than '{self.speech.name}' ({self.speech.fingerprint}): give "
                "the one it was trained with."
            )
        self.expert.to(device)  # type: ignore[arg-type]
        self.name = f"own {place.resolve().name}"
        self.window = self.expert.frames
        weights = sha256_file(place / _WEIGHTS)[:16]
        self.fingerprint = f"own-{weights}-{self.speech.fingerprint}"

    @torch.no_grad()
    def distances(self, frames: NDArray[np.uint8], sound: NDArray[np.float32]) -> NDArray[np.float64]:
        """See :class:`evaluation.metrics.lip_sync.Judge`."""
        side, wide = int(self.expert.config["crop_size"]), FEATURES_PER_FRAME * self.window
        device = next(self.expert.parameters()).device
        starts = len(frames) - self.window + 1
        if starts < 1 or not len(sound):
            return np.zeros((0, 2 * self.reach + 1))
        small = np.stack([cv2.resize(f, (side, side), interpolation=cv2.INTER_AREA) for f in frames])
        video = to_video(small)
        features = torch.from_numpy(self.speech.encode(sound))
        spoken = min(starts, (len(features) - wide) // FEATURES_PER_FRAME + 1)
        if spoken < 1:
            return np.zeros((0, 2 * self.reach + 1))
        lips, words = [], []
        for first in range(0, starts, _BATCH):
            part = range(first, min(first + _BATCH, starts))
            pictures = torch.stack([video[:, s : s + self.window] for s in part])
            lips.append(self.expert.embed_frames(pictures.to(device)).cpu())
        for first in range(0, spoken, _BATCH):
            part = range(first, min(first + _BATCH, spoken))
            sounds = torch.stack([features[FEATURES_PER_FRAME * s :][:wide] for s in part])
            words.append(self.expert.embed_features(sounds.to(device)).cpu())
        cosines = (torch.cat(lips) @ torch.cat(words).T).double().numpy()
        result = np.full((starts, 2 * self.reach + 1), np.nan)
        for shift in range(-self.reach, self.reach + 1):
            rows = np.arange(max(0, -shift), min(starts, spoken - shift))
            result[rows, shift + self.reach] = 1 - cosines[rows, rows + shift]
        return result
