"""A frozen image encoder of transformers (CLIP, SigLIP, DINOv2, ...), with gradients into the pictures.

Resizing and normalising are torch operations with the values of the model's own preprocessor_config.json;
transformers' processors work on arrays, and the fast ones need torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModel, CLIPVisionModelWithProjection, SiglipVisionModel
from transformers.utils import logging

from common.errors import UserError
from common.files import PathLike, read_json
from common.models.frozen import freeze, weight_fingerprint

# Models of pictures and text: only the part that sees is loaded.
_VISION_PARTS = {
    "clip": CLIPVisionModelWithProjection,
    "clip_vision_model": CLIPVisionModelWithProjection,
    "siglip": SiglipVisionModel,
    "siglip_vision_model": SiglipVisionModel,
}
_BICUBIC, _BILINEAR = 3, 2  # as PIL numbers them


@dataclass(frozen=True)
class Preprocessing:
    """What a model wants: square pictures of ``crop`` px, cut from the middle of ``resize`` px."""

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    mode: str = "bicubic"

    def __call__(self, pictures: Tensor) -> Tensor:
        """(M, 3, S, S) RGB in [-1, 1] -> (M, 3, crop, crop) as the model wants them; differentiable."""
        size = (self.resize, self.resize)
        unit = functional.interpolate(
            (pictures.float() + 1) / 2, size, mode=self.mode, align_corners=False, antialias=True
        )
        edge = (self.resize - self.crop) // 2
        cut = unit[..., edge : edge + self.crop, edge : edge + self.crop]
        mean, std = (cut.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (cut - mean) / std


class VisionEncoder:
    """Pictures to image embeddings: CLIP's projected ones, else the pooled output.

    Args:
        folder: save_pretrained folder of a model (safetensors) with its preprocessor_config.json.

    Raises:
        UserError: nothing to load there, weights that are missing or not safetensors, or a model without an
            embedding of pictures.
    """

    def __init__(self, folder: PathLike) -> None:
        path = Path(folder)
        if not (path / "config.json").is_file():
            raise UserError(
                f"{path}: no vision encoder there (no config.json); check phase.perceptual.model."
            )
        self.preprocessing = load_preprocessing(path)
        self.model: Any = freeze(_load(path))
        self.fingerprint = weight_fingerprint(self.model)
        side = self.preprocessing.crop
        try:
            with torch.no_grad():
                self.embed(torch.zeros(1, 3, side, side))
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{path}: is no encoder of pictures of {side} px ({reason}): use a CLIP, SigLIP or DINOv2 "
                "vision encoder with its own preprocessor_config.json."
            ) from error

    def embed(self, pictures: Tensor) -> Tensor:
        """(M, 3, S, S) RGB in [-1, 1] -> (M, D), with gradients."""
        output = self.model.to(pictures.device)(pixel_values=self.preprocessing(pictures))
        embedding = output.image_embeds if "image_embeds" in output else output.pooler_output
        if not isinstance(embedding, Tensor):
            raise ValueError("it pools nothing")
        return embedding


def load_preprocessing(folder: Path) -> Preprocessing:
    """The preprocessing that lies beside a model. Raises UserError where it is missing or incomplete."""
    plain, nested = folder / "preprocessor_config.json", folder / "processor_config.json"
    if plain.is_file():
        values = read_json(plain)
    elif nested.is_file() and "image_processor" in read_json(nested):
        values = read_json(nested)["image_processor"]
    else:
        raise UserError(
            f"{folder}: has no preprocessor_config.json, which says what pictures the model wants: save its "
            "image processor there too."
        )
    try:
        resize = _side(values["size"])
        crop = _side(values["crop_size"]) if values.get("do_center_crop") else resize
        mean, std = (tuple(map(float, values[name])) for name in ("image_mean", "image_std"))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"{folder}: its preprocessor_config.json lacks a square size, image_mean or image_std ({error})."
        ) from error
    if len(mean) != 3 or len(std) != 3 or crop > resize:
        raise UserError(f"{folder}: its preprocessor_config.json is not for square RGB pictures.")
    mode = {_BICUBIC: "bicubic", _BILINEAR: "bilinear"}.get(values.get("resample", _BICUBIC))
    if mode is None:
        raise UserError(f"{folder}: resamples neither bicubically nor bilinearly: choose another model.")
    return Preprocessing(resize, crop, mean, std, mode)


def _side(size: Any) -> int:
    if isinstance(size, int):
        return size
    if "shortest_edge" in size:
        return int(size["shortest_edge"])
    if size["height"] != size["width"]:
        raise ValueError("the pictures are not square")
    return int(size["height"])


def _load(folder: Path) -> torch.nn.Module:
    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).model_type
        # Any: AutoModel is no subclass of the models that it makes.
        model_class: Any = _VISION_PARTS.get(kind, AutoModel)
        # The text half of a CLIP is left behind on purpose; transformers would report every tensor of it.
        before = logging.get_verbosity()
        logging.set_verbosity_error()
        try:
            model, info = model_class.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        finally:
            logging.set_verbosity(before)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{folder}: cannot be loaded as a vision encoder ({reason}).") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(
            f"{folder}: lacks weights such as {missing[0]}, which would be random: save a complete "
            f"{model_class.__name__} there."
        )
    assert isinstance(model, torch.nn.Module)
    return model
