"""Editing crops with LTX-2: pictures are made for a sound that is given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from common.diffusion.joint import JointGuidance, package_sigmas, sample_joint
from common.diffusion.options import SamplingOptions, resolve_sampling
from common.diffusion.windows import Window, plan_windows
from common.geometry import latents_to_frames
from common.models.ltx2.codecs import mel_frames
from common.models.ltx2.inputs import ClipParts
from common.models.ltx2.package import JointPackage
from common.models.ltx2.positions import JointClip, smaller
from common.models.ltx2.roles import JointInputs, PromptStates
from common.models.package_info import PackageInfo
from common.speech.joint_mel import mel_window
from stage2_dubber.dub.editing.colour import COLOUR_RULES
from stage2_dubber.dub.editing.seams import BlendedSeams, Seams
from stage2_dubber.dub.editing.windowed import Watch, WindowedEditor, WindowPart


def joint_windows(info: PackageInfo, count: int) -> list[Window]:
    """How a run of ``count`` frames is cut for a package of LTX-2."""
    overlap = latents_to_frames(info.geometry.motion_latents, info.frame_stride)
    rule = info.conventions.windows
    return plan_windows(count, info.geometry.clip_frames, overlap, rule, stride=info.frame_stride)


class JointEditor(WindowedEditor):
    """Makes the lips in crops follow speech, with LTX-2.

    The source's crop is the reference, and the speech a frozen modality: clean tokens of timestep 0. A later
    window is given the last frames of the one before as the first of its target.

    Args:
        package: the model.
        options: seed, number of steps and audio scale, where they are not the package's. The audio scale is
            the guidance away from pictures that are predicted without the sound.
        watch: what goes on beside.
    """

    def __init__(self, package: JointPackage, options: SamplingOptions, watch: Watch) -> None:
        super().__init__(package.info, package.codec, package.codec.device, options, watch)
        self._package = package
        settings, sampling = package.settings, resolve_sampling(options, package.info.diffusion)
        self._sigmas = package_sigmas(settings, sampling.num_steps)
        self._guidance = JointGuidance.of(settings, sampling.audio_scale)

    @property
    def all_steps(self) -> int:
        return len(self._sigmas) - 1

    def windows(self, count: int) -> list[Window]:
        return joint_windows(self._info, count)

    def _seams(self) -> Seams:
        return BlendedSeams(self._package.codec, COLOUR_RULES[self._conventions.colours])

    def _speech_of(self, window: Window, audio_features: np.ndarray, start_frame: int) -> np.ndarray:
        """(T, 64), the spectrogram of the window's tokens of sound."""
        seconds = (start_frame + window.start) / self.fps
        return mel_window(audio_features, seconds, mel_frames(self._clip(window.length).audio_tokens))

    def _sampled(
        self,
        part: WindowPart,
        reference: torch.Tensor,
        motion: torch.Tensor | None,
        progress: Callable[[int, int], None],
    ) -> torch.Tensor:
        audio = self._encoded(torch.from_numpy(part.audio_features))
        video, given = self._noisy(part, motion)
        parts = ClipParts(
            self._clip(part.window.length), video, given, audio, True, self._reference(part, reference)
        )
        return parts.latents(self._denoised(parts, self._package.prompts.positive, progress))

    def _reference(self, part: WindowPart, reference: torch.Tensor) -> torch.Tensor:
        """The source of a window, as small as the model wants it."""
        downscale = self._package.settings.conventions.reference_downscale
        if downscale == 1:
            return reference
        return self._package.codec.encode_frames(smaller(part.frames, downscale)[None])

    def _noisy(self, part: WindowPart, motion: torch.Tensor | None) -> tuple[torch.Tensor, int]:
        """Where the pictures of a window start from, and how many latent frames of it are given."""
        # Of the target's shape, which a smaller reference does not have.
        video = self._noise(self._like(part), part)
        if motion is None:
            return video, 0
        given = motion.shape[2]
        return torch.cat((motion.to(video), video[:, :, given:]), dim=2), given

    def _encoded(self, mel: torch.Tensor) -> torch.Tensor:
        """(1, L, channels) of a spectrogram (T, 64) of one channel, or (2, T, 64)."""
        return self._package.audio_codec.encode(mel.to(self._device).expand(1, 2, -1, -1))

    def _denoised(
        self, parts: ClipParts, prompt: PromptStates, progress: Callable[[int, int], None]
    ) -> JointInputs:
        package = self._package
        noisiest = torch.ones(1, device=self._device)
        done = 0

        def told(_: object) -> None:
            nonlocal done
            done += 1
            progress(done, self.all_steps)

        return sample_joint(
            package.transformer,
            parts.inputs(package.transformer, prompt, noisiest),
            self._sigmas,
            self._guidance,
            package.prompts.negative,
            told,
        )

    def _clip(self, frames: int) -> JointClip:
        return JointClip(frames, self.crop_size, self.crop_size, self.fps)

    def _like(self, part: WindowPart) -> torch.Tensor:
        channels = self._package.codec.vae.config.latent_channels
        return torch.empty(1, channels, *self._clip(part.window.length).grid, device="meta")
