"""What ``bootdub info`` says about a folder of LTX-2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.models.ltx2.folder import inspect_folder
from common.models.ltx2.lora import read_lora


def describe_joint_folder(folder: Path, lora: Path | None = None) -> dict[str, Any]:
    """Version and sizes of the parts, and what ``lora`` wants where it fits.

    Raises UserError where the folder is not whole, or the LoRA was made for another model.
    """
    found = inspect_folder(folder)
    described: dict[str, Any] = {
        "model": "LTX-2",
        "version": found.version,
        "parameters": dict(found.parameters),
        "gigabytes_in_bfloat16": round(2 * sum(found.parameters.values()) / 1e9, 3),
    }
    if lora is not None:
        read = read_lora(lora, found.transformer)
        described["lora"] = {
            "parameters": sum(tensor.numel() for tensor in read.tensors.values()),
            "reference_downscale": read.reference_downscale,
        }
    return described
