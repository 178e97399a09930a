"""BootDub: the lips of a video follow other speech, the rest of the picture stays.

``from bootdub import DubPipeline``. Importing the package loads neither torch nor diffusers: its names are
loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stage2_dubber.dub.pipeline import DubPipeline
    from stage2_dubber.dub.request import DubRequest
    from stage2_dubber.dub.result import DubResult

__all__ = ["DubPipeline", "DubRequest", "DubResult", "__version__"]

_HOMES = {
    "DubPipeline": "stage2_dubber.dub.pipeline",
    "DubRequest": "stage2_dubber.dub.request",
    "DubResult": "stage2_dubber.dub.result",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("bootdub")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'bootdub' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
