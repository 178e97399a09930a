"""Whether what was rendered here is the published benchmark, pixel by pixel."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from common.files import read_json, write_json
from common.rendered.clips import RenderedClip
from evaluation.bench.items import VERSION

COMMITTED = Path(__file__).with_name("checksums.json")
_MAKERS = ("numpy", "opencv-python-headless", "espeakng-loader", "scipy")


def clip_checksums(clip: RenderedClip) -> dict[str, str]:
    """SHA-256 of a clip before encoding: pixels (uint8 RGB), their first frame, sound (16-bit steps)."""
    sound = np.round(clip.speech.audio * 32767).astype("<i2")
    parts = {"pixels": clip.frames, "first_frame": clip.frames[0], "sound": sound}
    return {name: hashlib.sha256(part.tobytes()).hexdigest() for name, part in parts.items()}


def makers() -> dict[str, str]:
    """Versions of the libraries that decide about pixels and sound."""
    found = {}
    for name in _MAKERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def compare(size: str, name: str, made: dict[str, dict[str, str]], path: Path = COMMITTED) -> str | None:
    """A sentence on how an item differs from the committed one; None where it is the same.

    made: letter "a", "b" -> clip_checksums.
    """
    known: dict[str, Any] = read_json(path) if path.is_file() else {"version": VERSION, "sizes": {}}
    if known.get("version") != VERSION:
        return f"{name}: the checksums are of benchmark version {known.get('version')}, this is {VERSION}."
    wanted = known["sizes"].get(size, {}).get(name)
    if wanted is None:
        return f"{name}: no checksum is known, so nobody can say whether others measure on the same pixels."
    parts = [
        f"{part} of {letter}"
        for letter in sorted(made)
        for part in ("pixels", "sound")
        if made[letter][part] != wanted[letter][part]
    ]
    if not parts:
        return None
    here = makers()
    other = [f"{k} {v} (there {known['made_with'].get(k)})" for k, v in here.items()
             if known["made_with"].get(k) != v]  # fmt: skip
    reason = f"other versions: {', '.join(other)}" if other else "same library versions, another processor"
    return (
        f"{name}: {' and '.join(parts)} differ from the benchmark's ({reason}): "
        "compare numbers from elsewhere with care."
    )


def record(size: str, made: dict[str, dict[str, dict[str, str]]], path: Path = COMMITTED) -> None:
    """Write the checksums of a whole size (item -> letter -> part -> digest) in place of the old ones."""
    known: dict[str, Any] = read_json(path) if path.is_file() else {}
    if known.get("version") != VERSION:
        known = {"version": VERSION, "sizes": {}}
    known["made_with"] = makers()
    known["sizes"][size] = made
    write_json(path, known)
