"""What LTX-2 does for pairs of two languages: it makes a clip, and makes a part of one anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.diffusion.joint import JointGuidance, package_sigmas, sample_joint
from common.models.ltx2.codecs import mel_frames
from common.models.ltx2.inpainting import InpaintedClip
from common.models.ltx2.inputs import ClipParts
from common.models.ltx2.package import JointPackage
from common.models.ltx2.positions import AUDIO_RATE, JointClip
from common.models.ltx2.roles import JointInputs, PromptStates
from common.speech.joint_mel import JointMelEncoder, mel_window
from stage1_generator.companions.plan import clip_seed


@dataclass(frozen=True)
class MadeClip:
    """frames: (N, S, S, 3) uint8. mel: (2, T, 64), the spectrogram of its sound."""

    frames: NDArray[np.uint8]
    mel: Tensor


@dataclass(frozen=True)
class Anew:
    """What of a clip is made anew.

    Attributes:
        cells: (F, h, w) bool.
        tokens: (L,) bool; none: the sound is given.
        prompt: that says what is spoken then.
        audio_scale: guidance away from pictures predicted without the sound; None: the package's.
    """

    cells: Tensor
    tokens: Tensor
    prompt: PromptStates
    audio_scale: float | None = None


class JointClipMaker:
    """Makes clips of the length and size of a package of LTX-2.

    Args:
        package: the model.
        seed: of the noise.
    """

    def __init__(self, package: JointPackage, seed: int) -> None:
        self.package, self._seed = package, seed
        geometry = package.info.geometry
        side = geometry.crop_size
        self.clip = JointClip(geometry.clip_frames, side, side, geometry.fps)

    @torch.inference_mode()
    def make(self, name: str, prompt: PromptStates) -> MadeClip:
        """A clip of a prompt alone; the same name gives the same clip."""
        package, clip = self.package, self.clip
        video, sound = self._noise(name, "clip")
        parts = ClipParts(clip, video, 0, sound, False)
        noisiest = torch.ones(1, device=video.device)
        device = package.codec.device
        sampled = self._sampled(parts.inputs(package.transformer, prompt.to(device), noisiest), None)
        frames = package.codec.decode_frames(parts.latents(sampled))[0]
        return MadeClip(frames, package.audio_codec.decode(parts.sound(sampled))[0])

    @torch.inference_mode()
    def remake(
        self,
        name: str,
        frames: NDArray[np.uint8],
        sound: NDArray[np.float32],
        anew: Anew,
        reference: bool = False,
    ) -> MadeClip:
        """A clip of which a part is made anew.

        Args:
            name: the same name gives the same result.
            frames: (N, S, S, 3) uint8, the clip.
            sound: (samples,) mono at 16 kHz, what is given of its sound; the rest is not used.
            anew: what is made.
            reference: the clip is looked at, too.
        """
        package = self.package
        device = package.codec.device
        latents = package.codec.encode_frames(frames[None])
        noise, audio_noise = self._noise(name, "remade")
        job = InpaintedClip(
            self.clip,
            latents,
            anew.cells.to(device),
            self.tokens_of(sound),
            anew.tokens.to(device),
            noise,
            audio_noise,
            latents if reference else None,
        )
        inputs = job.inputs(package.transformer, anew.prompt.to(device))
        sampled = self._sampled(inputs, anew.audio_scale)
        made = package.codec.decode_frames(job.latents(sampled))[0]
        return MadeClip(made, package.audio_codec.decode(job.sound(sampled))[0])

    def tokens_of(self, sound: NDArray[np.float32]) -> Tensor:
        """(1, L, channels) of the beginning of a sound (samples,) at 16 kHz, with silence after its end."""
        mel = mel_window(JointMelEncoder().encode(sound), 0.0, mel_frames(self.clip.audio_tokens))
        return self.package.audio_codec.encode(torch.from_numpy(mel).expand(1, 2, -1, -1))

    def tokens_in(self, span: slice) -> Tensor:
        """(L,) bool: the tokens of sound that are heard while the frames ``span`` are shown."""
        seconds = torch.arange(self.clip.audio_tokens) / AUDIO_RATE
        return (seconds >= span.start / self.clip.fps) & (seconds < span.stop / self.clip.fps)

    def _sampled(self, inputs: JointInputs, audio_scale: float | None) -> JointInputs:
        settings, diffusion = self.package.settings, self.package.info.diffusion
        scale = diffusion.audio_scale if audio_scale is None else audio_scale
        guidance, sigmas = JointGuidance.of(settings, scale), package_sigmas(settings, diffusion.num_steps)
        negative = self.package.prompts.negative
        return sample_joint(self.package.transformer, inputs, sigmas, guidance, negative)

    def _noise(self, name: str, what: str) -> tuple[Tensor, Tensor]:
        """Of the pictures and of the sound; drawn on the CPU, so that it is the same on every device."""
        package = self.package
        device = package.codec.device
        config: Any = package.transformer.model.config
        shapes = (
            (1, config.in_channels, *self.clip.grid),
            (1, self.clip.audio_tokens, config.audio_in_channels),
        )
        made = []
        for stream, shape in zip(("pictures", "sound"), shapes, strict=True):
            state = clip_seed(self._seed, name, f"{what} {stream}")
            made.append(torch.randn(shape, generator=torch.Generator().manual_seed(state)).to(device))
        return made[0], made[1]
