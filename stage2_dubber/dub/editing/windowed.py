"""Editing a run of crops window by window, whatever model does it (release R, docs/notation.md §6)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from common.diffusion.options import SamplingOptions
from common.diffusion.windows import Window
from common.files import atomic_path
from common.models.conventions import NoiseRule
from common.models.package_info import PackageInfo
from stage2_dubber.dub.editing.ahead import Ahead
from stage2_dubber.dub.editing.edit import Edit
from stage2_dubber.dub.editing.seams import Edited, PictureCodec, Seams

Advance = Callable[[float], None]
"""Called with the number of frames done since the last call; fractions while a window is being sampled."""


@dataclass(frozen=True)
class Watch:
    """What goes on beside the edits of a run.

    Attributes:
        advance: told about progress.
        changes: also say what the edit adds.
        overlap: whether work that may overlap does; None: where there is a second stream, on a GPU.
        kept: where the latents of a window lie, by its name. Those that lie there are not sampled again.
    """

    advance: Advance | None = None
    changes: bool = False
    overlap: bool | None = None
    kept: Callable[[str], Path] | None = None


class WindowedEditor(ABC):
    """Makes the lips in crops follow speech; holds one window at a time, whatever the length.

    Neighbouring windows share a few frames. The later one goes on from clean motion latents of them, and
    they become frames of the finished video by the package's conventions
    (:mod:`stage2_dubber.dub.editing.seams`). A window is decoded once; also unedited where changes are
    wanted, and, but for the first and the last, once more where windows are joined as latents but go on from
    pixels.

    On a GPU what need not wait for each other runs at once: a window is made while the edits of the one
    before are taken (then two windows of crops are held), and the untouched source is decoded beside the
    sampling. The window's own decode cannot overlap with the next sampling, which starts from its last
    frames.

    Args:
        info: what the package says of itself.
        codec: its autoencoder of pictures.
        device: that it computes on.
        options: the seed; a window's noise depends on it and on what the package's conventions say, its
            place in the clip at most.
        watch: what goes on beside.
    """

    def __init__(
        self,
        info: PackageInfo,
        codec: PictureCodec,
        device: torch.device,
        options: SamplingOptions,
        watch: Watch,
    ) -> None:
        self._info, self._codec, self._device = info, codec, device
        self._conventions, self._geometry = info.conventions, info.geometry
        self._seed = self._conventions.seed if options.seed is None else options.seed
        self._advance, self._changes, self._kept = watch.advance, watch.changes, watch.kept
        self._overlap = device.type == "cuda" if watch.overlap is None else watch.overlap

    @property
    def crop_size(self) -> int:
        """Side of the crops in pixels."""
        return self._geometry.crop_size

    @property
    def fps(self) -> float:
        """Crops per second."""
        return self._geometry.fps

    @property
    @abstractmethod
    def all_steps(self) -> int:
        """Sampler steps of a window."""

    @abstractmethod
    def windows(self, count: int) -> list[Window]:
        """How a run of ``count`` crops is cut."""

    @abstractmethod
    def _seams(self) -> Seams:
        """What joins the windows of a run."""

    @abstractmethod
    def _speech_of(self, window: Window, audio_features: np.ndarray, start_frame: int) -> np.ndarray:
        """The speech of a window, float32 in the shape that the model takes."""

    @abstractmethod
    def _sampled(
        self,
        part: WindowPart,
        reference: torch.Tensor,
        motion: torch.Tensor | None,
        progress: Callable[[int, int], None],
    ) -> torch.Tensor:
        """What becomes of a window, (1, C, F, h, w).

        Args:
            part: the window.
            reference: (1, C, F, h, w), its source.
            motion: (1, C, m, h, w), its first latents where they are given.
            progress: called with steps done and steps in all.
        """

    def kept_frames(self, run: range) -> int:
        """How many of a ``run`` of frames on the clock of the speech need no sampling any more."""
        kept = self._kept
        if kept is None:
            return 0
        return sum(
            window.valid - window.new_from
            for number, window in enumerate(self.windows(len(run)))
            if kept(window_name(run.start, number)).is_file()
        )

    def stream(
        self, crops: Iterator[np.ndarray], count: int, audio_features: np.ndarray, start_frame: int
    ) -> Iterator[Edit]:
        """Edit a run of crops.

        Args:
            crops: ``count`` frames (S, S, 3) uint8 at the model's rate; asked for one window ahead.
            count: frames of the run.
            audio_features: (T, C) float32 speech features at 50 Hz of the whole recording.
            start_frame: position of the run's first frame on the recording's clock, in frames.

        Yields:
            ``count`` edits, in order.
        """
        source, first = np.zeros((0, self.crop_size, self.crop_size, 3), np.uint8), 0
        seams = self._seams()
        windows = self.windows(count)

        def begin(number: int) -> Callable[[], Edited]:
            nonlocal source, first
            window, following = windows[number], windows[number + 1 : number + 2]
            fresh = np.stack(list(islice(crops, window.valid - window.new_from)))
            # Mirrored padding shows frames from before the window.
            indices = window.indices()
            earliest = int(indices.min())
            source, first = np.concatenate([source[earliest - first :], fresh]), earliest
            part = WindowPart(
                number,
                window,
                source[indices - first],
                following[0].new_from if following else 0,
                self._speech_of(window, audio_features, start_frame),
                start_frame + window.start,
                window_name(start_frame, number),
            )
            return ahead.start(partial(self._edit, part, seams, ahead.stopping))

        with Ahead(self._overlap, self._device) as ahead:
            pending = begin(0)
            for number in range(len(windows)):
                edits, changes = pending()
                more = number + 1 < len(windows)
                if more and self._overlap:
                    pending = begin(number + 1)
                if changes is None:
                    yield from map(Edit, edits)
                else:
                    yield from map(Edit, edits, changes)
                if more and not self._overlap:
                    pending = begin(number + 1)

    @torch.inference_mode()
    def _edit(self, part: WindowPart, seams: Seams, stopping: Event) -> Edited:
        """The frames that are finished with a window, and their changes where they are wanted."""
        window = part.window
        source = part.frames[: window.valid]
        reference = self._codec.encode_frames(part.frames[None])
        motion = seams.motion(window, source)
        with Ahead(self._overlap, self._device) as beside:
            untouched = partial(seams.unedited, window, reference, part.shared)
            plain = beside.start(untouched) if self._changes else None
            latents = self._latents(part, reference, motion, self._progress(window, stopping))
            return seams.join(window, latents, source, None if plain is None else plain(), part.shared)

    def _latents(
        self,
        part: WindowPart,
        reference: torch.Tensor,
        motion: torch.Tensor | None,
        progress: Callable[[int, int], None],
    ) -> torch.Tensor:
        """What becomes of a window: sampled, or kept from a run that was interrupted."""
        path = None if self._kept is None else self._kept(part.name)
        if path is not None and path.is_file():
            return load_file(path)["latents"].to(self._device)
        latents = self._sampled(part, reference, motion, progress)
        if path is not None:
            with atomic_path(path) as temporary:
                save_file({"latents": latents.cpu().contiguous()}, temporary)
        return latents

    def _progress(self, window: Window, stopping: Event) -> Callable[[int, int], None]:
        share = (window.valid - window.new_from) / self.all_steps

        def tell(done: int, total: int) -> None:
            if stopping.is_set():
                raise CancelledError("the edits are not taken any more")
            if self._advance is not None:
                self._advance(share)

        return tell

    def _noise(self, like: torch.Tensor, part: WindowPart) -> torch.Tensor:
        # Drawn on the CPU: the same seed then starts from the same noise on every device.
        rule, state = self._conventions.noise, self._seed
        if rule is NoiseRule.frame:
            state = int(np.random.SeedSequence([state, part.first_frame]).generate_state(1, np.uint64)[0])
        elif rule is NoiseRule.window:
            state += part.number
        generator = torch.Generator().manual_seed(state)
        return torch.randn(like.shape, generator=generator).to(self._device)


def window_name(start_frame: int, number: int) -> str:
    """Of a window among all of a clip: where its run begins, and its number there."""
    return f"{start_frame}-{number}"


@dataclass(frozen=True)
class WindowPart:
    """What a window is made from.

    Attributes:
        number: of the window in its run.
        window: where it lies.
        frames: (length, S, S, 3) uint8, padding included.
        shared: how many of its last frames the next window has, too.
        audio_features: float32, its speech in the shape that the model takes.
        first_frame: its position on the clock of the speech.
        name: of the window among all of the clip.
    """

    number: int
    window: Window
    frames: np.ndarray
    shared: int
    audio_features: np.ndarray
    first_frame: int
    name: str
