"""XMP packets in video files, where the readers of each container look for them.

MOV has a field for it in its header, MP4 a box of its own kind after all others (XMP Specification Part 3,
2016, "MPEG-4" and "QuickTime"); Matroska and WebM have no rule, so that it becomes a tag of the file.
"""

from __future__ import annotations

import struct
import uuid
from pathlib import Path

from common.errors import UserError

_BOX = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes
_HEADER_TAG = {".mov": "xmp", ".mkv": "XMP", ".webm": "XMP"}


def xmp_tags(suffix: str, packet: str) -> tuple[tuple[str, str], ...]:
    """Tags for a file that ends in ``suffix``, to be set before its header is written."""
    return ((_HEADER_TAG[suffix], packet),) if suffix in _HEADER_TAG else ()


def append_xmp(path: Path, packet: str) -> None:
    """Add the packet to a finished MP4; other files have it in their header, and stay as they are.

    Raises:
        UserError: the disk is full.
    """
    if path.suffix.lower() in _HEADER_TAG:
        return
    content = packet.encode()
    try:
        with path.open("ab") as file:
            file.write(struct.pack(">I4s16s", 24 + len(content), b"uuid", _BOX) + content)
    except OSError as error:
        raise UserError(
            f"The output in '{path.parent}' cannot be written ({error.strerror}): free some space."
        ) from error
