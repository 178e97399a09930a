"""The releases of X-Dub and TBDub from a clip to a dubbed clip, written down anew from the facts about them.

An account for tests: the whole clip is in memory, loops are plain, and nothing of the packages is used but
what published vectors pin, the transformer's forward pass, and that it takes its conditions in one object.
All is as the releases do it, 8 bits that are cut off included, but for timesteps in float32, landmarks of
another network, and the guards of X-Dub's colour correction: docs/import.md says so of all three.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from scipy.signal import savgol_filter
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from common.models.conditions import ModelConditions

CLIP_SIDE, RING, FRINGE = 512, 16, 8
"""Pixels: side of the release's crops; their edge that keeps the source; edge of the square that fades."""


@dataclass(frozen=True)
class Networks:
    """What the release loads. speech: (samples,) float32 -> (T, C). context: (1, tokens, C), the prompt."""

    transformer: Callable[..., Tensor]
    vae: Any
    speech: Callable[[np.ndarray], np.ndarray]
    context: Tensor


@dataclass(frozen=True)
class Settings:
    """X-Dub's, but for the sizes.

    side: of crops. window, shared: frames of a window, and those that two have in common. floor: least factor
    of the audio's scale. student: TBDub's, in which all is otherwise that stands in an "if". lab: TBDub's
    colours, squares, and seams that are the earlier window's. rounds: to 8 bits, as this project does.
    """

    side: int
    window: int
    shared: int = 5
    steps: int = 30
    shift: float = 5.0
    reference_scale: float = 2.5
    audio_scale: float = 10.0
    floor: float = 0.0
    student: bool = False
    lab: bool = False
    seed: int = 42
    rounds: bool = False


def dub(
    frames: np.ndarray, landmarks: np.ndarray, audio: np.ndarray, networks: Networks, settings: Settings
) -> np.ndarray:
    """(N, H, W, 3) uint8 -> the same; landmarks (N, 68, 2) pixels; audio (samples,) at 16 kHz."""
    height, width = frames.shape[1:3]
    boxes = tbdub_squares(landmarks, width, height) if settings.lab else squares(landmarks, width, height)
    crops = np.stack(
        [resized(f[y0:y1, x0:x1], settings.side) for f, (x0, y0, x1, y1) in zip(frames, boxes, strict=True)]
    )
    edited = edit(crops, networks.speech(audio), networks, settings)
    return np.stack([pasted(*parts, settings) for parts in zip(frames, edited, crops, boxes, strict=True)])


# ---------------------------------------------------------------------------------------------------- squares


def squares(landmarks: np.ndarray, width: int, height: int) -> np.ndarray:
    """(N, 4) x0, y0, x1, y1."""
    points = landmarks.astype(float) / np.array([width, height], float)
    for index in range(1, len(points)):
        change = points[index] - points[index - 1]
        gain = 0.1 + 0.9 / (np.exp(3 - 600 * np.abs(change)) + 1)
        points[index] = points[index - 1] + gain * change
    return _about(points, 1.1, width, height)


def tbdub_squares(landmarks: np.ndarray, width: int, height: int) -> np.ndarray:
    """The same without the filter, with the forehead of MediaPipe's mesh."""
    return _about(landmarks.astype(float) / np.array([width, height], float), 0.8, width, height)


def _about(points: np.ndarray, reach: float, width: int, height: int) -> np.ndarray:
    size = np.array([width, height], float)
    for window in (15, 19, 23, 27, 31):
        points = _savgol(points, window, "mirror")
    points = _mean(_mean(points, 17), 7)
    boxes = []
    for shape in points:
        eyes, jaw = (shape[39] + shape[42]) / 2, (shape[3] + shape[13]) / 2
        every = np.clip(np.vstack([shape, eyes + reach * (eyes - jaw)]) * size, 0, size)
        low, high = every.min(axis=0), every.max(axis=0)
        boxes.append(_square((low + high) / 2, 1.45 * max(high - low), size))
    planned = _mean(np.array(boxes), 7)
    return np.array([_whole(box, size) for box in _planned(planned, size)])


