"""What a training run shows of itself: cost, speed, held-out loss, samples; looking changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from processes import several_processes
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from training_toys import (
    metrics,
    run_editor,
    saved,
    stage1_config,
    stage2_config,
    toy_vae,
    write_clips,
    write_pairs,
)

from common.errors import UserError
from common.models.adapters import AdapterSwitch, add_adapter
from common.models.conditions import ModelConditions
from common.models.config import ModelConfig
from common.models.transformer import build_transformer
from common.sync_expert.model import SyncExpert, SyncScore
from common.sync_expert.strategy import SyncStrategy
from common.training.flops import Adapters, Shape, model_cost, training_cost
from common.training.launch import open_shards, train
from common.training.peak import measured_peak, peak_of_name
from common.training.samples import adapters_as_they_are
from common.training.timing import StepTimer
from common.training.validation import validation_callbacks
from stage1_generator.generator.strategy import GeneratorStrategy
from stage2_dubber.training.strategy import EditorStrategy

LAYERS = ("self_attn.to_q", "self_attn.to_k", "self_attn.to_v", "self_attn.to_out.0", "ffn.net.0.proj")
AUDIO = ("audio_attn.to_q", "audio_attn.to_k", "audio_attn.to_v", "audio_attn.to_out.0")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    toy_vae(tmp_path)
    write_pairs(tmp_path / "pairs")
    return tmp_path


def _held_out(work: Path, count: int = 3) -> list[str]:
    write_pairs(work / "others", count)
    return [f"data.held_out=[{work / 'others'}]", "diffusion.num_steps=2"]


def _training(run: Path) -> list[dict[str, Any]]:
    return [row for row in metrics(run) if "loss" in row]


def _seen(run: Path, name: str) -> dict[int, dict[str, Any]]:
    rows = [row for row in metrics(run) if name in row]
    assert len({row["step"] for row in rows}) == len(rows)
    return {row["step"]: row[name] for row in rows}


@pytest.mark.parametrize(
    ("text", "targets", "injection"),
    [
        *(
            (text, targets, "cross_attention")
            for text in (0, 7)
            for targets in (None, LAYERS, LAYERS + AUDIO)
        ),
        *((7, targets, "adain") for targets in (None, LAYERS, (*LAYERS, "audio_adain.linear"))),
    ],
)
def test_flops_by_formula_are_those_that_torch_counts(
    text: int, targets: tuple[str, ...] | None, injection: str
) -> None:
    config = ModelConfig(
        **{"dim": 48, "num_heads": 2, "num_layers": 3, "ffn_dim": 96, "text_dim": 12, "text_tokens": text},
        **{"freq_dim": 16, "latent_channels": 4, "audio_channels": 20, "audio_dim": 16, "audio_heads": 2},
        **{"audio_layers": 1, "speech_injection": injection},
    )
    model = build_transformer(config)
    adapters = None
    if targets is not None:
        add_adapter(model, "lip", 4, 4.0, targets)
        adapters = Adapters(4, targets)
    latents = torch.randn(2, 4, 3, 8, 8)
    # Attention as plain products: fused kernels count what they compute again in the backward pass.
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            conditions = ModelConditions(
                audio_features=torch.randn(2, 3, 10, 20),
                reference=latents,
                text=torch.randn(1, text, 12) if text else None,
            )
            out = model(latents, torch.rand(2) * 1000, conditions)
        with FlopCounterMode(display=False) as backward:
            out.sum().backward()
    cost = training_cost(config, Shape(2, 3, 8, 8, 3, 10), adapters)
    assert cost.forward == forward.get_total_flops()
    assert cost.backward == pytest.approx(backward.get_total_flops(), rel=0.01)
    assert cost.tokens == 2 * 2 * 3 * 16


def test_the_public_geometry_costs_what_six_flops_per_parameter_and_token_say() -> None:
    cost = training_cost(ModelConfig(), Shape(1, 20, 32, 32, 20, 8))
    assert cost.tokens == 10240
    model = ModelConfig()
    attention = 12 * model.num_layers * model.dim * cost.tokens**2
    # Only reference tokens spare the text and audio attention.
    parameters = model.num_layers * (4 * model.dim**2 + 2 * model.dim * model.ffn_dim)
    rule = 6 * parameters * cost.tokens + attention
    assert rule < cost.flops < 1.2 * rule


def test_a_step_is_split_into_its_parts_and_the_time_between_steps_is_nobodys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([10.0, 11.0, 13.0, 100.0, 101.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    timer = StepTimer(torch.device("cpu"))
    timer.start()
    timer.lap("data")
    timer.lap("forward")
    timer.start()
    timer.lap("data")
    assert timer.drain() == {"data": 2.0, "forward": 2.0}
    assert timer.drain() == {}


def test_events_are_read_when_they_have_passed_and_waited_for_at_the_log_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The CUDA path, on events that stand for a device one step behind."""
    waits: list[float] = []

    class Event:
        made = 0

        def __init__(self, enable_timing: bool) -> None:
            Event.made += 1
            self.at = float(Event.made)

        def record(self) -> None: ...

        def query(self) -> bool:
            return self.at + 3 < Event.made

        def synchronize(self) -> None:
            waits.append(self.at)

        def elapsed_time(self, end: Event) -> float:
            return 1000 * (end.at - self.at)

    monkeypatch.setattr("torch.cuda.Event", Event)
    timer = StepTimer(torch.device("cuda"))
    for _ in range(50):
        timer.start()
        timer.lap("data")
        timer.lap("forward")
    assert not waits and len(timer._open) < 10
    assert timer.drain() == {"data": 50.0, "forward": 50.0}
    assert waits == [150.0]


