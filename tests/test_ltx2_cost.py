"""What a window of LTX-2 takes, counted without numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from ltx2_toys import tiny_joint_model, write_joint_folder, write_lora, write_states
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.counted_run import RunCost, counted_run, without_numbers
from common.models.package_info import read_info
from stage2_dubber.dub.doctor import estimate_package
from stage2_dubber.dub.joint_cost import joint_package_cost


def test_operations_and_memory_of_known_networks() -> None:
    with without_numbers(torch.bfloat16):
        layer = nn.Linear(256, 512, bias=False)
        x = torch.empty(1000, 256)
        cost = counted_run(lambda: layer(x).relu(), layer.parameters())
        # x was there before, and what the layer makes is dropped after relu.
        assert cost == RunCost(2 * 1000 * 256 * 512, 2 * 2 * 1000 * 512)
        q, k = torch.empty(1, 2, 4096, 8), torch.empty(1, 2, 512, 8)
        attended = counted_run(lambda: scaled_dot_product_attention(q, k, k), [q, k])
    assert attended.flops == 2 * 2 * 2 * 4096 * 512 * 8
    assert attended.peak_bytes < 2 * 2 * 4096 * 512, "scores are never held"
    assert torch.get_default_dtype() is torch.float32


def test_a_package_tells_what_its_windows_take(tmp_path: Path) -> None:
    write_joint_folder(tmp_path / "ltx2")
    states = write_states(tmp_path / "states.safetensors")
    lora = write_lora(tmp_path / "lora.safetensors")

    package = tmp_path / "package"
    small = ("geometry.crop_size=64", "geometry.clip_frames=17", "joint.num_steps=2")
    given = ("--prompt-states", states, "--lora", lora, "--output", package, *small)
    result = CliRunner().invoke(app, ["import-ltx2", str(tmp_path / "ltx2"), *map(str, given)])
    assert result.exit_code == 0, result.output
    info = read_info(package)
    larger = replace(info, geometry=replace(info.geometry, crop_size=128))
    cost, more = (joint_package_cost(package, one, torch.float32) for one in (info, larger))
    weights = sum(4 * p.numel() for p in tiny_joint_model().parameters())
    assert cost.transformer_bytes == more.transformer_bytes == weights + lora.stat().st_size
    assert cost.frames == 8
    assert more.forward > cost.forward and more.activation_bytes > cost.activation_bytes
    assert 3.5 < more.decode / cost.decode < 4.5
    found = estimate_package(package, torch.device("cpu"))
    assert (found.steps, found.branches, found.fits, found.fits_offloaded) == (2, 2, True, False)
