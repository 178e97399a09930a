"""From the latents of windows to the frames of a run: decoding, colours, and what neighbours share."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from common.autoencoder.codec import VideoCodec
from common.autoencoder.stream import StreamDecoder
from common.diffusion.windows import Window
from common.geometry import ceil_clip_length, frames_to_latents
from common.models.conventions import Conventions, MotionRule, SeamRule
from stage2_dubber.dub.compositing.blending import blend_seam
from stage2_dubber.dub.editing.colour import COLOUR_RULES, ColourMatch

Edited = tuple[np.ndarray, np.ndarray | None]
"""Edits (N, S, S, 3) uint8, and float32 changes of that shape where they are wanted."""


class PictureCodec(Protocol):
    """What windows that are decoded by themselves need of an autoencoder.

    stride: frames, rows and columns of a latent.
    """

    @property
    def stride(self) -> tuple[int, int, int]: ...

    def encode_frames(self, frames: np.ndarray) -> torch.Tensor:
        """(1, N, H, W, 3) uint8 -> (1, C, F, h, w)."""
        ...

    def decode_frames(self, latents: torch.Tensor) -> np.ndarray:
        """The other way round."""
        ...


class Seams(Protocol):
    """What one run of windows becomes; called for one window after the other."""

    def motion(self, window: Window, source: np.ndarray) -> torch.Tensor | None:
        """Clean latents (1, C, m, h, w) from which ``window`` goes on; None where there is nothing before.

        Args:
            window: the next one.
            source: its frames (valid, S, S, 3) uint8; in a first window the copies before the clip are given.
        """
        ...

    def unedited(self, window: Window, reference: torch.Tensor, shared: int) -> np.ndarray:
        """What the frames that :meth:`join` will see look like if nothing is edited, (N, S, S, 3) uint8.

        May run beside the other methods. Arguments as there; ``reference`` instead of what became of it.
        """
        ...

    def join(
        self,
        window: Window,
        latents: torch.Tensor,
        source: np.ndarray,
        unedited: np.ndarray | None,
        shared: int,
    ) -> Edited:
        """The frames of the run that are finished with ``window``, in order.

        Args:
            window: the window that was sampled.
            latents: (1, C, F, h, w), what became of it.
            source: its frames (valid, S, S, 3) uint8.
            unedited: what :meth:`unedited` gave for it, where changes are wanted.
            shared: how many of its last frames the next window has, too; 0: there is none.
        """
        ...


def build_seams(conventions: Conventions, codec: VideoCodec) -> Seams:
    """What joins the windows of one run."""
    match = COLOUR_RULES[conventions.colours]
    if conventions.seams is SeamRule.blend:
        return BlendedSeams(codec, match)
    return LatentSeams(codec, match, conventions)


class BlendedSeams:
    """Every window is decoded by itself; in shared frames pixels pass from the earlier to the later one."""

    def __init__(self, codec: PictureCodec, match: ColourMatch) -> None:
        self._codec, self._match = codec, match
        self._stride = codec.stride[0]
        self._tail: Edited | None = None  # the frames of the window before that this one has, too

    def motion(self, window: Window, source: np.ndarray) -> torch.Tensor | None:
        if not window.new_from:
            return None
        before = source[: window.new_from] if self._tail is None else self._tail[0]
        return self._codec.encode_frames(before[None])

    def unedited(self, window: Window, reference: torch.Tensor, shared: int) -> np.ndarray:
        return self._codec.decode_frames(_seen(window, reference, self._stride))[0][: window.valid]

    def join(
        self,
        window: Window,
        latents: torch.Tensor,
        source: np.ndarray,
        unedited: np.ndarray | None,
        shared: int,
    ) -> Edited:
        images = self._codec.decode_frames(_seen(window, latents, self._stride))[0][: window.valid]
        edits, changes = _matched(images, source, unedited, self._match)
        given = window.new_from
        if self._tail is None:
            edits, changes = _part((edits, changes), slice(given, None))
        else:
            edits[:given] = blend_seam(self._tail[0], edits[:given])
            if changes is not None and self._tail[1] is not None:
                changes[:given] = blend_seam(self._tail[1], changes[:given])
        done = len(edits) - shared
        self._tail = _part((edits, changes), slice(done, None))
        return _part((edits, changes), slice(done))


class LatentSeams:
    """Windows are joined as latents and decoded as one video, part by part.

    Shared frames are the earlier window's, or, by :attr:`SeamRule.average`, the mean of the two windows in
    the last latent frame that both have; that one is then decoded with the later window. What is not edited
    goes the same way, so that the autoencoder loses the same of it.
    """

    def __init__(self, codec: VideoCodec, match: ColourMatch, conventions: Conventions) -> None:
        self._codec, self._match = codec, match
        self._from_pixels = conventions.motion is MotionRule.pixels
        averages = conventions.seams is SeamRule.average
        self._edits, self._untouched = _JoinedVideo(codec, averages), _JoinedVideo(codec, averages)
        self._motion: torch.Tensor | None = None
        self._source: np.ndarray | None = None  # frames of latents that wait for the next window

    def motion(self, window: Window, source: np.ndarray) -> torch.Tensor | None:
        if not window.new_from:
            return None
        if self._motion is None:
            return self._codec.encode_frames(source[: window.new_from][None])
        return self._motion

    def unedited(self, window: Window, reference: torch.Tensor, shared: int) -> np.ndarray:
        return self._untouched.frames(window, reference, shared)

    def join(
        self,
        window: Window,
        latents: torch.Tensor,
        source: np.ndarray,
        unedited: np.ndarray | None,
        shared: int,
    ) -> Edited:
        images = self._edits.frames(window, latents, shared)
        first = self._source is None
        self._motion = self._following_motion(latents, source, shared, images if first else None)
        if self._source is not None:
            source = np.concatenate([self._source, source[window.new_from :]])
        done = min(len(images), len(source))  # what is more of the images is padding
        self._source = source[done:]
        plain = None if unedited is None else unedited[:done]
        edited = _matched(images[:done], source[:done], plain, self._match)
        return _part(edited, slice(window.new_from, None)) if first else edited

    def _following_motion(
        self, latents: torch.Tensor, source: np.ndarray, shared: int, shown: np.ndarray | None
    ) -> torch.Tensor | None:
        """``shown``: the frames of a first window that are decoded already."""
        if not shared:
            return None
        if not self._from_pixels:
            return latents[:, :, -frames_to_latents(shared) :]
        if shown is not None:
            tail = np.concatenate([shown[-shared:], *self._edits.held_frames()])[-shared:]
        else:
            # By itself, as the release does: what is shown is decoded with the windows before.
            tail = self._codec.decode_frames(latents)[0][-shared:]
        return self._codec.encode_frames(self._match(tail, source[-shared:])[None])


class _JoinedVideo:
    """The latents of windows as one video."""

    def __init__(self, codec: VideoCodec, averages: bool) -> None:
        self._codec, self._averages = codec, averages
        self._decoder: StreamDecoder | None = None
        self._held: torch.Tensor | None = None  # the latent frame whose mean with the next window's is taken

    def frames(self, window: Window, latents: torch.Tensor, shared: int) -> np.ndarray:
        """The next frames (N, S, S, 3) uint8: all of a first window, and what is new in later ones."""
        latents = _seen(window, latents, self._codec.stride[0])
        given = window.motion_latents
        parts = [latents] if self._decoder is None else [latents[:, :, given:]]
        if self._held is not None:
            parts.insert(0, (self._held + latents[:, :, given - 1 : given]) / 2)
        joined = torch.cat(parts, dim=2)
        ready = joined.shape[2] - (1 if self._averages and shared else 0)
        self._held = joined[:, :, ready:] if ready < joined.shape[2] else None
        self._decoder = self._decoder or self._codec.decoder()
        return self._codec.decode_frames(joined[:, :, :ready], self._decoder)[0]

    def held_frames(self) -> list[np.ndarray]:
        """The frames (N, S, S, 3) uint8 of the latent frame that is held, as it is; empty where none is."""
        if self._held is None or self._decoder is None:
            return []
        return [self._codec.decode_frames(self._held, self._decoder.fork())[0]]


def _seen(window: Window, latents: torch.Tensor, stride: int) -> torch.Tensor:
    """Those of frames that exist: padding comes last and need not be decoded."""
    return latents[:, :, : frames_to_latents(ceil_clip_length(window.valid, stride), stride)]


def _matched(
    images: np.ndarray, source: np.ndarray, unedited: np.ndarray | None, match: ColourMatch
) -> Edited:
    changes = None if unedited is None else match(images, unedited).astype(np.float32) - unedited
    return match(images, source), changes


def _part(edited: Edited, frames: slice) -> Edited:
    images, changes = edited
    return images[frames], None if changes is None else changes[frames]
