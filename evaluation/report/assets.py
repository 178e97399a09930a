"""Pictures and clips of a page: inside it, or beside it where they are too many."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from common.errors import UserError

_TYPES = {".mp4": "video/mp4", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


class Assets:
    """Addresses of files for ``src``.

    Args:
        folder: of the page; the files' paths are relative to it.
        pictures, clips: paths; pictures are taken into the page before clips.
        limit: bytes that the files may add to the page.

    Attributes:
        links: the page needs files beside it.

    Raises:
        UserError: a path leaves the folder, or is no picture or clip that a browser shows.
    """

    def __init__(self, folder: Path, pictures: Iterable[str], clips: Iterable[str], limit: int) -> None:
        self._folder = folder
        self._inside: set[str] = set()
        self.links = False
        left = limit
        for paths in (list(pictures), list(clips)):
            # Base64 takes 4 bytes for 3. All pictures or none, all clips or none.
            needed = sum(self._size(path) or 0 for path in paths) * 4 // 3
            if needed <= left:
                self._inside.update(paths)
                left -= needed
            else:
                self.links = True

    def _size(self, path: str) -> int | None:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            raise UserError(f"The file '{path}' of the report lies outside its folder: move it there.")
        if pure.suffix.lower() not in _TYPES:
            raise UserError(f"The file '{path}' of the report is no {', '.join(_TYPES)}: make it again.")
        file = self._folder / pure
        return file.stat().st_size if file.is_file() else None

    def address(self, path: str | None) -> str | None:
        """A data URI or a relative link; None where there is no such file."""
        if path is None or self._size(path) is None:
            return None
        if path not in self._inside:
            return quote(path)
        data = base64.b64encode((self._folder / path).read_bytes()).decode("ascii")
        return f"data:{_TYPES[PurePosixPath(path).suffix.lower()]};base64,{data}"
