"""A package of LTX-2 from a folder in diffusers' format, which stays where it is."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from common.checks import at_least
from common.diffusion.config import DiffusionConfig
from common.errors import UserError
from common.files import atomic_dir
from common.geometry import GeometryConfig
from common.models.conventions import Conventions, CropRule
from common.models.ltx2.conventions import CrossMask, CrossModulation, JointConventions, ReferenceTime
from common.models.ltx2.folder import JointFolder, folder_fingerprint, inspect_folder
from common.models.ltx2.lora import read_lora
from common.models.ltx2.package import LORA_FILE, PROMPT_FILE, check_joint_geometry
from common.models.ltx2.prompts import (
    StoredPrompts,
    encode_prompts,
    read_prompts,
    require_text_parts,
)
from common.models.ltx2.settings import DISTILLED_STEPS, JointSettings
from common.models.package_info import METADATA_FILE, RELEASED_PHASE, PackageInfo, write_info
from common.speech.config import SpeechConfig
from common.speech.joint_mel import JointMelEncoder
from stage2_dubber.dub.joint_cost import joint_window_cost

STAGE = 2
PROMPT = "A person is speaking."
NEGATIVE = "worst quality, inconsistent motion, blurry, jittery, distorted"


@dataclass
class JointConfig:
    """What no file of LTX-2 tells; the defaults are JUST-DUB-IT's (2.0, not distilled)."""

    modulation: CrossModulation = CrossModulation.own_token
    reference_time: ReferenceTime = ReferenceTime.same
    mask: CrossMask = CrossMask.targets
    crops: CropRule = CropRule.head
    distilled: bool = False
    num_steps: int = 30  # of models that are not distilled
    text_scale: float = 3.0
    audio_scale: float = 1.0  # away from pictures that are predicted without the sound
    perturbed_scale: float = 0.0
    perturbed_blocks: list[int] = field(default_factory=list)
    rescale: float = 0.0

    def __post_init__(self) -> None:
        at_least("joint.num_steps", self.num_steps, 1)
        if self.distilled and self.text_scale != 1:
            raise UserError(
                f"joint.text_scale is {self.text_scale:g}: distilled models are sampled without guidance by "
                "text; set it to 1."
            )


@dataclass
class JointImportConfig:
    """Root of ``bootdub import-ltx2``."""

    geometry: GeometryConfig = field(
        default_factory=lambda: GeometryConfig(clip_frames=121, motion_latents=2)
    )
    joint: JointConfig = field(default_factory=JointConfig)


@dataclass(frozen=True)
class JointSources:
    """Checked files of an import.

    Attributes:
        folder: of LTX-2.
        found: what is in it.
        lora: a public in-context LoRA; None: the model's own weights dub.
        reference_downscale: that the LoRA wants.
        states: file of the prompt's states; None: the folder's text encoder computes them.
        prompt, negative: texts; of ``states`` only for people.
    """

    folder: Path
    found: JointFolder
    lora: Path | None
    reference_downscale: int
    states: Path | None
    prompt: str
    negative: str


def open_joint_sources(
    folder: Path, config: JointImportConfig, lora: Path | None, states: Path | None, texts: tuple[str, str]
) -> JointSources:
    """Check all that an import reads; no weights are loaded but those of the LoRA.

    Args:
        folder: LTX-2 in diffusers' format.
        config: settings.
        lora, states: files, or None.
        texts: prompt and negative prompt.

    Raises:
        UserError: a file is missing, damaged or of another version, or settings contradict it.
    """
    found = inspect_folder(folder)
    downscale = 1 if lora is None else read_lora(lora, found.transformer).reference_downscale
    check_joint_geometry(config.geometry, downscale)
    blocks = len(found.transformer.transformer_blocks)
    outside = [block for block in config.joint.perturbed_blocks if not 0 <= block < blocks]
    if outside:
        raise UserError(
            f"joint.perturbed_blocks names block {outside[0]}, the model has {blocks} from 0 on; correct it."
        )
    sources = JointSources(folder.resolve(), found, lora, downscale, states, *texts)
    _settings(sources, config)
    if states is not None:
        _require_negative(read_prompts(states, found.transformer.config), config, states)
    else:
        require_text_parts(folder)
    return sources


