"""Made-up heads, drawn talkers and banks of moments for the tests of own mouths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from common.face.canonical import face_points
from common.face.layout import JAW, MOUTH
from common.face.mouth import LIP_SHAPE_UNIT
from common.media import LOSSLESS, VideoWriter
from common.own_mouths.bank import Bank, BankBuilder
from common.own_mouths.config import OwnMouthsConfig
from common.own_mouths.heads import Heads
from common.rendered.motion import Wobble
from common.rendered.render import render_frame
from common.rendered.scene import sample_scene
from common.rendered.visemes import MouthShape

_LOWER_LIP = [55, 56, 57, 58, 59, 65, 66, 67]
# How much of the opening each of these points makes, so that the mouth stays shut at its corners.
_LOWER_SHARES = [0.6, 0.9, 1.0, 0.9, 0.6, 1.0, 1.0, 1.0]
INSIDE = (10, 10, 10)
_INNER_PAIRS = ((61, 67), (62, 66), (63, 65))


def rotation(yaw: float = 0, pitch: float = 0, roll: float = 0) -> np.ndarray:
    """(3, 3) of angles in degrees."""
    y, p, r = np.deg2rad([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def head(
    points: np.ndarray | None = None,
    yaw: float = 0,
    pitch: float = 0,
    roll: float = 0,
    scale: float = 60,
    at: tuple[float, float] = (100, 80),
) -> np.ndarray:
    """(68, 3) float64 pixels of a head whose eye corners are ``scale`` apart, nose bridge at ``at``."""
    turned = (face_points() if points is None else points) @ rotation(yaw, pitch, roll).T * scale
    turned[:, :2] += at
    return turned


def mouth(gap: float = 0.0, wider: float = 0.0, chin: float = 0.0) -> np.ndarray:
    """(68, 3) canonical head whose inner-lip pairs are exactly ``gap`` apart, straight below each other.

    ``wider`` is added to the mouth's width; ``chin``: how far the jaw line is lowered in its middle.
    """
    points = face_points().copy()
    for upper, lower in _INNER_PAIRS:
        points[lower] = points[upper]
    points[_LOWER_LIP, 1] += gap * np.array(_LOWER_SHARES)
    lips = list(MOUTH)
    points[lips, 0] *= 1 + wider / (points[54, 0] - points[48, 0])
    jaw = list(JAW)
    points[jaw, 1] += chin * np.exp(-((points[jaw, 0] / 0.42) ** 2))
    return points


def mean_gap_of(points: np.ndarray) -> float:
    """Mean height of the three inner pairs, without sign lost."""
    return float(np.mean([points[low, 1] - points[up, 1] for up, low in _INNER_PAIRS]))


def gap_shape(gaps: np.ndarray) -> np.ndarray:
    """(N, 7) lip shapes whose three gaps are ``gaps`` (N,) eye-corner distances, all else as usual."""
    shapes = np.zeros((len(gaps), 7))
    shapes[:, :3] = np.asarray(gaps)[:, None] / LIP_SHAPE_UNIT
    return shapes


def bank_of(
    gaps: np.ndarray,
    frames: np.ndarray | None = None,
    yaw: np.ndarray | None = None,
    looks: np.ndarray | None = None,
) -> Bank:
    """A bank without pictures: moments with these gaps and turns, consecutive unless ``frames`` says else."""
    count = len(gaps)
    frames = np.arange(count) if frames is None else np.asarray(frames)
    yaw = np.zeros(count) if yaw is None else np.asarray(yaw)
    points = np.stack([head(mouth(float(g)), yaw=float(y)) for g, y in zip(gaps, yaw, strict=True)])
    builder = BankBuilder()
    for index, face in enumerate(points):
        small = face * [0.25, 0.25, 0.25]
        builder.add(index, np.full((60, 50, 3), 128, np.uint8), small)
    bank = builder.finish()
    assert bank is not None and len(bank) == count
    return replace(
        bank,
        frames=frames.astype(np.int64),
        heads=Heads.of(points),
        shapes=gap_shape(np.asarray(gaps)),
        looks=np.zeros((count, 6), np.float32) if looks is None else looks.astype(np.float32),
        sharpness=np.full(count, 10.0),
        follows=np.diff(frames, prepend=-2) == 1,
    )


@dataclass(frozen=True)
class Talker:
    """A drawn clip: frames (N, H, W, 3) uint8, landmarks (N, 68, 3) float32."""

    frames: np.ndarray
    landmarks: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def heads(self) -> Heads:
        return Heads.of(self.landmarks)

    def bank(self, config: OwnMouthsConfig | None = None) -> Bank:
        """All its moments."""
        builder = BankBuilder(config)
        for index, (image, points) in enumerate(zip(self.frames, self.landmarks, strict=True)):
            builder.add(index, image, points)
        bank = builder.finish()
        assert bank is not None
        return bank


@cache
def talker(
    count: int = 24, size: int = 128, seed: int = 21, moving: bool = True, occluder: str = "none"
) -> Talker:
    """A rendered character that opens and closes its mouth twice."""
    scene = sample_scene(seed, style="realistic", occluder=occluder, size=size)
    if not moving:
        names = ("x", "y", "yaw", "pitch", "roll", "zoom", "camera_x", "camera_y")
        still = {name: Wobble(getattr(scene.motion, name).mean, (), (), ()) for name in names}
        scene = replace(scene, motion=replace(scene.motion, **still))
    wide = np.sin(2 * np.pi * np.arange(count) / count) ** 2
    shapes = [MouthShape(open=0.15 + 0.75 * float(w), spread=0.3 * float(1 - w)) for w in wide]
    drawn = [render_frame(scene, i, shape) for i, shape in enumerate(shapes)]
    return Talker(np.stack([d.image for d in drawn]), np.stack([d.landmarks for d in drawn]))


def drawn_talker(gaps: np.ndarray, size: int = 160, scale: float = 60, sway: float = 0.0) -> Talker:
    """A flat face of textured skin with red lips, black between them, as far open as ``gaps`` says (N,)."""
    noise = np.random.default_rng(3).normal(0, 1, (size, size, 3)).astype(np.float32)
    grain = cv2.GaussianBlur(noise, (0, 0), 1.2)
    skin = np.clip(np.array([190, 150, 130]) + 12 * grain / grain.std(), 120, 255).astype(np.uint8)
    frames, landmarks = [], []
    for i, gap in enumerate(gaps):
        at = (size / 2 + round(sway * float(np.sin(0.5 * i))), 0.32 * size)
        points = head(mouth(float(gap), chin=float(gap) / 2), scale=scale, at=at)
        image = np.roll(skin, round(at[0] - size / 2), axis=1).copy()
        for ids, colour in ((range(48, 60), (160, 60, 60)), (range(60, 68), INSIDE)):
            outline = np.rint(points[list(ids), :2] * 16).astype(np.int32)
            cv2.fillPoly(image, [outline], colour, cv2.LINE_AA, 4)
        frames.append(image)
        landmarks.append(points.astype(np.float32))
    return Talker(np.stack(frames), np.stack(landmarks))


def openings(frames: np.ndarray) -> np.ndarray:
    """(N,) how many pixels show the inside of the mouth of a :func:`drawn_talker`, in part or whole."""
    return ((60 - frames[..., 0].astype(float)) / 50).clip(0, 1).sum(axis=(1, 2))


def write_talker(path: Path, clip: Talker, rate: int = 25) -> Path:
    """The clip as a lossless video."""
    height, width = clip.frames.shape[1:3]
    with VideoWriter(path, width, height, rate=rate, encoding=LOSSLESS) as writer:
        for image in clip.frames:
            writer.write(image)
    return path


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Decibels."""
    error = np.square(a.astype(float) - b.astype(float)).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))
