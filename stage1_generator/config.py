"""The configuration of stage 1: the shared sections plus what only the generator's commands need."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from common.checks import at_least, clip_length, one_of, precision, share
from common.data.config import AugmentConfig
from common.errors import UserError
from common.face.config import FaceConfig
from common.models.conventions import CropRule
from common.speech.config import SpeechAugmentConfig
from common.training.config import FlowTrainingConfig


@dataclass
class PrepareConfig:
    """Which videos are read, who speaks in them, and which stretches are kept."""

    videos: str = ""
    """Folder of videos, searched with its subfolders."""
    extensions: list[str] = field(default_factory=lambda: [".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"])
    speakers: str = ""
    """Optional .csv or .tsv that names each file's speaker; `speaker` in a sidecar `<stem>.json` wins."""
    speakers_file_column: str = "file"
    speakers_name_column: str = "speaker_id"
    speaker_from: str = "name"
    """Speaker of a video that nothing names: "name" (each video its own) or "folder" (its parent folder)."""
    offsets: str = ""
    """Optional JSON of common/sync_expert/measure.py: sound is moved so that it fits the lips."""
    offset_confidence: float = 0.0
    """Videos that `offsets` measured with less confidence than this are left out."""
    min_seconds: float = 1.0
    """Shorter face stretches are listed in the report and left out."""
    max_seconds: float = 20.0
    """Longer stretches are cut into entries of at most this length: later steps hold one entry in memory."""
    max_gap: int = 10
    """Frames without a face that are bridged by interpolation (25 fps)."""
    crops: CropRule = CropRule.head
    """Which squares are cut: "head", or "release", which alone the public X-Dub models have seen."""
    min_crop_ratio: float = 0.25
    """Least side of the crop in source pixels over geometry.crop_size; smaller faces only teach blur."""
    limit: int = 0
    """Take only the first so many videos in name order (0 = all)."""
    part: str = ""
    """"K/N": only the videos of the K-th of N parts, 0 to N - 1; a speaker's videos are all in one part."""
    workers: int = 0
    """Videos prepared at once (0 = one per CPU core)."""


@dataclass
class ReferenceConfig:
    """Still frames that show the generator the person (P: 4)."""

    count: int = 4
    background: str = "keep"
    """"keep": the whole crop; "zero": only the face, the rest gray."""


@dataclass
class MasksConfig:
    """The region that is painted, in training clips and in companions alike."""

    occluder_grow: float = 0.02
    """Occluders are dilated by this share of the crop size before they are cut out of the mask."""


@dataclass
class EncodeConfig:
    """Training clips of the generator, with everything that can be computed once."""

    stride: int = 0
    """Frames from one clip's start to the next (0 = geometry.clip_frames, no overlap)."""
    cut_occluders: bool = True
    """Leave known occluders visible inside the region to inpaint, as synthesis does."""
    samples_per_shard: int = 256


class OwnMouths(str, Enum):
    """What lips a clip gets that is drawn again with its own mouths of other moments."""

    none = "none"
    """It is not drawn again."""
    rebuilt = "rebuilt"
    """The same as before: for a model that repairs such pictures."""
    other = "other"
    """Those of another stretch of the clip: for a model that changes lips."""


class ReferenceFrames(str, Enum):
    """Which other frames of the same clip are the references of a pair (EdiDub)."""

    none = "none"
    """There are no such pairs."""
    landmarks = "landmarks"
    """For each frame the one whose landmarks without lips and jaw are nearest."""
    random = "random"
    """For each frame any one, to compare with."""


@dataclass
class PairsConfig:
    """Clips of stage 2 and the speech that their companions are given."""

    clip_frames: int = 77
    stride: int = 0
    """Frames from one clip's start to the next (0 = clip_frames)."""
    silence_fraction: float = 0.07
    """Share of companions driven by silence, to learn closed mouths (G, docs/notation.md §4: 5-10 %)."""
    voiced_min: float = 0.5
    """Least share of voiced 25-fps frames in a stretch that may serve as alternative speech."""
    voice_db: float = 25.0
    """A frame is voiced when its energy is within so many dB of the entry's loud level."""
    other_speakers: bool = False
    """Borrow another speaker's speech where the own speaker has no second stretch."""
    per_speaker: int = 0
    """Most pairs of one speaker, drawn evenly from all the clips (0 = all)."""
    retimed: bool = False
    """Besides, a companion of real pixels for each clip that allows it: its own lips at other moments."""
    own_mouths: OwnMouths = OwnMouths.none
    """Besides, each clip drawn with mouths of its other moments, bent to shapes: "none", "rebuilt" (the lips
    stay the same) or "other" (those of another stretch of the clip)."""
    reference_frames: ReferenceFrames = ReferenceFrames.none
    """Besides, each clip with other frames of its own for references: "landmarks" (chosen by `prepare`) or
    "random"."""
    exclusion_frames: int = 12
    """Those must be more than so many frames away from the frame that they stand for."""
    augmented_copies: int = 0
    """So many further copies of each pair, changed as `augment` says, each with latents of its own."""


