"""The bench of the speed switches: a table, JSON, refused switches named, bad input refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from dub_clips import write_package

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools" / "bench"))

import switch_bench

TOY = ["--device", "cpu", "--crop", "32", "--frames", "5", "--steps", "5", "--json"]
CACHE = ("--switch", "step_cache=taylorseer-lite", "cache_interval=2")


def bench(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[list[str], dict[str, Any]]:
    assert switch_bench.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    return lines, json.loads(lines[-1])


def test_rows_are_relative_to_the_exact_run(capsys: pytest.CaptureFixture[str]) -> None:
    switches = (
        ("--switch", "guidance_branches=sequential"),
        CACHE,
        ("--switch", "guidance_interval=[0.9,1]"),
        ("--switch", "attention_backend=flash"),
    )
    lines, result = bench(capsys, *TOY, *(word for words in switches for word in words))
    again, cache, interval, flash = result["switches"]
    assert again["switch"] == "exact again" and again["identical"] and again["psnr_db"] is None
    assert not cache["identical"] and 10 < cache["psnr_db"] < 200
    assert not interval["identical"]
    assert all(row["seconds_ratio"] > 0 for row in (again, cache, interval))
    assert "runs on CUDA devices only" in flash["refused"] and flash["seconds_ratio"] is None
    assert result["psnr_of"] == "latents" and result["latents"] == [1, 16, 2, 8, 8] and result["steps"] == 5
    assert result["exact"]["seconds_per_step"] > 0
    assert any("identical" in line for line in lines) and any("not run" in line for line in lines)


def test_a_package_is_judged_by_its_decoded_crops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_package(tmp_path / "toy")
    words = ["--package", str(folder), "--device", "cpu", "--frames", "5", "--steps", "5", "--json"]
    _, result = bench(capsys, *words, *CACHE)
    assert result["psnr_of"] == "decoded"
    (row,) = result["switches"]
    assert 10 < row["psnr_db"] < 200 and row["speed"] == {
        "guidance_branches": "sequential",
        "step_cache": "taylorseer-lite",
        "cache_interval": 2,
    }


def test_psnr_of_known_differences() -> None:
    exact = torch.linspace(-1, 1, 101)
    assert switch_bench.tensor_psnr(exact + 0.02, exact, 2.0) == pytest.approx(40)
    assert switch_bench.tensor_psnr(exact + 0.02, exact, None) == pytest.approx(40, abs=1e-4)
    assert switch_bench.tensor_psnr(exact, exact, 2.0) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--switch", "step_cash=first-block"], "speed.step_cash"),
        (["--crop", "30"], "--crop must be a multiple of 8"),
        (["--package", "nowhere"], "no model package"),
        (["--device", "toaster"], "toaster"),
    ],
)
def test_bad_input_is_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert switch_bench.main(["--device", "cpu", *words]) == 2
    assert message in capsys.readouterr().err
