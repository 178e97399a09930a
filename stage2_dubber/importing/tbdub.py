"""The TBDub release: a teacher and a two-step student with X-Dub's keys, which hear HuBERT features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json
from common.geometry import frames_to_latents
from common.models.conventions import TBDUB_STUDENT, TBDUB_TEACHER, Conventions, MotionRule
from common.models.package_info import RELEASED_PHASE
from common.models.stored import open_safetensors, open_tensor
from stage2_dubber.importing.config import PackageConfig, StudentImportConfig, TeacherImportConfig, Variant
from stage2_dubber.importing.parts import hubert_part, original_vae_part
from stage2_dubber.importing.sources import (
    HUBERT_FOLDER,
    VAE_FILE,
    Given,
    Sources,
    checked_parts,
    public_transformer,
    stored_context,
)

SETTINGS_FILE = "config.json"
CONTEXT_FILE = "null_prompt_emb.pt"
FORMAT = 2

CONFIGS: dict[Variant, type[PackageConfig]] = {
    Variant.student: StudentImportConfig,
    Variant.teacher: TeacherImportConfig,
}
_CONVENTIONS: dict[Variant, Conventions] = {
    Variant.student: TBDUB_STUDENT,
    Variant.teacher: TBDUB_TEACHER,
}
# Entry of the release's settings -> ours.
_SAMPLING = {
    "num_inference_steps": "diffusion.num_steps",
    "sigma_shift": "diffusion.shift",
    "ref_cfg_scale": "diffusion.reference_scale",
    "audio_cfg_scale": "diffusion.audio_scale",
}
# Of a variant, besides those: read here, or of no meaning for what is made.
_KNOWN = {*_SAMPLING, "motion_from_latents", "checkpoints", "storage_dtype", "standalone"}


def weights_file(variant: Variant) -> str:
    """Name of the transformer's file."""
    return f"tbdub_{variant.value}.safetensors"


def release_settings(folder: Path, variant: Variant) -> list[str]:
    """``key=value`` words for the settings that the release's own ``config.json`` changes.

    Raises:
        UserError: it or the variant's file is missing, or it is of another format, lacks the variant, or
            says what no package can.
    """
    file = folder / SETTINGS_FILE
    _require([file, folder / weights_file(variant)], folder)
    said = read_json(file)
    found = said.get("format_version") if isinstance(said, dict) else None
    if found != FORMAT or said.get("model_type") != "tbdub":
        raise UserError(
            f"{file}: is of format {found}, and TBDub's format {FORMAT} can be imported; fetch the release."
        )
    chosen = said.get("variants", {}).get(variant.value)
    if not isinstance(chosen, dict):
        raise UserError(f"{file}: describes no {variant.value}; choose another --variant.")
    unknown = sorted(chosen.keys() - _KNOWN)
    if unknown:
        raise UserError(f"{file}: the {variant.value} has the unknown setting {unknown[0]}; it is too new.")
    expected = [weights_file(variant)]
    if chosen.get("checkpoints", expected) != expected:
        raise UserError(
            f"{file}: the {variant.value} is made of {chosen['checkpoints']}, but one whole file "
            f"{expected[0]} is needed; fetch the newer release."
        )
    latents = _CONVENTIONS[variant].motion is MotionRule.latents
    if chosen.get("motion_from_latents", latents) != latents:
        raise UserError(
            f"{file}: the {variant.value} says motion_from_latents {chosen['motion_from_latents']}, which no "
            "package can; fetch the release."
        )
    words = [f"{ours}={chosen[name]}" for name, ours in _SAMPLING.items() if name in chosen]
    return [*_geometry(said), *words]


def _require(wanted: Sequence[Path], folder: Path) -> None:
    missing = [path.name for path in wanted if not path.exists()]
    if missing:
        raise UserError(
            f"{folder} lacks {', '.join(missing)} of TBDub; fetch what docs/import.md lists, or choose the "
            "other --variant."
        )


def _geometry(said: dict[str, Any]) -> list[str]:
    pictures, clips = said.get("input", {}), said.get("generation", {})
    words = []
    if "video_fps" in pictures:
        words.append(f"geometry.fps={pictures['video_fps']}")
    if "face_resolution" in pictures:
        words.append(f"geometry.crop_size={pictures['face_resolution'][0]}")
    if "clip_num_frames" in clips:
        words.append(f"geometry.clip_frames={clips['clip_num_frames']}")
    if "motion_num_frames" in clips:
        words.append(f"geometry.motion_latents={frames_to_latents(clips['motion_num_frames'])}")
    return words


def open_tbdub(folder: Path, variant: Variant, config: PackageConfig, given: Given) -> Sources:
    """One variant of the release as it was downloaded.

    Reads headers only.

    Args:
        folder: with the variant's weights, the null prompt, the autoencoder of X-Dub and HuBERT.
        variant: which of the two models.
        config: settings of the package.
        given: what lies elsewhere.

    Raises:
        UserError: naming the first file that is missing or damaged, the first tensor that is missing, foreign
            or misshapen, or the parts that do not belong together.
    """
    if config.speech.encoder != "hubert":
        raise UserError("speech.encoder must be hubert: TBDub was trained on its features.")
    if config.speech.path:
        raise UserError(
            "speech.path is where a package keeps its own encoders: give --speech FOLDER instead."
        )
    ears = given.speech or folder
    wanted = [folder / weights_file(variant), folder / VAE_FILE, ears / HUBERT_FOLDER]
    if given.context is None:
        wanted.append(folder / CONTEXT_FILE)
    _require(wanted, folder)
    speech = hubert_part(ears / HUBERT_FOLDER)
    if given.context is None:
        context = stored_context(folder / CONTEXT_FILE, open_tensor(folder / CONTEXT_FILE))
    else:
        context = stored_context(given.context, open_safetensors(given.context).get("context"))
    sources = Sources(
        RELEASED_PHASE,
        (
            public_transformer(folder / weights_file(variant), config, given),
            original_vae_part(folder / VAE_FILE, given.latent_statistics),
            speech,
        ),
        context,
        replace(config.speech, path="", channels=speech.facts["channels"]),
        _CONVENTIONS[variant],
    )
    return checked_parts(folder, sources, config)