def _planned(boxes: np.ndarray, size: np.ndarray) -> np.ndarray:
    union = _union(boxes)
    extent = np.tile(union[2:] - union[:2], 2)
    sides = boxes[:, 2] - boxes[:, 0]
    if (np.abs(boxes - union) <= 0.16 * extent).all():
        one = _union(_mean(boxes, 5))
        square = _square((one[:2] + one[2:]) / 2, max(one[2:] - one[:2]), size)
        return np.repeat(square[None], len(boxes), axis=0)
    if (np.abs(sides - sides.mean()) <= 0.1 * sides.mean()).all():
        smooth = _mean(boxes, 5)
        centers = _savgol(_mean((smooth[:, :2] + smooth[:, 2:]) / 2, 15), 25, "nearest")
        for window in (11, 7, 3):
            centers = _mean(centers, window)
        side = (smooth[:, 2:] - smooth[:, :2]).max()
        return np.array([_square(center, side, size) for center in centers])
    raise NotImplementedError("the clips of this account have heads that keep their size")


def _square(center: np.ndarray, side: float, size: np.ndarray) -> np.ndarray:
    side = min(side, *size)
    corner = np.minimum(np.maximum(center - side / 2, 0), size - side)
    return np.concatenate([corner, corner + side])


def _union(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _whole(box: np.ndarray, size: np.ndarray) -> list[int]:
    low, high = np.floor(box[:2]), np.ceil(box[2:])
    return [int(x) for x in np.concatenate([np.maximum(low, 0), np.minimum(high, size)])]


def _mean(values: np.ndarray, window: int) -> np.ndarray:
    half = window // 2
    return np.stack([values[max(i - half, 0) : i + half + 1].mean(axis=0) for i in range(len(values))])


def _savgol(values: np.ndarray, window: int, ends: str) -> np.ndarray:
    longest = len(values) if len(values) % 2 else len(values) - 1
    return savgol_filter(values, min(window, longest), 2, axis=0, mode=ends)


def resized(picture: np.ndarray, side: int) -> np.ndarray:
    """(side, side, 3), as PIL does it."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))


# ----------------------------------------------------------------------------------------------------- speech


@torch.no_grad()
def xdub_speech(audio: np.ndarray, whisper: Any, wav2vec2: Any) -> np.ndarray:
    """(T, C) at 50 Hz. ``whisper``: the encoder without its last norm; one window of it holds ``audio``."""
    sound = torch.from_numpy(audio)
    filters = mel_filter_bank(201, 80, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
    power = torch.stft(sound, 400, 160, window=torch.hann_window(400), return_complex=True).abs()[:, :-1] ** 2
    log = (torch.from_numpy(filters.T.astype(np.float32)) @ power).clamp(min=1e-10).log10()
    mel = (torch.maximum(log, log.max() - 8) + 4) / 4
    length = 2 * whisper.config.max_source_positions
    padded = torch.nn.functional.pad(mel, (0, length - mel.shape[1]))
    first = whisper(padded[None]).last_hidden_state[0, : mel.shape[1] // 2]
    level = (sound - sound.mean()) / torch.sqrt(sound.var(unbiased=False) + 1e-7)
    second = wav2vec2(level[None]).last_hidden_state[0]
    at = np.arange(math.ceil(len(audio) / 320))
    return np.concatenate([part.numpy()[at.clip(max=len(part) - 1)] for part in (first, second)], axis=1)


@torch.no_grad()
def tbdub_speech(audio: np.ndarray, hubert: Any) -> np.ndarray:
    """(T, 4 C) at 50 Hz, those of the tail included; the layer runs fastest."""
    tail = np.zeros(77 * 640, np.float32)
    tail[:160] = audio[-1] * (159 - np.arange(160)) / 160
    sound = torch.from_numpy(np.concatenate([audio, tail]))
    level = (sound - sound.mean()) / torch.sqrt(sound.var(unbiased=False) + 1e-7)
    states = hubert(level[None], output_hidden_states=True).hidden_states
    channels = states[0].shape[-1]
    return np.stack([states[9 + i % 4][0, :, i // 4].numpy() for i in range(4 * channels)], axis=1)


def heard(features: np.ndarray, start: int, latent_frames: int) -> Tensor:
    """(1, F, 8, C): eight features for each latent frame of a window that begins at video frame ``start``."""
    rows = []
    for k in range(latent_frames):
        first = 2 * (start - 3) if k == 0 else 2 * (start + 4 * (k - 1) + 1)
        rows.append([features[min(max(i, 0), len(features) - 1)] for i in range(first, first + 8)])
    return torch.from_numpy(np.array(rows))[None]


# ---------------------------------------------------------------------------------------------------- windows


@torch.no_grad()
def edit(crops: np.ndarray, features: np.ndarray, networks: Networks, settings: Settings) -> np.ndarray:
    """(N, S, S, 3) uint8 -> the same: windows one after the other, joined as latents, decoded at once."""
    shared, step, before = settings.shared, settings.window - settings.shared, 0
    count = 1 + max(0, math.ceil((len(crops) - settings.window) / step))
    if settings.student:
        before, count = shared, math.ceil(len(crops) / step)
    there_and_back = [*range(len(crops)), *range(len(crops) - 2, 0, -1)]
    order = [there_and_back[i % len(there_and_back)] for i in range(settings.window + step * count)]
    padded = crops[[0] * before + order]
    motion = _encode(padded[:shared], networks.vae) if settings.student else None
    latents: list[Tensor] = []
    for number in range(count):
        part = padded[number * step : number * step + settings.window]
        reference = _encode(part, networks.vae)
        seed = settings.seed + (number if settings.student else 0)
        noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(seed))
        speech = heard(features, number * step - before, reference.shape[2])
        window = _sampled(noise, reference, speech, motion, networks, settings)
        if latents and not settings.lab:
            mean = (latents[-1][:, :, -1:] + window[:, :, 1:2]) / 2
            latents[-1] = torch.cat([latents[-1][:, :, :-1], mean], dim=2)
        latents.append(window[:, :, 2:] if latents else window)
        motion = window[:, :, -2:]
        if not settings.student:
            shown = _matched(_decode(window, networks.vae, settings), part, settings)
            motion = _encode(shown[-shared:], networks.vae)
    whole = _decode(torch.cat(latents, dim=2), networks.vae, settings)
    return _matched(whole, padded[: len(whole)], settings)[before : before + len(crops)]


def _sampled(
    noise: Tensor,
    reference: Tensor,
    speech: Tensor,
    motion: Tensor | None,
    networks: Networks,
    settings: Settings,
) -> Tensor:
    given = 0 if motion is None else motion.shape[2]
    ring = torch.ones(reference.shape[2:], dtype=torch.bool)
    ring[:, 1:-1, 1:-1] = False
    ring[:given] = False

    def velocity(x: Tensor, t: float, seen: Tensor, sound: Tensor) -> Tensor:
        conditions = ModelConditions(sound, reference=seen, text=networks.context, motion=motion)
        return networks.transformer(x, torch.tensor([1000 * t], dtype=torch.float32), conditions)

    grid = np.linspace(1, 0, settings.steps + 1)
    levels = settings.shift * grid / (1 + (settings.shift - 1) * grid)
    x = noise
    for t, after in pairwise(levels):
        if motion is not None:
            x = torch.cat([motion, x[:, :, given:]], dim=2)
        if settings.student:
            x = x + (after - t) * velocity(x, t, reference, speech)
            continue
        s = min(t, 0.95)
        x = torch.where(ring, (1 - s) * reference + s * noise, x)
        none = velocity(x, t, 0 * reference, 0 * speech)
        seen = velocity(x, t, reference, 0 * speech)
        both = velocity(x, t, reference, speech)
        towards_reference = settings.reference_scale * _reference_share(t)
        towards_speech = settings.audio_scale * max(t**1.5, settings.floor)
        x = x + (after - t) * (none + towards_reference * (seen - none) + towards_speech * (both - seen))
    if motion is not None:
        x = torch.cat([motion, x[:, :, given:]], dim=2)
    return torch.where(ring, reference, x).float()


def _reference_share(t: float) -> float:
    if t >= 0.85 or t <= 0.35:
        return 1.0 if t >= 0.85 else 0.3
    if 0.45 <= t <= 0.75:
        return 0.6
    low, high, first, last = (0.35, 0.45, 0.3, 0.6) if t < 0.45 else (0.75, 0.85, 0.6, 1.0)
    return first + (last - first) * (1 - math.cos(math.pi * (t - low) / (high - low))) / 2


def _statistics(vae: Any) -> list[Tensor]:
    return [torch.tensor(vae.config[f"latents_{name}"]).view(1, -1, 1, 1, 1) for name in ("mean", "std")]


def _encode(frames: np.ndarray, vae: Any) -> Tensor:
    mean, std = _statistics(vae)
    video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None] / 127.5 - 1
    return (vae.encode(video).latent_dist.mode() - mean) / std


def _decode(latents: Tensor, vae: Any, settings: Settings) -> np.ndarray:
    mean, std = _statistics(vae)
    video = vae.decode(latents * std + mean).sample[0].permute(1, 2, 3, 0)
    return _bytes((video.clamp(-1, 1).double().numpy() + 1) * 127.5, settings)


def _bytes(picture: np.ndarray, settings: Settings) -> np.ndarray:
    return np.clip(np.rint(picture) if settings.rounds else picture, 0, 255).astype(np.uint8)


def _matched(edited: np.ndarray, source: np.ndarray, settings: Settings) -> np.ndarray:
    """Frames in the colours of their source."""
    pairs = zip(edited, source, strict=True)
    match = _matched_in_lab if settings.lab else _matched_where_alike
    return np.stack([_bytes(match(after, before), settings) for after, before in pairs])


def _matched_where_alike(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    after, before = after.astype(float), before.astype(float)
    same = np.abs(after - before).mean(axis=-1) < 0.07 * 255
    if same.mean() < 0.02:  # a guard of this project's
        return after
    have, want = after[same], before[same]
    gain = np.clip(want.std(axis=0) / have.std(axis=0).clip(1), 1 / 1.5, 1.5)  # and another one
    return (after - have.mean(axis=0)) * gain + want.mean(axis=0)


# Linear sRGB -> XYZ over the white of D65.
_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
) / np.array([[0.950456], [1.0], [1.088754]])
_LAB = np.array([[0, 116, 0], [500, -500, 0], [0, 200, -200]])
_ZERO = np.array([16, 0, 0])


def _matched_in_lab(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    have, want = _lab(after), _lab(before)
    axes = (0, 1)
    lab = (have - have.mean(axes)) * want.std(axes) / have.std(axes) + want.mean(axes)
    roots = (lab + _ZERO) @ np.linalg.inv(_LAB).T
    linear = np.where(roots > 6 / 29, roots**3, (roots - 16 / 116) / 7.787) @ np.linalg.inv(_XYZ).T
    linear = linear.clip(0, 1)
    return 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def _lab(picture: np.ndarray) -> np.ndarray:
    values = picture / 255
    linear = np.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)
    shares = linear @ _XYZ.T
    return np.where(shares > 0.008856, np.cbrt(shares), 7.787 * shares + 16 / 116) @ _LAB.T - _ZERO


# --------------------------------------------------------------------------------------------------- pasting


def pasted(
    frame: np.ndarray, edited: np.ndarray, crop: np.ndarray, box: np.ndarray, settings: Settings
) -> np.ndarray:
    """The frame with its square replaced, but for blurred edges of two kinds."""
    x0, y0, x1, y1 = box
    ring = max(1, RING * len(crop) // CLIP_SIDE)
    inner = np.zeros(crop.shape[:2], np.float32)
    inner[ring:-ring, ring:-ring] = 1
    for _ in range(2):
        inner = cv2.blur(inner, (2 * ring + 1, 2 * ring + 1))
    mixed = crop + inner[..., None] * (edited.astype(np.float32) - crop)
    square = cv2.resize(_bytes(mixed, settings), (int(x1 - x0), int(y1 - y0)))
    fade = np.ones(frame.shape[:2], np.float32)
    height, width = fade.shape
    inside = fade[y0:y1, x0:x1]
    for at_edge, rows, columns in (
        (y0 == 0, slice(0, FRINGE), slice(None)),
        (y1 == height, slice(-FRINGE, None), slice(None)),
        (x0 == 0, slice(None), slice(0, FRINGE)),
        (x1 == width, slice(None), slice(-FRINGE, None)),
    ):
        if not at_edge:
            inside[rows, columns] = 0
    opacity = inside
    for _ in range(2):
        opacity = cv2.blur(opacity, (2 * FRINGE + 1, 2 * FRINGE + 1))
    result = frame.astype(np.float32)
    result[y0:y1, x0:x1] += opacity[..., None] * (square.astype(np.float32) - result[y0:y1, x0:x1])
    return _bytes(result, settings)
