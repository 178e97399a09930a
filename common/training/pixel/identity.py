"""Identity loss of the texture phase: is the face of the guess the same person's (P, spec §5: weight .05)?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from common.errors import UserError
from common.face.align import align_faces
from common.face.identity import recognition_model
from common.face.model_pack import DEFAULT_PACK
from common.files import PathLike
from common.models.frozen import freeze, weight_fingerprint
from common.models.onnx_torch import OnnxNetwork
from common.training.pixel.clip import DecodedClip, GivenConditions, spread_frames, spread_pictures


class FaceEmbedder:
    """ArcFace of an insightface pack with gradients: the same file, alignment and input range.

    Faces that are large in the crop are smoothed before they are shrunk (:func:`align_faces`), which
    insightface does not do: a gradient that reached only every fourth pixel would draw dots.
    """

    def __init__(self, pack: str = DEFAULT_PACK, root: PathLike = "") -> None:
        """Raises UserError where the pack is missing, has no recognition model, or one without gradients."""
        found = recognition_model(pack, root, otherwise="set phase.identity.weight=0")
        self.size = int(found.input_size[0])
        if self.size % 112:
            raise UserError(
                f"{found.model_file}: wants faces of {self.size} px; ArcFace's alignment is made for 112 px: "
                "choose another pack."
            )
        # Pictures in [-1, 1] are pixels p = 127.5 x + 127.5; the network wants (p - mean) / std.
        self._scale = 127.5 / found.input_std
        self._shift = (127.5 - found.input_mean) / found.input_std
        self._network = freeze(OnnxNetwork(found.model_file))
        self.fingerprint = weight_fingerprint(self._network)

    def __call__(self, frames: Tensor, landmarks: Tensor) -> Tensor:
        """(M, 3, S, S) RGB in [-1, 1] with (M, 68, 2 or 3) in pixels -> (M, D) of unit length."""
        faces = align_faces(frames.float(), landmarks.float(), self.size)
        vectors = self._network.to(frames.device)(faces * self._scale + self._shift)
        return functional.normalize(vectors.flatten(1), dim=-1)


class IdentityLoss:
    """L = mean over frames of 1 - cos(ArcFace(made), ArcFace(real)), both aligned by the real landmarks.

    ``real`` is the autoencoder's decode of the true latents, not the video: what the autoencoder itself does
    to a face is no fault of the model, and a perfect guess costs exactly nothing.

    Only of samples whose audio is switched off (P) and that were given their reference (G): with neither, the
    model cannot know whose face to make.
    """

    name = "identity"
    needs_real = needs_landmarks = True

    def __init__(self, embed: FaceEmbedder, frame_stride: int = 4) -> None:
        """``frame_stride``: one of so many frames is looked at."""
        self.embed, self.stride = embed, frame_stride
        self.fingerprint = embed.fingerprint

    def applies_to(self, given: GivenConditions) -> Tensor:
        return given.silent

    def __call__(self, clip: DecodedClip) -> Tensor:
        assert clip.real is not None and clip.landmarks is not None
        batch = clip.made.shape[0]
        points = spread_frames(clip.landmarks[:, None], self.stride).flatten(0, 2)
        made = self.embed(spread_pictures(clip.made, self.stride), points)
        with torch.no_grad():
            real = self.embed(spread_pictures(clip.real, self.stride), points)
        return (1 - (made * real).sum(dim=-1)).view(batch, -1).mean(dim=1)
