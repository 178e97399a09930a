"""Editing crops with LTX-2 where it makes the speech, too: pictures and sound of a window at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from common.diffusion.options import SamplingOptions
from common.diffusion.windows import Window
from common.files import atomic_path
from common.models.ltx2.codecs import mel_frames
from common.models.ltx2.inputs import ClipParts
from common.models.ltx2.package import JointPackage
from common.models.ltx2.positions import AUDIO_RATE
from common.models.ltx2.roles import PromptStates
from common.models.ltx2.settings import AUDIO_STRIDE
from common.speech.joint_mel import BANDS, MEL_RATE
from stage2_dubber.dub.editing.joint import JointEditor
from stage2_dubber.dub.editing.windowed import Watch, WindowPart, window_name


@dataclass(frozen=True)
class SpokenWindows:
    """What is said in a dub.

    Attributes:
        prompts: of each window, by its name.
        follows: whether the voice is heard at the same time as what is made (the source's own sound), so that
            every window hears its own part of it; else all hear its beginning.
    """

    prompts: Mapping[str, PromptStates]
    follows: bool


@dataclass(frozen=True)
class MadeSound:
    """The sound of a window.

    Attributes:
        mel: (2, T, 64), its spectrogram.
        first: position of its first frame in the spectrogram of the run of windows.
        given: how many of its frames are those of the window before.
    """

    mel: torch.Tensor
    first: int
    given: int

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        numbers = {"first": torch.tensor(self.first), "given": torch.tensor(self.given)}
        with atomic_path(path) as temporary:
            save_file({"mel": self.mel.cpu().contiguous(), **numbers}, temporary)

    @classmethod
    def read(cls, path: Path) -> MadeSound:
        """What :meth:`save` wrote."""
        found = load_file(path)
        return cls(found["mel"], int(found["first"]), int(found["given"]))


def sound_name(window: str) -> str:
    """Under which name the sound of a window is kept."""
    return f"{window}-sound"


class SpeakingEditor(JointEditor):
    """Makes pictures and speech for a prompt and a voice, with LTX-2.

    The voice is reference audio. A later window is given the last frames of the one before, and the sound
    that belongs to them, so that pictures and voice go on. What is made of a window's sound is kept beside
    its latents.

    Args:
        package, options, watch: as of other editors; ``watch.kept`` must say where windows lie.
        speech: what is said.
    """

    def __init__(
        self, package: JointPackage, options: SamplingOptions, watch: Watch, speech: SpokenWindows
    ) -> None:
        if watch.kept is None:
            raise ValueError("watch.kept must say where the sound of windows lies")
        super().__init__(package, options, watch)
        self._speech, self._place = speech, watch.kept

    def _speech_of(self, window: Window, audio_features: np.ndarray, start_frame: int) -> np.ndarray:
        """(T, 64), what is heard of the voice."""
        if self._speech.follows:
            return super()._speech_of(window, audio_features, start_frame)
        mel = audio_features.reshape(-1, BANDS)
        tokens = min(self._clip(window.length).audio_tokens, _tokens_in(len(mel)))
        return mel[: mel_frames(tokens)]

    def _sampled(
        self,
        part: WindowPart,
        reference: torch.Tensor,
        motion: torch.Tensor | None,
        progress: Callable[[int, int], None],
    ) -> torch.Tensor:
        clip = self._clip(part.window.length)
        voice = self._encoded(torch.from_numpy(part.audio_features))
        sound = self._noise_of_sound(part, (1, clip.audio_tokens, voice.shape[2]))
        known = self._known_sound(part)
        given = 0
        if known is not None:
            tokens = self._encoded(known).to(sound)
            given = tokens.shape[1]
            sound = torch.cat((tokens, sound[:, given:]), dim=1)
        video, frames = self._noisy(part, motion)
        parts = ClipParts(
            clip, video, frames, sound, False, self._reference(part, reference), voice, audio_motion=given
        )
        prompt = self._speech.prompts[part.name].to(self._device)
        sampled = self._denoised(parts, prompt, progress)
        mel = self._package.audio_codec.decode(parts.sound(sampled))[0]
        made = MadeSound(mel, self._first_of(part), mel_frames(given) if given else 0)
        # Before the latents, which say that the window is finished.
        made.save(self._place(sound_name(part.name)))
        return parts.latents(sampled)

    def _known_sound(self, part: WindowPart) -> torch.Tensor | None:
        """(2, T, 64) of the frames that the window shares with the one before; None: it is the first."""
        shared = part.window.new_from
        if not shared or not part.number:
            return None
        before = window_name(part.first_frame - part.window.start, part.number - 1)
        made = MadeSound.read(self._place(sound_name(before)))
        mel = made.mel[:, self._first_of(part) - made.first :]
        tokens = min(round(shared / self.fps * AUDIO_RATE), _tokens_in(mel.shape[1]))
        return mel[:, : mel_frames(tokens)]

    def _first_of(self, part: WindowPart) -> int:
        return round(part.window.start / self.fps * MEL_RATE)

    def _noise_of_sound(self, part: WindowPart, shape: tuple[int, ...]) -> torch.Tensor:
        # A stream of its own: that of the pictures begins with the same numbers otherwise.
        words = np.random.SeedSequence([self._seed, part.first_frame, 1]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(words[0]))
        return torch.randn(shape, generator=generator).to(self._device)


def _tokens_in(frames: int) -> int:
    """Tokens that so many frames of a spectrogram fill."""
    return (frames - 1) // AUDIO_STRIDE + 1
