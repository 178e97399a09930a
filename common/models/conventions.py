"""How the clips of a package are cut and joined, as its weights learnt or were published with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from common.diffusion.windows import WindowRule


class CropRule(str, Enum):
    """Which squares the model sees."""

    head = "head"
    """They follow the head (:func:`common.face.crops.plan_crops`)."""
    frame = "frame"
    """One around the whole picture, mirrored beyond its edges."""
    release = "release"
    """Those of the X-Dub release (:mod:`common.face.release_crops`), resampled as by PIL."""
    tbdub = "tbdub"
    """Those of TBDub, which sees less forehead: by the same code from our landmarks."""


class NoiseRule(str, Enum):
    """What the noise of a window depends on, besides the seed."""

    frame = "frame"
    """The place of the window in the clip."""
    none = "none"
    """Nothing: every window of one length starts from the same noise, as in the X-Dub release."""
    window = "window"
    """The number of the window: its noise is that of seed + number, as in TBDub's student."""


class SeamRule(str, Enum):
    """What becomes of the frames that two neighbouring windows share."""

    blend = "blend"
    """Every window is decoded by itself; pixels pass from the earlier one to the later one (G)."""
    average = "average"
    """The latents of the clip are decoded as one video; the last latent frame that both windows have is the
    mean of the two, what they share before is the earlier one's (R)."""
    earlier = "earlier"
    """The same, but all that they share is the earlier window's (TBDub)."""


class MotionRule(str, Enum):
    """From what the next window goes on."""

    pixels = "pixels"
    """The window before, decoded, with matched colours, its last frames encoded again (R)."""
    latents = "latents"
    """Its last latents as they are (TBDub's student)."""


class ColourRule(str, Enum):
    """How an edit gets the colours of its source."""

    unchanged = "unchanged"
    """Statistics of the pixels that the edit left alone, in RGB (R)."""
    lab = "lab"
    """Statistics of all pixels, in CIELAB (TBDub)."""


class PasteRule(str, Enum):
    """How an edited crop goes back into its frame, where nobody says otherwise."""

    change = "change"
    """What it adds to the source's own pixels, and itself where lips are new (G)."""
    square = "square"
    """All of it takes the source's place, but for soft edges (R)."""


@dataclass(frozen=True)
class Conventions:
    """Attributes: crops, windows, noise, seams, motion, colours, pasting: see there. seed: where no other is
    given.

    Raises:
        ValueError: windows that go on from latents are decoded by themselves.
    """

    crops: CropRule = CropRule.head
    windows: WindowRule = WindowRule.fitted
    noise: NoiseRule = NoiseRule.frame
    seed: int = 0
    seams: SeamRule = SeamRule.blend
    motion: MotionRule = MotionRule.pixels
    colours: ColourRule = ColourRule.unchanged
    pasting: PasteRule = PasteRule.change

    def __post_init__(self) -> None:
        if self.motion is MotionRule.latents and self.seams is SeamRule.blend:
            # A latent frame of four frames would be decoded as the single first one.
            raise ValueError("motion from latents needs windows that are decoded as one video")


RELEASE = Conventions(
    CropRule.release,
    WindowRule.full,
    NoiseRule.none,
    seed=42,
    seams=SeamRule.average,
    pasting=PasteRule.square,
)
"""Those of the X-Dub release (R)."""

TBDUB_TEACHER = replace(RELEASE, crops=CropRule.tbdub, seams=SeamRule.earlier, colours=ColourRule.lab)
"""Those of TBDub's teacher."""

TBDUB_STUDENT = replace(
    TBDUB_TEACHER, windows=WindowRule.pre_rolled, noise=NoiseRule.window, motion=MotionRule.latents
)
"""Those of TBDub's student."""
