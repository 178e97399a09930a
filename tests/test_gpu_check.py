"""The report on a GPU machine: all of it at toy size on the CPU, and rows of checks that go wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forked_python import forked_python

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools" / "bench"))

import dub_bench
import gpu_check
from gpu_check import Check


def test_every_kind_of_check_runs_at_toy_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", forked_python())
    assert gpu_check.main(["--tiny", "--output", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["machine"]["torch"] == torch.__version__
    assert all(row["passed"] for row in report["checks"])
    results = {row["name"]: row["result"] for row in report["checks"]}
    assert set(results["parity of the device"].values()) == {0.0}
    assert results["window"]["variants"]["exact"]["fps_at_30_steps"] > 0
    student = results["window of a student"]
    assert student["geometry"]["steps"] == 2
    # A third of the calls of the transformer.
    assert student["floor"]["flops"]["step"] == pytest.approx(results["window"]["floor"]["flops"]["step"] / 3)
    assert results["training step"]["trains"] != "all"
    assert results["training step, FSDP2"]["sharding"] == "fsdp2"
    refused = {row["switch"]: row["refused"] for row in results["switches"]["switches"]}
    assert refused["guidance_branches=batched"] is None
    assert refused["step_cache=first-block cache_threshold=0.05"] is None
    assert "CUDA" in refused["attention_backend=flash"] and "GPU" in refused["offload=true"]
    assert len(refused) == len(gpu_check.SWITCHES) and report["goals"] == []
    fast, student = gpu_check.goals(report["checks"])
    assert (fast["at_least"], student["at_least"]) == (2.0, 15.0)
    assert student["fps"] == results["window of a student"]["variants"]["exact"]["fps"]


def test_goals_are_told_of_windows_that_ran() -> None:
    def row(name: str, passed: bool = True, **run: float) -> dict[str, Any]:
        return {"name": name, "passed": passed, "result": {"variants": {"exact": run}} if passed else None}

    rows = [
        row("window", fps_at_30_steps=1.5, fps=9.0),
        row("window of a student", passed=False),
        row("window, offloaded", weights_bytes=3 * 2**30, peak_bytes=20 * 2**30),
    ]
    slow, offloaded = gpu_check.goals(rows)
    assert slow == {"of": "window", "fps": 1.5, "at_least": 2.0, "reached": False}
    assert offloaded == {"of": "window, offloaded", "gib": 23.0, "at_most": 24.0, "reached": True}


def test_blocks_are_offloaded_from_a_gpu_alone(capfd: pytest.CaptureFixture[str]) -> None:
    assert dub_bench.main(["--size", "tiny", "--device", "cpu", "--offload"]) == 2
    assert "leave it out" in capfd.readouterr().err


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


SCRIPT = Path(gpu_check.__file__).with_suffix(".sh")


def test_an_interpreter_without_torch_is_one_line(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    done = subprocess.run(
        ["bash", SCRIPT, "--tiny"], env={**os.environ, "PYTHON": str(other)}, capture_output=True, text=True
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "setup.sh" in done.stderr


def test_the_script_is_clean(shellcheck: Callable[[Path], None]) -> None:
    shellcheck(SCRIPT)
