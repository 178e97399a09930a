"""SyncNet: do five frames of a face and 0.2 s of sound belong together?

Chung & Zisserman, "Out of time: automated lip sync in the wild" (ACCV workshops 2016), in the version whose
public weights (``syncnet_v2.model``) published LSE-D and LSE-C are measured with. The weights are not
shipped; the names of the parameters are theirs.
"""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.errors import UserError
from common.files import PathLike, require_file, sha256_file
from evaluation.networks.mfcc import mfcc

SIDE = 224
FRAMES = 5
CEPSTRA_PER_FRAME = 4  # 100 Hz against 25
SAMPLES_PER_FRAME = 640
EMBEDDING = 1024
_BATCH = 20


def _steps(conv: type[nn.Module], norm: type[nn.Module], plan: list) -> nn.Sequential:
    """Convolution, norm, ReLU for every entry of ``plan``; entries of pooling stand for themselves."""
    layers: list[nn.Module] = []
    for entry in plan:
        if isinstance(entry, nn.Module):
            layers.append(entry)
        else:
            before, after, kernel, options = entry
            layers += [conv(before, after, kernel, **options), norm(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _head() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Linear(512, EMBEDDING)
    )


class SyncNet(nn.Module):
    """Two towers of convolutions."""

    def __init__(self) -> None:
        super().__init__()
        around, beside = {"padding": 1}, {"padding": (0, 1, 1)}
        self.netcnnaud = _steps(
            nn.Conv2d,
            nn.BatchNorm2d,
            [
                (1, 64, 3, around),
                nn.MaxPool2d(1, 1),
                (64, 192, 3, around),
                nn.MaxPool2d(3, (1, 2)),
                (192, 384, 3, around),
                (384, 256, 3, around),
                (256, 256, 3, around),
                nn.MaxPool2d(3, 2),
                (256, 512, (5, 4), {}),
            ],
        )
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = _steps(
            nn.Conv3d,
            nn.BatchNorm3d,
            [
                (3, 96, (5, 7, 7), {"stride": (1, 2, 2)}),
                nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
                (96, 256, (1, 5, 5), {"stride": (1, 2, 2), "padding": (0, 1, 1)}),
                nn.MaxPool3d((1, 3, 3), (1, 2, 2), padding=(0, 1, 1)),
                (256, 256, (1, 3, 3), beside),
                (256, 256, (1, 3, 3), beside),
                (256, 256, (1, 3, 3), beside),
                nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
                (256, 512, (1, 6, 6), {}),
            ],
        )

    def embed_frames(self, frames: Tensor) -> Tensor:
        """(B, 3, 5, 224, 224), BGR in 0 ... 255 -> (B, 1024)."""
        embedding: Tensor = self.netfclip(self.netcnnlip(frames).flatten(1))
        return embedding

    def embed_sound(self, cepstra: Tensor) -> Tensor:
        """(B, 1, 13, 20) -> (B, 1024)."""
        embedding: Tensor = self.netfcaud(self.netcnnaud(cepstra).flatten(1))
        return embedding


def load_syncnet(path: PathLike) -> SyncNet:
    """The net with the weights of a state dict that torch has saved.

    Raises:
        UserError: there is no such file, or it is no state dict of this net.
    """
    source = require_file(path, "SyncNet weights file")
    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(
            f"The SyncNet weights '{source}' cannot be read as tensors saved by torch: get the file again."
        ) from error
    net = SyncNet()
    wanted = net.state_dict()
    if not isinstance(state, dict):
        raise UserError(f"The SyncNet weights '{source}' hold no state dict: give syncnet_v2.model.")
    # Counters of training steps: files from before torch 0.4.1 have none, and nothing here reads them.
    wrong = [
        name
        for name, value in wanted.items()
        if not name.endswith("num_batches_tracked")
        and (not isinstance(state.get(name), Tensor) or state[name].shape != value.shape)
    ]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise UserError(
            f"The SyncNet weights '{source}' lack {', '.join(wrong[:4])}{more}, or have another shape there: "
            "give syncnet_v2.model."
        )
    net.load_state_dict({**wanted, **{name: state[name] for name in wanted if name in state}})
    return net.eval()


class SyncNetJudge:
    """The public evaluation of SyncNet on one clip, as Wav2Lip's LSE-D and LSE-C use it.

    It was trained on squares of 1.4 x the box of a face detector, hairline to chin, which begin at the
    hairline: about 2.7 eye-corner distances with the mouth at .57 of the height. The crops of a
    DubbedClip (1.45 x the face from brows to chin: 2.54 eye-corner distances, mouth at .55) are resized as
    they are: numbers are near those of the public pipeline, not the same.

    Raises:
        UserError: from the constructor, see :func:`load_syncnet`.
    """

    key, name, window, reach, cosine = "syncnet", "SyncNet", FRAMES, 15, False

    def __init__(self, path: PathLike, device: torch.device | str = "cpu") -> None:
        self.net = load_syncnet(path).to(device)
        self.fingerprint = f"syncnet-{sha256_file(path)[:16]}"

    @torch.no_grad()
    def distances(self, frames: NDArray[np.uint8], sound: NDArray[np.float32]) -> NDArray[np.float64]:
        """See :class:`evaluation.metrics.lip_sync.Judge`.

        Beyond the clip's ends the public evaluation compares with a vector of zeros, and leaves the last
        window of the clip out; so does this.
        """
        device = next(self.net.parameters()).device
        starts = min(len(frames), len(sound) // SAMPLES_PER_FRAME) - FRAMES
        if starts < 1:
            return np.zeros((0, 2 * self.reach + 1))
        small = np.stack([cv2.resize(f, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for f in frames])
        video = torch.from_numpy(np.ascontiguousarray(small[..., ::-1])).movedim(-1, 0)
        cepstra = torch.from_numpy(mfcc(sound).astype(np.float32).T)[None]
        wide = CEPSTRA_PER_FRAME * FRAMES
        lips, speech = [], []
        for first in range(0, starts, _BATCH):
            part = range(first, min(first + _BATCH, starts))
            pictures = torch.stack([video[:, s : s + FRAMES] for s in part]).float()
            sounds = torch.stack([cepstra[..., 4 * s : 4 * s + wide] for s in part])
            lips.append(self.net.embed_frames(pictures.to(device)).cpu())
            speech.append(self.net.embed_sound(sounds.to(device)).cpu())
        visual, audio = torch.cat(lips), torch.cat(speech)
        padded = torch.nn.functional.pad(audio, (0, 0, self.reach, self.reach))
        around = padded.unfold(0, 2 * self.reach + 1, 1).movedim(-1, 1)
        # pairwise_distance adds 1e-6 to each difference; kept, so that numbers agree to the last digit.
        distance = torch.nn.functional.pairwise_distance(visual[:, None], around)
        return np.asarray(distance.numpy(), np.float64)
