"""What --dry-run and --show-timesteps foretell, against hand-computed numbers and real small models."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from model_toys import called
from training_toys import stage2_config, toy_file, toy_vae

from common.autoencoder.codec import VideoCodec, build_vae
from common.config import load_config
from common.diffusion.flow import FlowMatching
from common.models.adapters import add_adapter
from common.models.transformer import build_transformer
from common.training.describe import describe
from common.training.ema import ParameterAverage
from common.training.estimate import GIB, Run, decode_bytes
from common.training.state import build_optimizer
from common.training.timesteps import show_timesteps
from stage2_dubber.config import Stage2Config
from stage2_dubber.train import main

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
LORA = "[self_attn.to_q,self_attn.to_out.0,ffn.net.0.proj,audio_attn.to_k]"


def _bytes(tensors: Any) -> int:
    return sum(value.numel() * value.element_size() for value in tensors)


def _run(folder: Path, *words: str, world: int = 1) -> tuple[Run, torch.nn.Module]:
    config = stage2_config(folder, *words)
    model = build_transformer(config.model)
    total = sum(value.numel() for value in model.parameters())
    return Run(config, total, config.geometry.latent_frames, world), model


def _kept_by_autograd(call: Any, parameters: Any) -> int:
    """Bytes of the storages that autograd saves, parameters apart."""
    own = {value.untyped_storage().data_ptr() for value in parameters}
    storages: dict[int, int] = {}
    tensors = []

    def pack(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        tensors.append(value)  # alive, so that no storage is used twice
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        tensors.append(call())
    return sum(storages.values())


@pytest.mark.parametrize("lora", [False, True])
def test_state_is_estimated_to_the_byte(tmp_path: Path, lora: bool) -> None:
    toy_file(tmp_path)
    words = ["phase.lora_rank=3", f"phase.lora_targets={LORA}", "train.init_from=x"] if lora else []
    run, model = _run(tmp_path, *words)
    if lora:
        add_adapter(model, "lip", 3, 3.0, run.config.phase.lora_targets)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    optimizer = build_optimizer(trained, run.config.train)
    for value in trained.values():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    moments = [s[name] for s in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    parts = run.memory("ddp", checkpointing=False).parts
    assert parts["weights"] == _bytes(model.parameters())
    assert parts["gradients"] == _bytes(value.grad for value in trained.values())
    assert parts["optimizer"] == _bytes(moments)
    assert parts["average"] == _bytes(ParameterAverage(trained, 0.9).averages.values())
    assert run.trained == sum(value.numel() for value in trained.values())


@pytest.mark.parametrize("text", [0, 16])
@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.parametrize("injection", ["cross_attention", "adain"])
def test_activations_of_a_block_are_those_that_autograd_keeps(
    tmp_path: Path, text: int, half: bool, micro: int, injection: str
) -> None:
    toy_file(tmp_path)
    words = [
        f"model.speech_injection={injection}",
        "model.dim=64",
        "model.ffn_dim=256",
        "geometry.crop_size=128",
        f"model.text_tokens={text}",
    ]
    words += [f"train.micro_batch_size={micro}", f"train.mixed_precision={'bfloat16' if half else 'float32'}"]
    kept, weights = [], 0
    for layers in (1, 2):
        run, model = _run(tmp_path, *words, f"model.num_layers={layers}")
        shape = run.shape
        latents = torch.randn(shape.batch, 4, shape.frames, shape.height, shape.width)
        inputs = {
            "latents": latents,
            "timestep": torch.rand(shape.batch) * 1000,
            "reference": latents,
            "audio_features": torch.randn(shape.batch, shape.frames, shape.window, 80),
            "text": torch.randn(1, text, 8) if text else None,
        }

        def call(model: Any = model, inputs: Any = inputs) -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                return model(**called(inputs))

        kept.append(_kept_by_autograd(call, model.parameters()))
        # What autocast has cast is counted with the weights.
        weights = run._block_parameters() * 2 if half else 0
    assert run.block_bytes() == pytest.approx(kept[1] - kept[0] - weights, rel=0.1)


@pytest.mark.parametrize(("residual", "blocks"), [(True, 1), (True, 2), (False, 1)])
def test_decoding_keeps_about_what_autograd_keeps(tmp_path: Path, residual: bool, blocks: int) -> None:
    toy_file(tmp_path)
    words = [f"vae.is_residual={str(residual).lower()}", f"vae.num_res_blocks={blocks}"]
    config = stage2_config(tmp_path, *words, "vae.path=", "vae.decoder_base_dim=8").vae
    codec = VideoCodec(build_vae(config))
    latents = torch.randn(1, 4, 5, 4, 4, requires_grad=True)
    kept = _kept_by_autograd(lambda: codec.decode_with_grad(latents), codec.vae.parameters())
    assert decode_bytes(config, 4) == pytest.approx(kept, rel=0.2)


def test_the_public_model_by_hand() -> None:
    config = load_config(
        Stage2Config,
        [CONFIGS / "wan5b.yaml", CONFIGS / "stage2_structure.yaml"],
        ["train.ema_decay=0.999"],
    )
    run = Run(config, 6_000_000_000, 20, 32)
    alone, sharded = run.memory("ddp", True), run.memory("fsdp2", True)
    assert alone.parts["weights"] == 24e9 and alone.parts["optimizer"] == 48e9
    assert alone.parts["bf16 copies"] == 12e9 and alone.parts["ddp buckets"] == 24e9
    assert sharded.parts["weights"] == 24e9 / 32 and sharded.parts["average"] == 24e9 / 32
    # A block: q, k, v, o of three attentions and the FFN, without biases.
    block = 12 * 3072**2 + 2 * 3072 * 14336
    assert sharded.parts["gathered blocks"] == 8 * block
    n, t, d, f = 10240, 5120, 3072, 14336
    kept = (7 * 4 + 6 * 2) * n * d + (9 * 4 + 6 * 2) * t * d + 4 * n * f
    assert run.block_bytes() == kept
    assert run.activation_bytes(False) == 30 * kept
    assert run.activation_bytes(True) == 30 * 4 * n * d + kept
    # A feature map of the last level alone, 17 frames of 256 x 256 with 256 channels, is 1.1 GB.
    assert 60 * GIB < decode_bytes(config.vae, 32) < 90 * GIB
    # Counted on the decoder itself, in bf16: 35 GiB, or 3 per sample and 8 once.
    assert decode_bytes(config.vae, 32, 1, 2) == pytest.approx(35 * GIB, rel=0.1)
    for samples in (1, 2):
        bounded = decode_bytes(config.vae, 32, samples, 2, checkpointing=True)
        assert bounded == pytest.approx((3 * samples + 8) * GIB, rel=0.1)
    assert not alone.fits("h200") and sharded.fits("a100")
    # 256 samples, 4000 steps, at 40 % of 312 TFLOP/s each on 32 devices.
    seconds = 4000 * run.cost().flops / (32 * 312e12 * 0.4)
    assert run.hours("a100") == pytest.approx(seconds / 3600)
    assert 20 < run.hours("a100") < 35


def test_dry_run_tells_compute_time_and_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_vae(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = ["--config", str(tmp_path / "toy.yaml"), "train.mixed_precision=auto"]
    assert main([*words, "--dry-run"]) == 0
    out = capsys.readouterr().out
    for part in ("compute per step", "time on 2 x h100", "memory per GPU, ddp", "memory per GPU, fsdp2"):
        assert part in out
    assert "4 = 2 micro x 1 accumulation x 2 world" in out
    assert "fits a100, h100, h200 (train.sharding)" in out
    # In fp32 the data sheets' bf16 rates say nothing.
    assert main([*words[:2], "train.mixed_precision=float32", "--dry-run"]) == 0
    assert "time on" not in capsys.readouterr().out


def test_a_configuration_without_the_sections_has_no_estimate() -> None:
    assert "compute" not in describe(load_config(Stage2Config), {})
    temporal = load_config(Stage2Config, [], ["model.reference_layout=temporal"])
    assert "compute" not in describe(temporal, {"transformer": lambda: torch.nn.Linear(1, 1)})
    assert "compute" in describe(temporal, {"transformer": lambda: torch.nn.Linear(1, 1)}, reference_frames=4)


def test_timesteps_are_shown_as_they_are_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    text = show_timesteps("lip", FlowMatching(5.0, 1.5), 30, (0.4, 0.8))
    # logit t = log a + N(0, 1): quartiles and shares in closed form.
    quartiles = [1 / (1 + math.exp(-(math.log(1.5) + z))) for z in (-0.67449, 0.0, 0.67449)]
    line = next(line for line in text.splitlines() if line.startswith("mean"))
    shown = [float(word) for word in line.split("quartiles ")[1].split()]
    assert shown == pytest.approx(quartiles, abs=0.005)

    def below(t: float) -> float:
        return 0.5 * (1 + math.erf((math.log(t / (1 - t)) - math.log(1.5)) / math.sqrt(2)))

    share = float(text.split("active range [0.4, 0.8]: ")[1].split("%")[0])
    assert share == pytest.approx(100 * (below(0.8) - below(0.4)), abs=0.5)
    assert "10 of 30 sampler steps" in text and text.count("acts") == 10
    steps = [line for line in text.splitlines() if "->" in line]
    assert len(steps) == 30
    assert sum(float(line.split("%")[0].split()[-1]) for line in steps) == pytest.approx(100, abs=1.5)
    assert main(["--show-timesteps", "--config", str(CONFIGS / "stage2_texture.yaml")]) == 0
    shown_by_command = capsys.readouterr().out
    assert "texture phase (a = 0.2" in shown_by_command and "[0, 0.3]" in shown_by_command


def test_uniform_noise_levels_are_flat(capsys: pytest.CaptureFixture[str]) -> None:
    from stage1_generator.train import main as stage1

    files = [str(CONFIGS / name) for name in ("tiny.yaml", "stage1.yaml")]
    assert stage1(["--show-timesteps", "--config", *files]) == 0
    out = capsys.readouterr().out
    assert "generator phase (uniform" in out
    bars = [line.count("#") for line in out.splitlines() if "#" in line]
    assert len(bars) == 20 and min(bars) >= 45
