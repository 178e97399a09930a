"""Packages that a plain installation leaves away, since a dub does without them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from common.errors import UserError

EXTRAS = {
    "insightface": ("insightface", "onnxruntime", "onnx"),
    "evaluate": ("matplotlib", "jinja2", "espeakng_loader"),
    "train": ("tensorboard", "accelerate", "espeakng_loader"),
    "ui": ("gradio",),
    "ray": ("ray",),
    "serve": ("fastapi", "uvicorn", "python_multipart", "prometheus_client"),
}
"""Extra of pyproject.toml -> modules of its packages."""


def require_extra(extra: str) -> None:
    """Refuse work whose packages are not installed, before it begins.

    Raises:
        UserError: one of them is missing.
    """
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if missing:
        raise _told(missing[0], extra)


@contextmanager
def told_extras() -> Iterator[None]:
    """Turn the import of a package that is left away into a sentence.

    Raises:
        UserError: in place of it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        extra = next((extra for extra, modules in EXTRAS.items() if error.name in modules), None)
        if extra is None:
            raise
        raise _told(str(error.name), extra) from error


def _told(module: str, extra: str) -> UserError:
    return UserError(
        f"This needs the package '{module}', which is not installed: pip install 'bootdub[{extra}]'."
    )
