"""Pairs of stage 1 as LTX-2 sees them, and what is stored of them in a sample's cache.

======================  =====================  ==================================================
tensor                  shape                  content
======================  =====================  ==================================================
``joint_target``        (C, F, h, w)           normalised latents of the target
``joint_source``        (C, F, h / d, w / d)   of the source, d times smaller
``joint_audio``         (L, channels)          normalised tokens of the target's sound
``joint_source_audio``  (L, channels)          of the source's, where it is known
``joint_face``          (F, h, w)              share of a latent's pixels that the face covers
``joint_lips``          (F, h, w)              share that the lips cover
``joint_prompt``        (T, channels)          states of the pair's own caption, for the pictures, where
                                               captions were encoded
``joint_audio_prompt``  (T, channels)          for the sound
======================  =====================  ==================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.data.schema import CACHE, SOURCE_AUDIO, Sample
from common.errors import UserError
from common.face.masks import face_mask, lip_mask
from common.models.ltx2.codecs import JointAudioCodec, JointVideoCodec, mel_frames
from common.models.ltx2.folder import CODECS, folder_fingerprint
from common.models.ltx2.inputs import CellWindow
from common.models.ltx2.package import OpenedPackage
from common.models.ltx2.positions import JointClip, smaller
from common.models.ltx2.roles import PromptStates
from common.models.ltx2.settings import FRAME_STRIDE, PIXEL_STRIDE
from common.speech.joint_mel import JointMelEncoder, mel_window

TARGET, SOURCE, AUDIO = "joint_target", "joint_source", "joint_audio"
SOURCE_SOUND, FACE, LIPS = "joint_source_audio", "joint_face", "joint_lips"
PROMPT, AUDIO_PROMPT = "joint_prompt", "joint_audio_prompt"
CAPTION = "caption"
"""What a pair's meta says of its target."""


@dataclass(frozen=True)
class PairEncoder:
    """Makes the cache of windows of pairs.

    Attributes:
        clip: what a window is.
        codec, audio_codec: of the model.
        downscale: sides of the target over sides of the source.
    """

    clip: JointClip
    codec: JointVideoCodec
    audio_codec: JointAudioCodec
    downscale: int = 1

    def encode(self, sample: Sample, start: int) -> dict[str, Tensor]:
        """The cache of the window that begins with frame ``start``."""
        span = slice(start, start + self.clip.frames)
        landmarks = sample.arrays["landmarks"][span].numpy()
        side = self.clip.width
        cache = {
            TARGET: self.codec.encode_frames(sample.target[span][None])[0],
            SOURCE: self.codec.encode_frames(smaller(sample.source[span], self.downscale)[None])[0],
            AUDIO: self._tokens(sample.audio, start),
            FACE: covered_share(np.asarray(face_mask(landmarks, side))),
            LIPS: covered_share(np.asarray(lip_mask(landmarks, side))),
        }
        if sample.has(SOURCE_AUDIO):
            cache[SOURCE_SOUND] = self._tokens(sample.source_audio, start)
        return {name: value.to(torch.bfloat16) for name, value in cache.items()}

    def _tokens(self, audio: NDArray[np.float32], start: int) -> Tensor:
        frames = mel_frames(self.clip.audio_tokens)
        mel = mel_window(JointMelEncoder().encode(audio), start / self.clip.fps, frames)
        return self.audio_codec.encode(torch.from_numpy(mel).expand(1, 2, -1, -1))[0]


@dataclass(frozen=True)
class JointBatch:
    """B windows: fields as in the table above, (B, ...) float32."""

    keys: tuple[str, ...]
    target: Tensor
    source: Tensor
    audio: Tensor
    source_audio: Tensor | None
    face: Tensor
    lips: Tensor
    prompt: PromptStates | None = None

    def to(self, device: torch.device) -> JointBatch:
        """On another device."""
        tensors: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, (Tensor, PromptStates))
        }
        return replace(self, **tensors)

    def within(self, window: CellWindow) -> JointBatch:
        """What lies in a part of the picture."""
        names = ("target", "source", "face", "lips")
        cut: dict[str, Any] = {name: window.cut(getattr(self, name)) for name in names}
        return replace(self, **cut)


def stack(samples: Sequence[Sample], captions: bool = False) -> JointBatch:
    """Raises UserError where a sample was not encoded for LTX-2, or samples differ in shape.

    ``captions``: with the states of each pair's own caption.
    """

    def stacked(name: str) -> Tensor:
        values = [_part(sample, name) for sample in samples]
        for sample, value in zip(samples, values, strict=True):
            if value.shape != values[0].shape:
                raise UserError(
                    f"The samples {samples[0].key} and {sample.key} differ in the shape of {name}: encode "
                    "all pairs for the same package."
                )
        return torch.stack(values).float()

    target = stacked(TARGET)
    sounds = all(SOURCE_SOUND in sample.cache for sample in samples)
    return JointBatch(
        tuple(sample.key for sample in samples),
        target,
        stacked(SOURCE),
        stacked(AUDIO),
        stacked(SOURCE_SOUND) if sounds else None,
        stacked(FACE),
        stacked(LIPS),
        PromptStates(stacked(PROMPT), stacked(AUDIO_PROMPT)) if captions else None,
    )


def shard_marks(opened: OpenedPackage) -> dict[str, str]:
    """What shards say of the autoencoders and the spectrogram that they were encoded with, in their index."""
    return {"vae": folder_fingerprint(opened.model, CODECS), "speech": JointMelEncoder().fingerprint}


def covered_share(mask: NDArray[np.bool_]) -> Tensor:
    """(N, S, S) bool -> (F, h, w): the share of a latent's pixels, the most in its frames."""
    pooled = torch.nn.functional.avg_pool2d(torch.from_numpy(mask)[:, None].float(), PIXEL_STRIDE)[:, 0]
    groups = [pooled[:1], *pooled[1:].split(FRAME_STRIDE)]
    return torch.stack([group.amax(dim=0) for group in groups])


def _part(sample: Sample, name: str) -> Tensor:
    if not sample.has(CACHE) or name not in sample.cache:
        raise UserError(
            f"The sample {sample.key} has no {name}: run `python -m stage2_dubber.joint.encode` on the pairs."
        )
    return sample.cache[name]
