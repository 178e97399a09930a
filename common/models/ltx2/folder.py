"""A folder of LTX-2 in diffusers' format: its version (2.0 or 2.3), and whether it is whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder, LTX2VocoderWithBWE

from common.errors import UserError
from common.files import read_json, require_file, sampled_digest
from common.models.load import load_strictly
from common.models.ltx2.block_codecs import BlockAudioAutoencoder, BlockVideoAutoencoder, PhaseVocoder
from common.models.ltx2.conventions import JointConventions
from common.models.ltx2.index import INDEX_FILE, is_joint_folder
from common.models.ltx2.transformer import JointTransformer
from common.models.stored import open_folder

WEIGHTS = "diffusion_pytorch_model"
CLASSES: dict[str, tuple[Any, ...]] = {
    "transformer": (LTX2VideoTransformer3DModel,),
    "connectors": (LTX2TextConnectors,),
    "vae": (AutoencoderKLLTX2Video, BlockVideoAutoencoder),
    "audio_vae": (AutoencoderKLLTX2Audio, BlockAudioAutoencoder),
    "vocoder": (LTX2Vocoder, LTX2VocoderWithBWE, PhaseVocoder),
}
"""The parts that are read, by the name of their folder."""
CODECS = ("vae", "audio_vae")
"""Those that decide what latents mean."""


@dataclass(frozen=True)
class JointFolder:
    """A folder that was found whole. version: "2.0" or "2.3". parameters: how many each part has.

    transformer: without weights.
    """

    version: str
    parameters: Mapping[str, int]
    transformer: LTX2VideoTransformer3DModel


def inspect_folder(folder: Path) -> JointFolder:
    """Check all parts: their configurations, and names and shapes of their tensors; no weights are read.

    Raises UserError naming the first part that is missing, damaged, of another class or of another version,
    and where the parts do not belong together.
    """
    if not is_joint_folder(folder):
        raise UserError(
            f"{folder}: no LTX-2 in diffusers' format (no {INDEX_FILE} that says so); give such a folder."
        )
    missing = [name for name in CLASSES if not (folder / name / "config.json").is_file()]
    if missing:
        raise UserError(f"{folder}: lacks {', '.join(missing)}; fetch the whole model.")
    parts = {name: _checked_part(folder / name, classes) for name, classes in CLASSES.items()}
    version = model_version(parts["transformer"].config, folder / "transformer")
    _check_together(folder, parts)
    counted = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    return JointFolder(version, counted, parts["transformer"])


def folder_fingerprint(folder: Path, parts: Iterable[str] = CLASSES) -> str:
    """Changes with the files of ``parts``; of weights, samples count.

    Raises:
        UserError: a file is missing or unreadable.
    """
    files = [file for name in parts for file in sorted((folder / name).glob("*")) if file.is_file()]
    return sampled_digest(files)[:16]


def load_joint_transformer(
    folder: Path, conventions: JointConventions, dtype: torch.dtype = torch.float32
) -> JointTransformer:
    """The transformer in ``folder``, as diffusers stores it, in evaluation mode.

    Raises UserError where it is missing, damaged or of a version that is not known.
    """
    model = load_strictly(LTX2VideoTransformer3DModel, folder, dtype)
    model_version(model.config, folder)
    return JointTransformer(model.eval().requires_grad_(False), conventions)


def model_version(config: Any, folder: Path) -> str:
    """ "2.0" or "2.3". Raises UserError for any other transformer."""
    modulated = {config.cross_attn_mod, config.audio_cross_attn_mod}
    gated = {config.gated_attn, config.audio_gated_attn}
    plain = config.use_prompt_adaln_single and config.ff_bias and not config.use_keyframes_abs_pos_embedding
    if plain and modulated == gated == {False} and config.use_prompt_embeddings:
        return "2.0"
    if plain and modulated == gated == {True} and not config.use_prompt_embeddings:
        return "2.3"
    raise UserError(f"{folder}: the transformer is that of neither LTX-2.0 nor LTX-2.3; choose one of them.")


def hollow_part(folder: Path) -> Any:
    """A part of the class that its folder is for, from its configuration, with fresh weights.

    Raises:
        UserError: there is none, or it is damaged.
    """
    require_file(folder / "config.json", "configuration")
    config = read_json(folder / "config.json")
    kinds = {kind.__name__: kind for kind in CLASSES[folder.name]}
    return _built(folder, kinds[config["_class_name"]], config)


def _built(folder: Path, kind: Any, config: Any) -> Any:
    try:
        return kind.from_config(config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder / 'config.json'}: damaged ({error}); fetch it again.") from error


def _checked_part(folder: Path, classes: tuple[Any, ...]) -> Any:
    """The part without weights. Raises UserError where its class or a tensor is another one."""
    config = read_json(folder / "config.json")
    name = config.get("_class_name") if isinstance(config, dict) else None
    kinds = {kind.__name__: kind for kind in classes}
    if name not in kinds:
        raise UserError(
            f"{folder / 'config.json'}: describes {name!r}, not {' or '.join(kinds)}; fetch the folder again."
        )
    with torch.device("meta"):
        part = _built(folder, kinds[name], config)
    stored = open_folder(folder, WEIGHTS)
    wanted = part.state_dict()
    for tensor in sorted(wanted.keys() | stored.keys()):
        if tensor not in stored:
            raise UserError(f"{folder}: lacks the tensor {tensor}; fetch it again.")
        if tensor not in wanted or stored[tensor].shape != wanted[tensor].shape:
            raise UserError(
                f"{folder}: the tensor {tensor} is not one of a {name} of this configuration; fetch it again."
            )
    return part


def _check_together(folder: Path, parts: Mapping[str, Any]) -> None:
    model, video, audio = (parts[name].config for name in ("transformer", "vae", "audio_vae"))
    if model.in_channels != video.latent_channels:
        raise UserError(
            f"{folder}: the transformer works on {model.in_channels} latent channels, the autoencoder of the "
            f"video has {video.latent_channels}; the parts belong to different models."
        )
    bands = audio.mel_bins // model.audio_scale_factor
    if model.audio_in_channels != audio.latent_channels * bands:
        raise UserError(
            f"{folder}: the transformer works on {model.audio_in_channels} audio channels, the autoencoder "
            f"of the sound has {audio.latent_channels} x {bands}; the parts belong to different models."
        )
