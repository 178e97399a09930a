"""The report on a GPU machine: all of it at toy size on the CPU, and rows of checks that go wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from forked_python import forked_python

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools" / "bench"))

import gpu_check
from gpu_check import Check


def test_every_kind_of_check_runs_at_toy_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", forked_python())
    assert gpu_check.main(["--tiny", "--output", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["machine"]["torch"] == torch.__version__
    results = {row["name"]: row["result"] for row in report["checks"] if row["passed"]}
    assert set(results["parity of the device"].values()) == {0.0}
    assert results["window"]["variants"]["exact"]["fps_at_30_steps"] > 0
    assert results["training step, FSDP2"]["sharding"] == "fsdp2"
    refused = {row["switch"]: row["refused"] for row in results["switches"]["switches"]}
    assert refused["guidance_branches=batched"] is None
    assert "CUDA" in refused["attention_backend=flash"]


def test_a_check_that_fails_is_cut_or_has_no_time_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = [
        Check("fails", ("-c", "print('why it failed'); raise SystemExit(3)"), 60),
        Check("hangs", ("-c", "import time; print('so far', flush=True); time.sleep(600)"), 3),
        Check("works", ("-c", "print('{\"fps\": 2}')"), 60),
    ]
    monkeypatch.setattr(sys, "executable", forked_python())
    monkeypatch.setattr(gpu_check, "_checks", lambda tiny, golden: iter(checks))
    output = tmp_path / "report.json"
    assert gpu_check.main(["--tiny", "--output", str(output)]) == 1
    fails, hangs, works = json.loads(output.read_text())["checks"]
    assert fails["said"] == "exit code 3" and fails["output"] == "why it failed"
    assert hangs["said"] == "cut after 3 s" and hangs["output"] == "so far"
    assert works["passed"] and works["result"] == {"fps": 2}
    assert gpu_check.main(["--tiny", "--output", str(output), "--minutes", "0"]) == 1
    assert {row["said"] for row in json.loads(output.read_text())["checks"]} == {"not run: no time left"}


def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    output = tmp_path / "report.json"
    assert gpu_check.main(["--output", str(output)]) == 2 and "no GPU here" in capsys.readouterr().err
    assert gpu_check.main(["--tiny", "--output", str(output), "--golden", str(tmp_path)]) == 2
    assert "has a config.json" in capsys.readouterr().err and not output.exists()
