"""Companions of halves: the same pictures, in which the other half's language is spoken.

companions/<key>/companion.mkv (FFV1), sound.flac, meta.json
companions/<key>/verdict.json                                every score, and whether it is kept
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from common.files import atomic_dir, write_json
from common.media import LOSSLESS, save_flac, write_video
from common.models.ltx2.codecs import JointVocoder
from common.models.ltx2.roles import PromptStates
from stage1_generator.companions.masks import clip_masks
from stage1_generator.companions.paste import put_back
from stage1_generator.companions.plan import clip_seed
from stage1_generator.language_switch.clips import META, SOUND, SwitchClip, halves, sound_of
from stage1_generator.language_switch.config import SwitchConfig
from stage1_generator.language_switch.masks import face_rectangle, fine_cells, touched_cells
from stage1_generator.language_switch.model import Anew, JointClipMaker

COMPANION = "companion.mkv"


@dataclass(frozen=True)
class Half:
    """A half of a clip.

    Attributes:
        key: of its pair.
        clip: id of the clip.
        number: 0 or 1.
        language, other: what it speaks, and what its companion does.
        caption: what it shows and says; empty for recordings.
        remade: that of the clip with the companion; empty for recordings.
    """

    key: str
    clip: str
    number: int
    language: str
    other: str
    caption: str
    remade: str

    def exaggerates(self, config: SwitchConfig) -> bool:
        """Whether its companion articulates more than people do."""
        drawn = np.random.default_rng(clip_seed(config.seed, self.key, "lips")).random()
        return bool(drawn < config.lips.share)

    def prompt(self, config: SwitchConfig) -> str:
        """Of its companion; empty for recordings."""
        return self.remade + (config.lips.words if self.remade and self.exaggerates(config) else "")


class CompanionMaker:
    """Makes companions.

    Args:
        config: settings.
        maker: the model.
        vocoder: for the sound that it makes.
    """

    def __init__(self, config: SwitchConfig, maker: JointClipMaker, vocoder: JointVocoder) -> None:
        self._config, self._maker, self._vocoder = config, maker, vocoder

    def make(
        self, half: Half, clip: SwitchClip, prompt: PromptStates | None, folder: Path, mark: str
    ) -> None:
        """Write the companion of ``half``.

        Args:
            half: which.
            clip: all of it.
            prompt: states of the half's prompt; None: it gets the sound of the clip's other half.
            folder: to write.
            mark: fingerprint of all that it depends on.
        """
        config, fps, package = self._config, self._maker.clip.fps, self._maker.package
        span = halves(len(clip.frames))[half.number]
        region, cells = self._region(clip, span)
        exaggerates, tokens = half.exaggerates(config), self._maker.tokens_in(span)
        sound = self._exchanged(clip, half.number) if prompt is None else clip.sound
        anew = Anew(
            cells,
            torch.zeros_like(tokens) if prompt is None else tokens,
            package.prompts.positive if prompt is None else prompt,
            config.lips.audio_scale if exaggerates else None,
        )
        made = self._maker.remake(half.key, clip.frames, sound, anew, config.reference)
        if prompt is not None:
            sound = sound_of(made.mel, self._vocoder)
        feather = config.masks.feather * clip.frames.shape[1]
        companion = put_back(clip.frames[span], made.frames[span], region[span], feather)
        heard = SwitchClip(made.frames, sound, clip.landmarks).samples(span, fps)
        with atomic_dir(folder) as temporary:
            write_video(temporary / COMPANION, companion, rate=fps, encoding=LOSSLESS)
            save_flac(temporary / SOUND, heard)
            meta = {"fingerprint": mark, "exaggerated": exaggerates, "latents": int(cells.sum())}
            write_json(temporary / META, meta)

    def _region(self, clip: SwitchClip, span: slice) -> tuple[NDArray[np.bool_], torch.Tensor]:
        """(N, S, S), which pixels are taken from what is made, and (F, h, w), which latents are made."""
        masks, codec, size = self._config.masks, self._maker.package.codec, clip.frames.shape[1]
        if not masks.fine:
            region = face_rectangle(clip.landmarks, size, span)
            return region, touched_cells(region, codec.stride)
        lower = clip_masks(clip.landmarks, size).inpaint
        region = np.zeros_like(lower)
        region[span] = lower[span]
        return region, fine_cells(codec, clip.frames, region, masks.leak_threshold)

    def _exchanged(self, clip: SwitchClip, number: int) -> NDArray[np.float32]:
        """The clip's sound with the other half's in the place of that of half ``number``."""
        fps = self._maker.clip.fps
        spans = halves(len(clip.frames))
        other = clip.samples(spans[1 - number], fps)
        whole = clip.samples(slice(0, len(clip.frames)), fps)
        own = clip.samples(spans[number], fps)
        first = 0 if number == 0 else len(whole) - len(own)
        whole[first : first + len(own)] = other[: len(own)]
        return whole