def test_known_devices_are_recognised_by_their_drivers_names() -> None:
    assert peak_of_name("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_of_name("NVIDIA H100 PCIe") == 756e12
    assert peak_of_name("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_of_name("NVIDIA H200") == 989e12
    assert peak_of_name("NVIDIA H20") == 148e12
    assert peak_of_name("Some other device") is None


def test_measuring_the_peak_leaves_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    assert measured_peak.__wrapped__(torch.device("cpu"), torch.float32) > 1e6
    assert torch.equal(before, torch.random.get_rng_state())


def test_speed_is_logged_for_every_interval(work: Path) -> None:
    run_editor(work, "train.max_steps=4", "train.log_every=2")
    rows = _training(work / "run")
    config = stage2_config(work)
    dataset = open_shards(config.data)
    strategy = EditorStrategy(config, dataset)
    cost = training_cost(config.model, Shape(4, 3, 4, 4, 3, 8))
    for row in rows:
        seconds = row["seconds_per_step"]
        assert set(seconds) == {"data", "forward", "backward", "optimizer"} and min(seconds.values()) >= 0
        whole = sum(seconds.values())
        assert row["data_share"] == pytest.approx(seconds["data"] / whole)
        assert row["tokens_per_second"] == pytest.approx(cost.tokens / whole)
        # Single time rows are the same for all samples of a micro-batch: two of two are a little more.
        assert row["tflops_per_device"] * 1e12 * whole == pytest.approx(cost.flops, rel=0.01)
        assert 0 < row["mfu"] < 5 and "mfu_datasheet" not in row
    micro = strategy.collate()([(draw, dataset.sample(draw.number)) for draw in _draws(2)])
    model = strategy.build_model()
    assert model_cost(model, strategy.prepare(micro, torch.device("cpu"))) == training_cost(
        config.model, Shape(2, 3, 4, 4, 3, 8)
    )


def _draws(count: int) -> list[Any]:
    from common.training.draws import Draw

    return [Draw(number, 0, number) for number in range(count)]


def test_looking_changes_no_loss_and_no_weight(work: Path) -> None:
    words = ["train.max_steps=4", "train.save_every=2"]
    run_editor(work, *words, f"train.output={work / 'blind'}")
    run_editor(work, *words, f"train.output={work / 'seeing'}", *_held_out(work))
    for kind in ("loss", "grad_norm"):
        blind, seeing = ([row[kind] for row in _training(work / name)] for name in ("blind", "seeing"))
        assert blind == seeing
    for name in ("model", "ema"):
        one, two = (saved(work / run, 4, name) for run in ("blind", "seeing"))
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert set(_seen(work / "seeing", "held_out")) == {0, 2, 4}
    assert set(_seen(work / "seeing", "samples")) == {0, 2, 4}
    assert not (work / "blind" / "samples").exists()


def test_the_held_out_loss_asks_the_same_questions_whatever_the_batch_and_the_seed(work: Path) -> None:
    words = [*_held_out(work), "train.max_steps=2", "train.sample_clips=0", "train.evaluate_every=2"]
    base = run_editor(work, *words, f"train.output={work / 'base'}").package
    again = ["train.learning_rate=1e-20", "train.ema_decay=0", f"train.init_from={base}"]
    found = []
    for i, more in enumerate((["train.seed=0"], ["train.seed=5", "train.micro_batch_size=4"])):
        run_editor(work, *words, *again, *more, f"train.output={work / str(i)}")
        found.append(_seen(work / str(i), "held_out")[2])
    # The average of the first run is what its package holds, and what it was measured with.
    found.append(_seen(work / "base", "held_out")[2])
    assert list(found[0]) == [*(f"t0.{i}" for i in range(1, 10)), "mean", "samples"]
    for other in found[1:]:
        np.testing.assert_allclose(list(other.values()), list(found[0].values()), rtol=1e-5)
    assert found[0]["samples"] == 3
    fresh = _seen(work / "base", "held_out")[0]
    assert fresh["mean"] != found[0]["mean"] and fresh["t0.1"] != fresh["t0.9"]


def test_two_processes_see_what_one_sees_and_no_row_is_there_twice_after_a_cut(work: Path) -> None:
    expert = _expert(work)
    words = ["train.max_steps=2", "train.micro_batch_size=1", "train.save_every=1", *_held_out(work)]
    words += [f"train.sample_expert={expert}", "geometry.clip_frames=9"]
    run_editor(work, *words, f"train.output={work / 'one'}")
    command = ["stage2_dubber/train.py", "--config", str(work / "toy.yaml"), f"vae.path={work / 'vae'}"]
    command += [f"data.shards=[{work / 'pairs'}]", *words, f"train.output={work / 'two'}"]
    run_editor(work, *words, f"train.output={work / 'two'}", "train.max_steps=1")
    # A kill between the save and the look: the row is missing, and half of another is there.
    file = work / "two" / "metrics.jsonl"
    kept = [line for line in file.read_text().splitlines() if '"held_out"' not in line or '"step": 0' in line]
    file.write_text("\n".join([*kept, '{"step": 1, "held']))
    several_processes(2, *command)
    for name in ("held_out", "samples"):
        one, two = _seen(work / "one", name), _seen(work / "two", name)
        assert set(one) == set(two) == {0, 1, 2}
    for step, row in _seen(work / "one", "held_out").items():
        other = _seen(work / "two", "held_out")[step]
        np.testing.assert_allclose(list(other.values()), list(row.values()), rtol=1e-4)
    first, second = (_seen(work / run, "samples")[2]["clips"] for run in ("one", "two"))
    assert [clip["key"] for clip in first] == [clip["key"] for clip in second] == ["toy0", "toy1"]
    for clip, other in zip(first, second, strict=True):
        assert clip["truth"] == pytest.approx(other["truth"], abs=1e-5)
        assert clip["made"]["score"] == pytest.approx(other["made"]["score"], abs=1e-2)


def _expert(work: Path, speech: str = "") -> Path:
    torch.manual_seed(0)
    folder = work / "expert"
    shape = {"crop_size": 32, "audio_channels": 80, "widths": (8, 8), "embed_dim": 8}
    SyncExpert(frames=5, speech=speech, **shape).save_pretrained(folder)
    return folder


def test_a_strip_is_written_with_its_scores(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train.max_steps=1", *_held_out(work), f"train.sample_expert={_expert(work)}"]
    run_editor(work, *words)
    seen = _seen(work / "run", "samples")[1]
    sheet = cv2.imread(str(work / "run" / seen["image"]))
    # Two clips, three rows of nine frames of 32 px each, under their labels.
    assert sheet.shape[1] == 9 * 32 and sheet.shape[0] == 6 * (32 + 22)
    target = sheet[54 + 22 : 108]
    assert target.std() > 0
    for clip in seen["clips"]:
        assert set(clip["made"]) == {"score", "offset", "confidence"}
        assert -1 <= clip["made"]["score"] <= 1 and clip["truth"]["confidence"] >= 0
    said = capsys.readouterr().err
    assert "held_out: loss" in said and "samples:" in said and "truth" in said

    run_editor(work, "train.max_steps=2", *_held_out(work))
    assert "no expert" in capsys.readouterr().err


def test_scores_name_the_best_shift_and_leave_untried_ones_out() -> None:
    scores = torch.full((31,), float("nan"))
    scores[10:21] = 0.1
    scores[17] = 0.7
    found = SyncScore.of(scores)
    assert found.offset == 2 and found.score == pytest.approx(0.1)
    assert found.confidence == pytest.approx(0.6)


def test_stage_one_is_looked_at_with_the_masked_video_as_its_source(work: Path) -> None:
    dataset = write_clips(work / "clips")
    write_clips(work / "others", 2)
    words = ["train.max_steps=1", f"data.held_out=[{work / 'others'}]", "diffusion.num_steps=2"]
    config = stage1_config(work, *words)
    train(config, GeneratorStrategy(config, dataset), dataset)
    assert np.isfinite(_seen(work / "run", "held_out")[1]["mean"])
    assert (work / "run" / "samples" / "step-00000001.png").is_file()


def test_an_adapter_phase_is_looked_at_and_its_adapters_stay_as_they_were(work: Path) -> None:
    base = run_editor(work, "train.max_steps=1", f"train.output={work / 'structure'}").package
    lora = ["phase.lora_rank=2", "phase.lora_alpha=2", f"phase.lora_targets=[{','.join(LAYERS)}]"]
    lip = ["phase.name=lip", "phase.active_range=[0.4,0.8]", f"train.init_from={base}", "train.max_steps=2"]
    package = run_editor(work, *lora, *lip, f"train.output={work / 'lip'}").package
    texture = ["phase.name=texture", "phase.active_range=[0.0,0.3]", f"train.init_from={package}"]
    words = [*lora, *texture, "train.max_steps=4", "train.save_every=2"]
    run_editor(work, *words, f"train.output={work / 'blind'}")
    run_editor(work, *words, f"train.output={work / 'seeing'}", *_held_out(work), "diffusion.num_steps=8")
    losses = [[row["loss"] for row in _training(work / run)] for run in ("blind", "seeing")]
    assert losses[0] == losses[1]
    one, two = (saved(work / run, 4) for run in ("blind", "seeing"))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_switching_adapters_for_a_sample_is_undone() -> None:
    config = ModelConfig(
        **{"dim": 32, "num_heads": 2, "num_layers": 1, "ffn_dim": 32, "text_tokens": 0, "freq_dim": 16},
        **{"latent_channels": 4, "audio_channels": 20, "audio_dim": 16, "audio_heads": 2, "audio_layers": 1},
    )
    from common.models.adapters import Adapter

    model = build_transformer(config)
    add_adapter(model, "lip", 2, 2.0, LAYERS)
    add_adapter(model, "texture", 2, 2.0, LAYERS)
    before = {name: value.requires_grad for name, value in model.named_parameters()}
    assert any(before.values())
    switch = AdapterSwitch(model, [Adapter("lip", (0.4, 0.8)), Adapter("texture", (0.0, 0.3))])
    with adapters_as_they_are(model):
        for t in (0.9, 0.6, 0.35):
            switch(t)
        assert model.active_adapters() == ["lip"]
    assert {name: value.requires_grad for name, value in model.named_parameters()} == before
    assert model.active_adapters() == ["texture"]
    layer = model.blocks[0].self_attn.to_q
    assert not layer.disable_adapters


def test_what_cannot_be_looked_at_is_refused_before_any_step(work: Path) -> None:
    held_out = _held_out(work)
    with pytest.raises(UserError, match="also in data"):
        stage2_config(work, f"data.held_out=[{work / 'pairs'}]")
    with pytest.raises(UserError, match="held-out clips"):
        run_editor(work, f"train.sample_expert={_expert(work)}")
    with pytest.raises(UserError, match="speech encoder"):
        run_editor(work, *held_out, f"train.sample_expert={_expert(work, 'foreign')}")
    with pytest.raises(UserError, match="no sync expert"):
        run_editor(work, *held_out, f"train.sample_expert={work / 'nowhere'}")
    expert = _expert(work)
    with pytest.raises(UserError, match="measured by another"):
        config = stage2_config(work, *held_out, f"train.sample_expert={expert}")
        config.phase.sync.weight, config.phase.sync.model = 0.05, str(expert)
        validation_callbacks(config, EditorStrategy(stage2_config(work), open_shards(config.data)))
    with pytest.raises(UserError, match="trainings of the two stages"):
        config = stage2_config(work, *held_out)
        validation_callbacks(config, SyncStrategy.__new__(SyncStrategy))
    write_pairs(work / "foreign", 1, vae="0123")
    with pytest.raises(UserError, match="another vae"):
        run_editor(work, f"data.held_out=[{work / 'foreign'}]")
    assert not (work / "run" / "metrics.jsonl").exists()
    assert json.dumps(held_out)