@dataclass
class SynthesisConfig:
    """How the trained generator makes companions."""

    model: str = ""
    """Model package of the generator; empty = `model` inside the newest checkpoint under train.output."""
    batch_clips: int = 4
    seed: int = 0


@dataclass
class BlendConfig:
    """Putting the generated lower face back."""

    feather: float = 0.05
    """Width of the soft border, inside the mask, as a share of the crop size."""
    workers: int = 0


@dataclass
class FilterConfig:
    """Thresholds; a companion is rejected when it fails any of them."""

    identity_min: float = 0.85
    """Least cosine of ArcFace embeddings (needs the insightface pack; reported as not measured without)."""
    identity_root: str = ""
    """Folder that holds insightface's models/<pack> (empty = its default place)."""
    lip_distance_min: float = 1.0
    """Least mean mouth-landmark distance in a 112-px aligned face (docs/notation.md §4)."""
    rebuilt_lip_distance_max: float = 1.2
    """Most such distance where the lips are to be the same (pairs.own_mouths: rebuilt)."""
    lip_change_min: float = 0.02
    """Least mean absolute difference of lip pixels (0..1), used where landmarks cannot be detected again."""
    sharpness_min: float = 0.25
    """Least ratio of Laplacian variance in the mouth region, companion to original."""
    sharpness_max: float = 4.0
    """Greatest such ratio: more is noise."""
    frames_per_clip: int = 12
    """Frames on which identity is measured, spread over the clip."""
    workers: int = 0


@dataclass
class PackConfig:
    """Pairs into shards."""

    samples_per_shard: int = 128
    relight_fraction: float = 0.05
    """Share of pairs whose both videos are shown under the same other light (docs/notation.md §4)."""
    rendered_pairs: str = ""
    """Folder made by `common.rendered --pairs`: exact pairs, packed into shards of their own."""
    cache: bool = True
    """Store latents and speech features. Without them the pairs serve models that have encoders of their
    own (LTX-2), and augmentation while training."""
    workers: int = 0


@dataclass
class Stage1Config(FlowTrainingConfig):
    """Root of stage 1. `work` holds everything that the commands make."""

    work: str = "outputs/stage1"
    seed: int = 0
    """Of what is drawn for training clips: their references. Companions have synthesis.seed."""
    device: str = "auto"
    """Where autoencoder and generator run: "auto", "cpu", "cuda" or "cuda:1"."""
    dtype: str = "auto"
    """"float32", "bfloat16" or "auto". The latter is float32 on every CPU: what is encoded must not depend on
    which one it is."""
    face: FaceConfig = field(default_factory=FaceConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    speech_augment: SpeechAugmentConfig = field(default_factory=SpeechAugmentConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    references: ReferenceConfig = field(default_factory=ReferenceConfig)
    masks: MasksConfig = field(default_factory=MasksConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    pairs: PairsConfig = field(default_factory=PairsConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    blend: BlendConfig = field(default_factory=BlendConfig)
    filters: FilterConfig = field(default_factory=FilterConfig)
    pack: PackConfig = field(default_factory=PackConfig)


def check(config: Stage1Config) -> Stage1Config:
    """Refuse combinations that would fail, or quietly mean something else, long after the start.

    Raises:
        UserError: naming the key and what it must be.
    """
    precision("dtype", config.dtype)
    clip_length("geometry.clip_frames", config.geometry.clip_frames, 5)
    clip_length("pairs.clip_frames", config.pairs.clip_frames, 5)
    one_of("references.background", config.references.background, ("keep", "zero"))
    one_of("prepare.speaker_from", config.prepare.speaker_from, ("name", "folder"))
    if config.prepare.crops is CropRule.frame:
        raise UserError("prepare.crops is frame, which the models of this stage do not see: head or release.")
    # Without references the generator cannot know the person.
    at_least("references.count", config.references.count, 1)
    at_least("pairs.exclusion_frames", config.pairs.exclusion_frames, 0)
    share("pairs.silence_fraction", config.pairs.silence_fraction)
    if config.model.reference_layout != "temporal":
        raise UserError(
            'model.reference_layout must be "temporal" in stage 1, which gets its references along the frame '
            "axis: add configs/stage1.yaml."
        )
    if config.model.condition_channels != config.model.latent_channels:
        raise UserError(
            f"model.condition_channels is {config.model.condition_channels}, but stage 1 puts the masked "
            f"video's latents there: set it to model.latent_channels ({config.model.latent_channels})."
        )
    if config.diffusion.inverts:
        raise UserError(
            "diffusion.start_from must be noise in stage 1: an inverted clip would tell the generator the "
            "lips that are hidden from it."
        )
    if config.pairs.augmented_copies < 0 or (config.pairs.augmented_copies and not config.augment.active):
        raise UserError(
            f"pairs.augmented_copies is {config.pairs.augmented_copies}, but augment changes nothing: give "
            "its changes probabilities, or set it to 0."
        )
    return config
