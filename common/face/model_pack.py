"""Where insightface keeps its models, and a plain word to the user where they are missing."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError
from common.files import PathLike

DEFAULT_PACK = "buffalo_l"
DEFAULT_ROOT = "~/.insightface"


def find_pack(
    pack: str = DEFAULT_PACK, root: PathLike = "", otherwise: str = "choose the 'mediapipe' face detector"
) -> Path:
    """Folder ``<root>/models/<pack>`` that holds ONNX models; an empty ``root`` means ``~/.insightface``.

    Checked before insightface is called: that would try to download, or fail with a bare assertion.
    ``otherwise``: what else the user can do.

    Raises:
        UserError: no such folder, or no ``*.onnx`` in it.
    """
    base = Path(root or DEFAULT_ROOT).expanduser()
    folder = base / "models" / pack
    if not any(folder.glob("*.onnx")):
        raise UserError(
            f"The insightface model pack '{pack}' is not installed: unpack {pack}.zip of its model zoo "
            f"so that '{folder}' holds its .onnx files, or {otherwise}."
        )
    return folder
