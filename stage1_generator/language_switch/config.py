"""The configuration of pairs from clips that change their language."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.checks import above, at_least, precision, share
from common.errors import UserError
from common.face.config import FaceConfig
from stage1_generator.config import FilterConfig


@dataclass
class SwitchMasksConfig:
    """The ``masks`` section: which latents of a half are made anew."""

    fine: bool = True
    """Those that the lower face covers in their own frames, and those into which it leaks; else all that the
    face covers in any frame of the half."""
    leak_threshold: float = 0.1
    """A latent changes with the lower face where it differs by more than this, in standard deviations of its
    channels, when the lower face is painted over."""
    feather: float = 0.05
    """Width of the soft border, inside the lower face, as a share of the crop."""


@dataclass
class LipAugmentationConfig:
    """The ``lips`` section: exaggerated articulation in a share of the companions, so that a model cannot
    take a source's lips for its own."""

    share: float = 0.5
    audio_scale: float = 3.0
    """Guidance away from pictures predicted without the sound; 1: none."""
    words: str = " The mouth moves widely and clearly."
    """Added to the prompt."""


@dataclass
class SwitchConfig:
    """Root of ``python -m stage1_generator.switch``."""

    work: str = "outputs/language_switch"
    package: str = ""
    """Of LTX-2 (`bootdub import-ltx2`): the model, the geometry of clips, and the guidance."""
    script: str = ""
    """Table (.csv) of the clips that the model makes: id, person, and what is said in which language."""
    recordings: str = ""
    """Instead: table (.csv) of given recordings, in which one person changes the language."""
    reference: bool = False
    """The clip itself is a reference, too: for packages whose LoRA wants one."""
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    samples_per_shard: int = 128
    masks: SwitchMasksConfig = field(default_factory=SwitchMasksConfig)
    lips: LipAugmentationConfig = field(default_factory=LipAugmentationConfig)
    filters: FilterConfig = field(default_factory=FilterConfig)
    face: FaceConfig = field(default_factory=FaceConfig)

    def __post_init__(self) -> None:
        precision("dtype", self.dtype)
        share("lips.share", self.lips.share)
        above("masks.leak_threshold", self.masks.leak_threshold, 0)
        at_least("masks.feather", self.masks.feather, 0)
        at_least("samples_per_shard", self.samples_per_shard, 1)
        if bool(self.script) == bool(self.recordings):
            raise UserError("Clips come from script or from recordings: name one of the two tables.")
        if not self.package:
            raise UserError("package is empty: name a package of LTX-2.")
