"""tools/compare_seeds.py: systems of several evaluations, clip by clip."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from evaluation.results import Results, Row
from evaluation.results_file import write_json

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
from compare_seeds import main


def _write(folder: Path, gain: float, clips: int = 8, known: bool = True) -> str:
    folder.mkdir()
    rows = [
        Row(
            name=f"c{number}",
            group="news",
            kind="cross",
            system=system,
            values={"mouth_r": 0.1 * number + more} if known or number else {},
        )
        for number in range(clips)
        for system, more in (("plain", 0.0), ("other", gain))
    ]
    results = Results("t", ("plain", "other"), ("news",), (), tuple(rows), [], {})
    write_json(results, folder / "results.json")
    return str(folder)


def test_seeds_are_averaged_clip_by_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [_write(tmp_path / "0", 0.1), _write(tmp_path / "1", 0.3)]
    assert main([*folders, "--measures", "mouth_r", "sharpness_mouth"]) == 0
    head, _, first, other, *_ = capsys.readouterr().out.splitlines()
    assert head == "| news, cross, 8 clips | mouth_r | sharpness_mouth |"
    assert first == "| plain | 0.350 | - |"
    assert other == "| other | +0.200 (+0.200 to +0.200) ** | - |"


def test_a_clip_that_one_seed_does_not_know_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [_write(tmp_path / "0", 0.1), _write(tmp_path / "1", 0.3, known=False)]
    assert main([*folders, "--measures", "mouth_r"]) == 0
    assert "| plain | 0.400 |" in capsys.readouterr().out


def test_other_rows_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [_write(tmp_path / "0", 0.1), _write(tmp_path / "1", 0.1, clips=7)]
    assert main(folders) == 2 and "other rows or systems" in capsys.readouterr().err
    assert main([folders[0], str(tmp_path / "none")]) == 2 and "none" in capsys.readouterr().err
