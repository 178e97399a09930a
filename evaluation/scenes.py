"""The drawn character of a clip, from the JSON beside it."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError
from common.files import read_json
from evaluation.bench import scene_of
from stage1_generator.rendered.scene import Scene, sample_scene


def load_scene(path: Path) -> Scene:
    """The scene of a clip of the benchmark, or of one made by ``python -m stage1_generator.rendered``.

    Raises:
        UserError: the file describes neither.
    """
    about = read_json(path)
    if isinstance(about, dict) and "item" in about:
        return scene_of(path)
    try:
        size = int(about.get("size", 256))
        return sample_scene(about["scene_seed"], style=about["style"], occluder=about["occluder"], size=size)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"The file '{path}' describes no drawn character: name the JSON that was written beside the clip."
        ) from error
