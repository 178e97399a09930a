"""The build backend: setuptools', whose wheels are then put under one package (:mod:`namespacing`).

In the repository the packages lie side by side (``common``, ``evaluation``, ...), names that would be
anybody's in a user's environment. Editable installations and source distributions are setuptools' own.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from namespacing import namespaced_wheel
from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401 (what front ends call)
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)


def build_wheel(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """Build a wheel of which every module lies under ``bootdub``; its file's name."""
    with tempfile.TemporaryDirectory() as folder:
        # Not in build/, where modules of an earlier wheel would lie and come along.
        extra = Path(folder) / "build.cfg"
        extra.write_text(f"[build]\nbuild_base = {folder}/build\n", encoding="utf-8")
        os.environ["DIST_EXTRA_CONFIG"] = str(extra)
        name = build_meta.build_wheel(folder, config_settings, metadata_directory)
        namespaced_wheel(Path(folder) / name, Path(wheel_directory) / name)
    return name
