"""What lies beside the two clips of an item, and the way back from it to the scene."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from common.errors import UserError
from common.files import PathLike, fingerprint, read_json
from common.rendered.clips import FORMAT
from common.rendered.scene import Scene
from evaluation.bench.items import VERSION, BenchItem
from evaluation.bench.scenes import build_scene


def item_fingerprint(item: BenchItem) -> str:
    """Changes whenever the item would be rendered otherwise."""
    return fingerprint({"bench": VERSION, "format": FORMAT, **asdict(item)})


def item_of(path: PathLike) -> BenchItem:
    """The item that an <id>.json describes.

    Raises:
        UserError: no JSON file of the rendered benchmark, or of another version of it.
    """
    about: Any = read_json(path)
    names = {entry.name for entry in fields(BenchItem)}
    item = about.get("item") if isinstance(about, dict) else None
    if not isinstance(item, dict) or set(item) != names:
        raise UserError(
            f"The file '{path}' does not describe a clip of the rendered benchmark: render it again."
        )
    if about.get("bench") != VERSION:
        raise UserError(
            f"The file '{path}' is of benchmark version {about.get('bench')} and this is version {VERSION}: "
            "render the benchmark again."
        )
    return BenchItem(**item)


def scene_of(path: PathLike) -> Scene:
    """The scene that both clips of an <id>.json show, for common.rendered.measure.opening_curves.

    The scene's pixels are those of the videos, whatever their shape: matrices go from video px to crop px.
    Motion, light, guest and creature are part of the scene, so openings can be measured in every group.

    Raises:
        UserError: see item_of.
    """
    return build_scene(item_of(path))
