"""tools/bench/dub_bench.py at toy size: both variants compute the same, and what is said about them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools" / "bench"))

import dub_bench
import dub_sizes
from dub_measure import Parts, PeakMemory
from dub_window import EXACT, PER_TOKEN, floors, latent_shape
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from common.models.conditions import ModelConditions
from common.training.flops import training_cost
from stage2_dubber.dub.cost import unread_flops

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of the whole program, but that the variants run in this process: two more take their time to start."""

    def here(options: argparse.Namespace, variant: str, work: Path) -> dict[str, Any]:
        dub_bench._work(argparse.Namespace(**{**vars(options), "variant": variant, "work": work}))
        return json.loads((work / f"{variant}.json").read_text())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dub_bench, "_child", here)
        file = tmp_path_factory.mktemp("bench") / "said"
        with file.open("w") as said:
            patch.setattr(sys, "stdout", said)
            words = ["--size", "tiny", "--device", "cpu", "--baseline", PER_TOKEN]
            assert dub_bench.main(words) == 0
    lines = file.read_text().splitlines()
    assert any(line.startswith("exact:") for line in lines)
    return json.loads(lines[-1])


def test_both_ways_compute_the_same(report: dict[str, Any]) -> None:
    assert report["output_range"] > 0.5, "equal outputs mean something only where there is a picture"
    assert report["max_abs_diff"] <= 1e-4
    assert report["max_abs_diff_latents"] <= 1e-4


def test_what_the_last_line_says(report: dict[str, Any]) -> None:
    assert set(report["variants"]) == {EXACT, PER_TOKEN}
    for run in report["variants"].values():
        assert set(run["parts"]) == {"text", "audio", "crops", "encode", "step", "decode", "composite"}
        assert len(run["step_seconds"]) == report["geometry"]["steps"] == 2
        assert all(part["seconds"] > 0 for part in run["parts"].values())
        window = sum(run["parts"][part]["seconds"] for part in ("encode", "step", "decode"))
        assert run["window_seconds"] == pytest.approx(window)
        assert run["weights_bytes"] > 0 and run["memory_method"]
        assert run["fps"] == pytest.approx(13 / window)
    before, after = report["variants"][PER_TOKEN], report["variants"][EXACT]
    assert report["parts"] == after["parts"]
    assert report["speedup"] == pytest.approx(before["window_seconds"] / after["window_seconds"])
    assert report["geometry"]["tokens"] == {"reference": 16, "target": 16}
    assert set(report["floor"]["seconds"]) == {"encode", "step", "decode"}


def test_the_floor_counts_what_the_exact_mode_computes() -> None:
    size = dub_sizes.named_size("tiny")
    model = dub_sizes.random_transformer(size, CPU, torch.float32)
    shape = latent_shape(size)
    latents = torch.randn(1, size.model.latent_channels, shape.frames, shape.height, shape.width)
    audio = torch.randn(1, shape.frames, shape.window, size.model.audio_channels)
    context = torch.randn(1, size.model.text_tokens, size.model.text_dim)
    # Attention as plain products: not every fused kernel is counted.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(latents, torch.tensor([500.0]), ModelConditions(audio, latents, context))
    counted = training_cost(size.model, shape).forward - unread_flops(size.model, shape)
    assert counter.get_total_flops() == counted
    # Three branches, two steps.
    assert floors(size, CPU, torch.float32)["flops"]["step"] == 6 * counted


def test_memory_is_that_above_the_beginning() -> None:
    memory = PeakMemory(CPU)
    if "VmHWM" not in memory.method:
        pytest.skip("this system does not reset its peak")
    parts = Parts(CPU, memory)
    for name, count in (("small", 1 << 22), ("large", 1 << 24), ("small again", 1 << 22)):
        parts.start(name)
        torch.ones(count)
    parts.stop()
    peaks = {name: readings[0].peak_bytes / 4 for name, readings in parts.readings.items()}
    # The kernel counts pages in batches: a few may be missing. What the allocator keeps of the large one may
    # count in the last.
    assert 0.95 < peaks["large"] / (1 << 24) < 1.5
    assert 0.9 < peaks["small"] / (1 << 22) < 2
    assert 0.9 < peaks["small again"] / (1 << 22) < 0.75 * peaks["large"] / (1 << 22)


def test_time_of_the_bench_itself_belongs_to_no_part() -> None:
    parts = Parts(CPU, PeakMemory(CPU))
    parts.start("work")
    with parts.apart():
        sum(range(1 << 20))
        spent = parts._now()
    parts.stop()
    assert parts.readings["work"][0].cpu_seconds < spent[1]


def test_weights_are_drawn_in_their_own_precision() -> None:
    model = dub_sizes.random_transformer(dub_sizes.named_size("tiny"), CPU, torch.bfloat16)
    dtypes = {name: parameter.dtype for name, parameter in model.named_parameters()}
    assert dtypes["blocks.0.modulation"] == dtypes["time_projection.weight"] == torch.float32
    assert dtypes["blocks.1.ffn.net.2.weight"] == torch.bfloat16
    again = dub_sizes.random_transformer(dub_sizes.named_size("tiny"), CPU, torch.bfloat16)
    assert all(
        torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True)
    )


def test_the_sizes_are_those_that_are_named() -> None:
    small, public = (dub_bench.describe(dub_sizes.named_size(name)) for name in ("small", "wan5b"))
    assert (small["dim"], small["blocks"]) == (768, 8) and (public["dim"], public["blocks"]) == (3072, 30)
    # 2 x 20 x 16 x 16 tokens: 77 frames at 512x512.
    assert small["tokens"] == public["tokens"] == {"reference": 5120, "target": 5120}
    with torch.device("meta"):
        model = dub_sizes.build_transformer(dub_sizes.named_size("wan5b").model)
    assert sum(p.numel() for p in model.parameters()) > 5e9


@pytest.mark.parametrize("words", [["--crop", "65"], ["--frames", "14"], ["--device", "toaster"]])
def test_options_that_do_not_fit_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert dub_bench.main(["--size", "tiny", *words]) == 2
    assert capsys.readouterr().err.startswith("error: ")