def plan_lines(sources: JointSources, config: JointImportConfig) -> list[str]:
    """What an import would write, for people."""
    geometry, joint = config.geometry, config.joint
    steps = f"{DISTILLED_STEPS} distilled" if joint.distilled else f"{joint.num_steps}"
    total = sum(sources.found.parameters.values())
    where = sources.states or "the folder's text encoder"
    return [
        f"model: LTX-{sources.found.version} in {sources.folder}, {total / 1e9:.2f} B parameters, not copied",
        f"lora: {sources.lora or 'none'}, reference {sources.reference_downscale} times smaller",
        f"prompt: {sources.prompt!r} by {where}",
        f"conventions: modulation {joint.modulation.value}, reference audio {joint.reference_time.value}, "
        f"mask {joint.mask.value}",
        f"clips: {geometry.clip_frames} frames of {geometry.crop_size} pixels at {geometry.fps:g} fps, "
        f"crops of the {joint.crops.value}",
        f"sampling: {steps} steps, text scale {joint.text_scale:g}, audio scale {joint.audio_scale:g}",
    ]


def cost_line(sources: JointSources, config: JointImportConfig) -> str:
    """What dubbing a window will take, for people."""
    cost = joint_window_cost(_settings(sources, config), config.geometry, torch.bfloat16, sources.lora)
    weights = cost.transformer_bytes + cost.autoencoder_bytes
    return (
        f"a window in bfloat16: {weights / 2**30:.2f} GiB of weights, "
        f"{cost.activation_bytes / 2**30:.2f} GiB beside them, "
        f"{cost.forward / 1e12:.3g} TFLOP per call of the transformer"
    )


def import_joint_package(
    sources: JointSources, config: JointImportConfig, output: Path, overwrite: bool = False
) -> None:
    """Write the package to ``output``, whole or not at all.

    Raises:
        UserError: ``output`` exists and is not to be replaced or is no package, or the text encoder cannot be
            loaded.
    """
    check_output(output, overwrite)
    prompts = _prompts(sources, config)
    with atomic_dir(output) as temporary:
        prompts.save(temporary / PROMPT_FILE)
        # Those that were computed may be of connectors that belong to another transformer.
        read_prompts(temporary / PROMPT_FILE, sources.found.transformer.config)
        if sources.lora is not None:
            shutil.copyfile(sources.lora, temporary / LORA_FILE)
        write_info(temporary, joint_info(config, _settings(sources, config)))


def joint_info(
    config: JointImportConfig, settings: JointSettings, phase: str = RELEASED_PHASE
) -> PackageInfo:
    """What a package of LTX-2 says of itself."""
    joint = config.joint
    steps = DISTILLED_STEPS if joint.distilled else joint.num_steps
    return PackageInfo(
        stage=STAGE,
        phase=phase,
        geometry=config.geometry,
        speech=SpeechConfig(encoder=JointMelEncoder.name, channels=JointMelEncoder.channels),
        diffusion=DiffusionConfig(
            shift=1.0, num_steps=steps, reference_scale=1.0, audio_scale=joint.audio_scale, border=0
        ),
        speech_fingerprint=JointMelEncoder().fingerprint,
        conventions=Conventions(crops=joint.crops),
        joint=settings,
    )


def joint_settings(
    config: JointImportConfig, model: str, fingerprint: str, version: str, downscale: int, prompt: str
) -> JointSettings:
    """How the LTX-2 in the folder ``model`` is used."""
    joint = config.joint
    return JointSettings(
        model=model,
        fingerprint=fingerprint,
        version=version,
        prompt=prompt,
        conventions=JointConventions(joint.modulation, joint.reference_time, joint.mask, downscale),
        distilled=joint.distilled,
        text_scale=joint.text_scale,
        perturbed_scale=joint.perturbed_scale,
        perturbed_blocks=tuple(joint.perturbed_blocks),
        rescale=joint.rescale,
    )


def _settings(sources: JointSources, config: JointImportConfig) -> JointSettings:
    folder = sources.folder
    return joint_settings(
        config,
        str(folder),
        folder_fingerprint(folder),
        sources.found.version,
        sources.reference_downscale,
        sources.prompt,
    )


def _prompts(sources: JointSources, config: JointImportConfig) -> StoredPrompts:
    model: Any = sources.found.transformer.config
    if sources.states is not None:
        return read_prompts(sources.states, model)
    guided = config.joint.text_scale != 1
    return StoredPrompts(*encode_prompts(sources.folder, (sources.prompt, sources.negative)[: 1 + guided]))


def _require_negative(prompts: StoredPrompts, config: JointImportConfig, states: Path) -> None:
    if config.joint.text_scale != 1 and prompts.negative is None:
        raise UserError(
            f"{states}: holds no states of a negative prompt, which joint.text_scale "
            f"{config.joint.text_scale:g} needs; add them or set it to 1."
        )


def check_output(output: Path, overwrite: bool) -> None:
    """Raises UserError where ``output`` is no package, or is one that is not to be replaced."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / METADATA_FILE).is_file():
        raise UserError(f"The output '{output}' is no model package: it is not replaced; choose another.")
    if not overwrite:
        raise UserError(f"The output '{output}' exists already: choose another folder or give --overwrite.")
