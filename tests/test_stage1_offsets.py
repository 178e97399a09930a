"""Sound is moved by what was measured, and videos that fit nowhere are left out with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from stage1_clips import write_clip, write_config

from common.files import read_json
from common.media import load_audio
from stage1_generator import prepare
from stage1_generator.footage.offsets import shift_sound


@pytest.mark.parametrize("frames", [-3, 0, 2, 500])
def test_the_sound_of_a_later_frame_comes_to_the_lips(frames: int) -> None:
    sound = np.arange(1.0, 640 * 20 + 1, dtype=np.float32)
    moved = shift_sound(sound, frames, 25.0)
    assert moved.shape == sound.shape
    for i in range(0, 20, 3):
        there = i + frames
        expected = sound[640 * there] if 0 <= there < 20 else 0.0
        assert moved[640 * i] == expected


def test_prepare_applies_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for i, name in enumerate(("late", "unsure", "plain")):
        write_clip(videos, name, 30, i + 1)
    table = tmp_path / "offsets.json"
    rows = {
        "late.mp4": {"offset_frames": 4, "confidence": 0.5, "clips": 3},
        "unsure.mp4": {"offset_frames": 1, "confidence": 0.05, "clips": 3},
    }
    table.write_text(json.dumps({"videos": rows}))
    plain = write_config(tmp_path, videos, tmp_path / "plain", "prepare.min_seconds=0.4")
    assert prepare.main(plain) == 0
    words = [f"prepare.offsets={table}", "prepare.offset_confidence=0.1", "prepare.min_seconds=0.4"]
    assert prepare.main(write_config(tmp_path, videos, tmp_path / "moved", *words)) == 0
    assert "fit nowhere well enough" in capsys.readouterr().err

    def sounds(work: Path) -> dict[str, np.ndarray]:
        index = read_json(work / "prepared" / "index.json")
        return {
            name.rsplit("-", 2)[0]: load_audio(work / "prepared" / name / "audio.flac")
            for name in index["entries"]
        }

    before, after = sounds(tmp_path / "plain"), sounds(tmp_path / "moved")
    assert set(before) == {"late", "unsure", "plain"} and set(after) == {"late", "plain"}
    np.testing.assert_array_equal(after["plain"], before["plain"])
    np.testing.assert_array_equal(after["late"][: -4 * 640], before["late"][4 * 640 :])

    table.write_text("[]")
    assert prepare.main(write_config(tmp_path, videos, tmp_path / "bad", *words)) == 2
    assert "common/sync_expert/measure.py" in capsys.readouterr().err
