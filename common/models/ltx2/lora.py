"""Public in-context LoRAs of LTX-2: keys ``diffusion_model.<module>.lora_A.weight`` and ``lora_B``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffusers.loaders import LTX2LoraLoaderMixin
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from common.errors import UserError
from common.files import atomic_path, require_file

PUBLIC_PREFIX = "diffusion_model."
MODEL_PREFIX = "transformer."
DOWNSCALE_KEY, TEMPORAL_KEY = "reference_downscale_factor", "reference_temporal_scale_factor"


@dataclass(frozen=True)
class LoraFile:
    """A checked LoRA. tensors: by diffusers' names. reference_downscale: target over reference, in pixels."""

    tensors: dict[str, Tensor]
    reference_downscale: int


def read_lora(path: Path, model: LTX2VideoTransformer3DModel) -> LoraFile:
    """Read a public LoRA and check it against the model that it is meant for.

    Raises UserError where the file is missing or damaged, is no such LoRA, wants a reference of another frame
    rate, or fits another version of LTX-2. A LoRA whose layers are all of equal shape in both versions cannot
    be told.
    """
    require_file(path, "LoRA")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not readable as a safetensors file ({error}); fetch it again.") from error
    foreign = sorted(key for key in stored if not key.startswith(PUBLIC_PREFIX) or ".lora_" not in key)
    if foreign or not stored:
        found = f"it holds {foreign[0]!r}" if foreign else "it is empty"
        raise UserError(
            f"{path}: no in-context LoRA of LTX-2 ({found}); "
            f"its keys must begin with {PUBLIC_PREFIX!r} and name lora_A and lora_B."
        )
    tensors = LTX2LoraLoaderMixin.lora_state_dict(stored)
    _check_layers(path, tensors, model)
    if _factor(path, metadata, TEMPORAL_KEY) != 1:
        raise UserError(
            f"{path}: the LoRA wants a reference of a lower frame rate ({TEMPORAL_KEY} "
            f"{metadata[TEMPORAL_KEY]}), which is not supported; choose another one."
        )
    return LoraFile(tensors, _factor(path, metadata, DOWNSCALE_KEY))


def attach_lora(model: LTX2VideoTransformer3DModel, lora: LoraFile, name: str) -> None:
    """Add the LoRA to the model and switch it on; its scale is 1, as the public files mean it."""
    model.load_lora_adapter(dict(lora.tensors), prefix=MODEL_PREFIX.rstrip("."), adapter_name=name)


def write_lora(model: LTX2VideoTransformer3DModel, name: str, downscale: int, path: Path) -> None:
    """Write the adapter ``name`` as public in-context LoRAs are, whole or not at all.

    ``downscale``: target over reference, in pixels.
    """
    tensors = {
        PUBLIC_PREFIX + key.replace(f".{name}.weight", ".weight"): value.detach().cpu().contiguous()
        for key, value in model.named_parameters()
        if f".lora_A.{name}." in key or f".lora_B.{name}." in key
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {DOWNSCALE_KEY: str(downscale)})


def _check_layers(path: Path, tensors: dict[str, Tensor], model: LTX2VideoTransformer3DModel) -> None:
    modules = dict(model.named_modules())
    for key, tensor in sorted(tensors.items()):
        name, _, side = key.removeprefix(MODEL_PREFIX).partition(".lora_")
        inwards = side.startswith("A")
        wanted = getattr(modules.get(name), "in_features" if inwards else "out_features", None)
        if tensor.ndim != 2 or tensor.shape[1 if inwards else 0] != wanted:
            raise UserError(
                f"{path}: the LoRA's {key.removeprefix(MODEL_PREFIX)} fits no layer of this model; it was "
                "made for another version of LTX-2."
            )
        partner = f"{MODEL_PREFIX}{name}.lora_{'B' if inwards else 'A'}.weight"
        if partner not in tensors:
            raise UserError(f"{path}: lacks {partner.removeprefix(MODEL_PREFIX)}; fetch it again.")


def _factor(path: Path, metadata: dict[str, str], key: str) -> int:
    """A whole number of at least 1; 1 where the file says none."""
    text = metadata.get(key, "1")
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if value < 1 or value != int(value):
        raise UserError(f"{path}: {key} is {text!r}, which is no whole number; fetch another copy.")
    return int(value)
