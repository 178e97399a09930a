"""`bootdub doctor`: the machine, the optional parts, and what dubs would take."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from model_toys import LATENT_CHANNELS, tiny_codec, tiny_transformer
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.extras import EXTRAS
from common.geometry import GeometryConfig
from stage2_dubber.dub import doctor
from stage2_dubber.dub.cost import window_cost
from stage2_dubber.dub.doctor import examine, report_lines

TINY = Path(__file__).resolve().parent.parent / "models" / "bootdub-tiny"
CPU = torch.device("cpu")


def test_a_package_is_estimated_beside_the_public_ones() -> None:
    done = CliRunner().invoke(app, ["doctor", "--model", str(TINY), "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["machine"]["tflops"] > 0 and found["machine"]["cores"] >= 1
    own, public, student = found["estimates"]
    assert found["preset"].startswith("standard (a small model)")
    # Twelve steps; its reference scale of 1 leaves two branches.
    assert (own["steps"], own["branches"]) == (12, 2)
    # Five billion weights of two or four bytes, and an autoencoder of 700 million in float32.
    bytes_each = 2 if found["machine"]["dtype"] == "bfloat16" else 4
    assert public["weights_gib"] == pytest.approx((bytes_each * 5.87e9 + 2.8e9) / 2**30, rel=0.1)
    assert own["weights_gib"] < 0.02
    calls = public["least_seconds_per_second"] / student["least_seconds_per_second"]
    assert 10 < calls < 45  # 90 calls against 2, and the same autoencoder
    assert {part["name"] for part in found["parts"]} >= {"torchao", "xformers", "gradio"}
    assert found["machine"]["kernels"]


def test_what_is_told_of_extras_is_what_they_are() -> None:
    """Every extra that keeps something out of a dub's reach is told of, by a module that it brings."""
    told = {part.get: part.name for part in examine(CPU, None).parts}
    for extra in ("insightface", "evaluate", "ui", "serve", "ray"):
        assert told[f"pip install 'bootdub[{extra}]'"] in EXTRAS[extra]


def test_kernels_of_a_gpu_are_those_that_pytorch_chooses_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: False)
    monkeypatch.setattr(torch.backends.cuda, "cudnn_sdp_enabled", lambda: True)
    found = doctor._kernels(torch.device("cuda"))
    assert "cudnn" in found and "math" in found and "flash" not in found


def test_long_windows_of_an_autoencoder_are_counted_from_short_ones() -> None:
    geometry = GeometryConfig(crop_size=32, clip_frames=25)
    codec = tiny_codec().to("meta")
    cost = window_cost(tiny_transformer(), codec, geometry, 0)
    with FlopCounterMode(display=False) as encoding:
        latents = codec.encode(torch.zeros(1, 3, 25, 32, 32, device="meta"))
    with FlopCounterMode(display=False) as decoding:
        codec.decode(latents)
    assert latents.shape == (1, LATENT_CHANNELS, 7, 4, 4)
    assert (cost.encode, cost.decode) == (encoding.get_total_flops(), decoding.get_total_flops())


def test_what_is_missing_or_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=8 * 2**30, available=6 * 2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr("stage2_dubber.dub.doctor.find_spec", lambda name: None)
    lines = list(report_lines(examine(CPU, None)))
    (torchao,) = (line for line in lines if "torchao" in line)
    assert "missing, weights take twice the memory; pip install 'bootdub[quant]'" in torchao
    assert sum("missing, " in line for line in lines) == len(doctor._PARTS)
    assert any(line.startswith("kernels     ") and len(line) > 12 for line in lines)
    assert any("public 5B editor" in line and "(does not fit)" in line for line in lines)
    assert any("6.0 of 8.0 GiB free" in line for line in lines)


def test_kernels_that_were_built_for_another_torch_are_not_called_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for error, said in ((OSError("no such symbol"), "another torch"), (None, "xformers): installed")):
        library = SimpleNamespace(_cpp_library_load_exception=error)
        monkeypatch.setitem(sys.modules, "xformers._cpp_lib", library)
        (line,) = (line for line in report_lines(examine(CPU, None)) if "--attention xformers" in line)
        assert said in line


def test_a_model_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--model", str(tmp_path / "none")])
    assert done.exit_code == 2 and "does not exist" in done.stderr
