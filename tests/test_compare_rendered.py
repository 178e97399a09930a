"""tools/compare_rendered.py: differences of two evaluations, clip by clip."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
from compare_rendered import MEASURES, main


def _write(folder: Path, mouth: list[float], occluder: float | None = None) -> str:
    folder.mkdir()
    rows = [
        {
            "name": f"r{number}",
            "stage2": {**dict.fromkeys(MEASURES, 1.0), "mouth_r": value, "occluder_psnr_db": occluder},
        }
        for number, value in enumerate(mouth)
    ]
    (folder / "evaluation.json").write_text(json.dumps({"clips": rows}))
    return str(folder)


def test_differences_have_intervals_and_stars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = _write(tmp_path / "one", [0.1 * number for number in range(8)])
    two = _write(tmp_path / "two", [0.1 * number + 0.2 for number in range(8)], 30.0)
    assert main([one, two]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| | mouth_r |") and lines[2].startswith("| one | 0.350 |")
    cells = [cell.strip() for cell in lines[3].split("|")[2:-1]]
    assert cells[0] == "+0.200 (+0.200 to +0.200) **"
    assert cells[1].startswith("+0.000") and cells[3] == "-", "occluders are known in one of them alone"


def test_other_clips_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = _write(tmp_path / "one", [0.5] * 3), _write(tmp_path / "two", [0.5] * 4)
    assert main([one, two]) == 2 and "other clips" in capsys.readouterr().err
    assert main([one, str(tmp_path / "none")]) == 2 and "no evaluation there" in capsys.readouterr().err
