"""Telling folders of LTX-2 from others, without importing what reads them."""

from __future__ import annotations

from pathlib import Path

from common.files import read_json

INDEX_FILE, PIPELINE = "model_index.json", "LTX2Pipeline"


def is_joint_folder(folder: Path) -> bool:
    """Whether ``folder`` says that it holds a pipeline of LTX-2 in diffusers' format."""
    index = folder / INDEX_FILE
    content = read_json(index) if index.is_file() else None
    return isinstance(content, dict) and str(content.get("_class_name", "")).startswith("LTX2")
