"""Training of LTX-2 at a size of seconds: pairs, a model from nothing, in-context LoRAs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ltx2_toys import write_text_encoder
from processes import several_processes
from safetensors.torch import load_file
from training_toys import metrics, saved

from common.config import load_config
from common.data.dataset import ShardDataset
from common.data.schema import encode_sample
from common.data.writer import ShardWriter
from common.errors import UserError
from common.face.canonical import face_in_box
from common.models.ltx2.package import load_joint_codecs, load_joint_package, open_joint_package
from common.models.ltx2.roles import Role
from common.models.package_info import read_info
from common.rendered.clips import ClipRequest, make_clips
from common.speech.joint_mel import JointMelEncoder, mel_window
from common.training.draws import Draw
from common.training.state import build_optimizer, set_rate
from stage2_dubber.joint import build, encode, estimate
from stage2_dubber.joint.config import JointTrainingConfig
from stage2_dubber.joint.strategy import JointStrategy
from stage2_dubber.train import main

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import leak_ltx2

SIDE, FRAMES, PAIRS = 64, 17, 4
TOY = """
model: {heads: 2, head_channels: 12, audio_heads: 2, audio_head_channels: 4, layers: 2, prompt_channels: 8,
  latent_channels: 16, audio_channels: 16, max_seconds: 2, max_side: 128}
geometry: {crop_size: 64, clip_frames: 9, motion_latents: 1}
"""
TASK = """
joint: {lora_rank: 2, first_frame: 0.5}
train: {max_steps: 4, global_batch_size: 4, micro_batch_size: 2, learning_rate: 3.0e-3, warmup_steps: 1,
  audio_learning_rate: 1.0e-3, mixed_precision: float32, save_every: 2, log_every: 1, num_workers: 0}
"""


def write_pairs(
    folder: Path, source_audio: bool = True, captions: Sequence[dict[str, str]] = ({},) * PAIRS
) -> ShardDataset:
    """Pairs of moving stripes."""
    random = np.random.default_rng(0)
    landmarks = np.repeat(face_in_box(np.array([10, 8, 54, 60], np.float32))[None], FRAMES, axis=0)
    with ShardWriter(folder, "pairs", 4, {"step": "test"}) as writer:
        for number in range(PAIRS):
            places = np.arange(SIDE)[None, :, None, None] + np.arange(FRAMES)[:, None, None, None] * (
                number + 1
            )
            wave = np.sin(places / 5 + np.arange(3)) * 100 + 128
            frames = np.broadcast_to(wave, (FRAMES, SIDE, SIDE, 3)).astype(np.uint8)
            sounds = random.normal(0, 0.1, (2, FRAMES * 640)).astype(np.float32)
            members = encode_sample(
                {"frames": FRAMES, "fps": 25.0, "crop_size": SIDE, **captions[number]},
                target=frames,
                source=frames[::-1].copy(),
                audio=sounds[0],
                source_audio=sounds[1] if source_audio else None,
                arrays={"landmarks": landmarks.astype(np.float32)},
            )
            writer.add(f"pair{number}", members)
    return ShardDataset(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs, a model that was made for them, their windows, and a model that was trained from nothing."""
    folder = tmp_path_factory.mktemp("ltx2")
    (folder / "toy.yaml").write_text(TOY)
    (folder / "task.yaml").write_text(TASK)
    write_pairs(folder / "pairs")
    size = ["--config", str(folder / "toy.yaml")]
    pairs = f"data.shards=[{folder / 'pairs'}]"
    given = [pairs, f"output={folder / 'start'}", "joint.text_scale=1", "joint.num_steps=2"]
    assert build.main([*size, *given]) == 0
    assert (
        encode.main([pairs, f"package={folder / 'start'}", f"output={folder / 'windows'}", "stride=8"]) == 0
    )
    base = ["joint.audio=generated", "joint.noise=apart", "joint.reference=false", "joint.lora_rank=0"]
    assert train(folder, "base", *base, f"train.init_from={folder / 'start'}", "train.optimizer=muon") == 0
    assert train(folder, "lora") == 0
    return folder


def words_of(folder: Path, name: str, *words: str) -> list[str]:
    files = ["--config", str(folder / "toy.yaml"), str(folder / "task.yaml")]
    start = f"train.init_from={folder / 'base' / 'package'}"
    return [*files, f"data.shards=[{folder / 'windows'}]", start, f"train.output={folder / name}", *words]


def train(folder: Path, name: str, *words: str) -> int:
    return main(words_of(folder, name, *words))


def strategy(folder: Path, *words: str) -> JointStrategy:
    _, *given = words_of(folder, "unused", *words)
    config = load_config(JointTrainingConfig, given[:2], given[2:])
    return JointStrategy(config, ShardDataset(folder / "windows"))


def prepared(task: JointStrategy, folder: Path, step: int = 0, count: int = 2) -> Any:
    windows = ShardDataset(folder / "windows")
    items = [(Draw(number, step, number), windows.sample(number)) for number in range(count)]
    return task.prepare(task.collate()(items), torch.device("cpu"))


def test_windows_hold_what_the_autoencoders_make_of_pairs(place: Path) -> None:
    windows, pair = ShardDataset(place / "windows"), ShardDataset(place / "pairs").sample(1)
    assert len(windows) == 2 * PAIRS  # frames 0 to 8 and 8 to 16 of each
    sample = windows.sample(3)
    assert (sample.key, sample.meta["window"], sample.meta["frames"]) == ("pair1_000008", 8, 9)
    video, audio = load_joint_codecs(open_joint_package(place / "start").model, torch.device("cpu"))
    latents = video.encode_frames(pair.target[None, 8:17])[0]
    torch.testing.assert_close(sample.cache["joint_target"], latents.bfloat16())
    # The stripes are all in the components that were kept.
    made = video.decode_frames(latents[None])[0]
    assert np.abs(made.astype(int) - pair.target[8:17]).mean() < 6
    # Frame 8 begins at 0.32 s; a window of 9 frames has 9 tokens, 33 frames of the spectrogram.
    for sound, name in ((pair.audio, "joint_audio"), (pair.source_audio, "joint_source_audio")):
        mel = mel_window(JointMelEncoder().encode(sound), 0.32, 33)
        tokens = audio.encode(torch.from_numpy(mel).expand(1, 2, -1, -1))[0]
        torch.testing.assert_close(sample.cache[name], tokens.bfloat16())
    assert sample.cache["joint_face"].shape == (2, 2, 2) and sample.cache["joint_face"].max() > 0.5


def test_encoding_refuses_what_does_not_fit(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"package={place / 'start'}", f"output={tmp_path / 'out'}"]
    pairs = f"data.shards=[{place / 'pairs'}]"
    assert encode.main([*given, pairs, "--dry-run"]) == 0
    assert "4 pairs -> 4 windows of 9 frames" in capsys.readouterr().out and not (tmp_path / "out").exists()
    assert encode.main([pairs, given[1]]) == 2
    assert "package is empty" in capsys.readouterr().err
    wide = Path(shutil.copytree(place / "start", tmp_path / "wide"))
    info = json.loads((wide / "bootdub.json").read_text())
    info["geometry"]["crop_size"] = 96
    (wide / "bootdub.json").write_text(json.dumps(info))
    assert encode.main([pairs, given[1], f"package={wide}"]) == 2
    assert "64 pixels at 25 frames per second, the package takes 96" in capsys.readouterr().err


def test_a_model_from_nothing_is_a_package_that_may_be_moved(place: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(place / "base" / "package", tmp_path / "moved"))
    package = load_joint_package(moved)
    assert package.settings.model == str(moved / "ltx2") and package.info.phase == "base"
    before = load_joint_package(place / "start").transformer.state_dict()
    after = package.transformer.state_dict()
    assert sum(not torch.equal(before[name], after[name]) for name in before) > 0.9 * len(before)
    assert not torch.equal(before["model.proj_out.weight"], after["model.proj_out.weight"])
    assert package.info.training["train"]["max_steps"] == 4


def test_a_lora_is_public_and_all_that_is_trained(place: Path) -> None:
    folder = place / "lora" / "package"
    tensors = load_file(folder / "lora.safetensors")
    layer = "diffusion_model.transformer_blocks.1.audio_to_video_attn.to_out.0"
    assert tensors[f"{layer}.lora_A.weight"].shape == (2, 8)
    # 6 attentions of 4 layers and 2 feed-forwards of 2 in each of 2 blocks.
    assert len(tensors) == 2 * (6 * 4 + 2 * 2) * 2
    assert max(t.abs().max() for name, t in tensors.items() if ".lora_B." in name) > 0
    info = read_info(folder)
    assert info.joint is not None and info.joint.model == str(place / "base" / "package" / "ltx2")
    task = strategy(place)
    model = task.build_model()
    model.load_state_dict(saved(place / "lora", 4), strict=False)
    inputs = prepared(task, place).inputs
    package = load_joint_package(folder)
    package.transformer.conventions = model.conventions  # the mask of the training
    with torch.no_grad():
        torch.testing.assert_close(package.transformer(inputs).video, model(inputs).video)
    went_on = strategy(place, f"train.init_from={folder}").build_model()
    with torch.no_grad():
        torch.testing.assert_close(went_on(inputs).video, model(inputs).video)


def test_tokens_have_the_roles_of_the_task(place: Path) -> None:
    given = strategy(place, "joint.first_frame=1")
    given.build_model()
    made = prepared(given, place)
    assert [group.role for group in made.inputs.video.groups] == [
        *(Role.first_frame, Role.target, Role.reference),
    ]
    assert [group.role for group in made.inputs.audio.groups] == [Role.frozen]
    assert (made.weights[:, :4] == 0).all() and (made.weights[:, 4:] > 0).all()
    windows = ShardDataset(place / "windows")
    sample = windows.sample(1).cache
    torch.testing.assert_close(made.inputs.audio.tokens[1], sample["joint_audio"].float())
    clean = sample["joint_target"].float().flatten(1).T
    noisy = made.inputs.video.tokens
    level = made.sigma[1]
    torch.testing.assert_close(noisy[1, 4:8], clean[4:] + level * made.velocity[1, 4:])
    torch.testing.assert_close(noisy[1, :4], clean[:4])
    torch.testing.assert_close(noisy[1, 8:], sample["joint_source"].float().flatten(1).T)
    both = strategy(place, "joint.audio=generated", "joint.reference_audio=true", "joint.first_frame=0")
    both.build_model()
    made = prepared(both, place)
    assert [group.role for group in made.inputs.audio.groups] == [Role.target, Role.reference]
    assert torch.equal(made.inputs.audio.sigma, made.inputs.video.sigma)
    torch.testing.assert_close(made.inputs.audio.groups[1].tokens[1], sample["joint_source_audio"].float())


def test_most_steps_may_see_the_lips_alone_at_their_true_place(place: Path) -> None:
    whole, cut = (
        strategy(place, f"train.lip_window={size}", "joint.first_frame=1") for size in ("[]", "[1,2]")
    )
    for task in (whole, cut):
        task.build_model()
    steps = [prepared(cut, place, step) for step in range(12)]
    counts = [made.inputs.video.tokens.shape[1] for made in steps]
    assert set(counts) == {16, 8} and counts.count(8) > 6
    step = counts.index(8)
    seen, all_of = steps[step], prepared(whole, place, step)
    # The lips of a face that fills the crop are in its lower half: the second row of both latent frames.
    places = torch.tensor([2, 3, 6, 7, 10, 11, 14, 15])
    torch.testing.assert_close(seen.inputs.video.tokens, all_of.inputs.video.tokens[:, places])
    torch.testing.assert_close(seen.inputs.video.positions, all_of.inputs.video.positions[:, :, places])
    torch.testing.assert_close(seen.velocity, all_of.velocity[:, places[:4]])
    torch.testing.assert_close(seen.weights, all_of.weights[:, places[:4]])


def test_the_loss_weighs_the_face_and_counts_the_sound_where_it_is_made(place: Path) -> None:
    task = strategy(place, "joint.audio=generated", "joint.rest_weight=0", "joint.lip_weight=3")
    model = task.build_model()
    made = prepared(task, place, step=1)
    with torch.no_grad():
        predicted = made.parts.of_target(model(made.inputs))
        losses = task.loss(model, made)
    windows = ShardDataset(place / "windows")
    face = torch.stack([windows.sample(i).cache["joint_face"].float().flatten() for i in range(2)])
    lips = torch.stack([windows.sample(i).cache["joint_lips"].float().flatten() for i in range(2)])
    weights = (face > 0.1) * (1 + 3 * lips)
    weights[:, : made.parts.given * 4] = 0
    error = (predicted.video - made.velocity).square().mean(dim=2)
    video = (error * weights).sum(dim=1) / weights.sum(dim=1)
    audio = (predicted.audio - made.audio_velocity).square().mean(dim=(1, 2))
    torch.testing.assert_close(losses.loss, video + audio)
    torch.testing.assert_close(losses.parts["audio"], audio)


@pytest.mark.parametrize("audio", ["given", "generated"])
def test_every_trained_layer_gets_a_gradient(place: Path, audio: str) -> None:
    task = strategy(place, f"joint.audio={audio}")
    model = task.build_model()
    task.loss(model, prepared(task, place)).loss.mean().backward()
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    assert trained and all(".lora_" in name and value.grad is not None for name, value in trained.items())
    assert all(value.dtype == torch.float32 for value in trained.values())


def test_the_audio_branch_learns_at_its_own_rate(place: Path) -> None:
    task = strategy(place)
    parameters = {name: p for name, p in task.build_model().named_parameters() if p.requires_grad}
    optimizer = build_optimizer(parameters, task.config.train, task.rate_scale)
    set_rate(optimizer, 3e-3)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: rates[id(value)] for name, value in parameters.items()}
    slow = {name for name, rate in found.items() if rate == pytest.approx(1e-3)}
    assert slow == {name for name in parameters if "audio_attn" in name or "audio_ff" in name}
    assert any("video_to_audio_attn" in name for name in slow)
    assert not any("audio_to_video_attn" in name for name in slow)
    assert all(found[name] == pytest.approx(3e-3) for name in parameters.keys() - slow)


def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(place: Path) -> None:
    assert train(place, "cut", "train.max_steps=2") == 0
    assert train(place, "cut") == 0
    assert [row["step"] for row in metrics(place / "cut")] == [1, 2, 3, 4]
    whole, cut = saved(place / "lora", 4), saved(place / "cut", 4)
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.parametrize("sharding", ["ddp", "fsdp2"])
def test_two_processes_train_as_one(place: Path, sharding: str) -> None:
    words = words_of(place, f"two-{sharding}", f"train.sharding={sharding}", "train.max_steps=3")
    several_processes(2, "stage2_dubber/train.py", *words)
    alone = [row["loss"] for row in metrics(place / "lora")][:3]
    np.testing.assert_allclose([row["loss"] for row in metrics(place / f"two-{sharding}")], alone, rtol=1e-4)
    load_joint_package(place / f"two-{sharding}" / "package")


def test_the_plan_counts_what_a_run_does(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ["--config", str(place / "toy.yaml"), str(place / "task.yaml")]
    counted = []

    def count(config: JointTrainingConfig, world_size: int) -> estimate.JointRun:
        counted.append(count_run(config, world_size))
        return counted[-1]

    count_run = estimate.count_run
    monkeypatch.setattr(estimate, "count_run", count)
    assert main([*files, "model.layers=3", "train.mixed_precision=bfloat16", "--dry-run"]) == 0
    plan, [run] = capsys.readouterr().out, counted
    # Blocks are all alike: three from one and two.
    config = load_config(JointTrainingConfig, files[1:], ["model.layers=3"])
    assert run.flops * 2 == pytest.approx(estimate._pass_flops(config, 3))
    assert f"({run.trained:,} trained)" in plan and "8 of the target and 8 of the reference" in plan
    assert "time on 1 x h100" in plan


def test_the_configurations_of_the_repository_fit_together() -> None:
    folder = Path(__file__).parents[1] / "configs"

    def read(*names: str) -> JointTrainingConfig:
        return load_config(JointTrainingConfig, [folder / f"ltx2_{name}.yaml" for name in names])

    published = read("19b", "lora", "generated")
    assert published.joint.audio.value == "generated" and published.joint.lora_rank == 128
    assert published.model == JointTrainingConfig().model
    assert read("tiny", "lora", "lora_tiny").joint.audio.value == "given"
    assert read("tiny", "base").joint.lora_rank == 0


def test_what_does_not_fit_is_refused_in_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lora = place / "lora" / "package"
    windows = ShardDataset(place / "windows")
    with ShardWriter(place / "longer", "joint", 4, windows.indices[0].meta) as writer:
        cache = {
            name: value.repeat_interleave(2, dim=1)[:, :3] for name, value in windows.sample(0).cache.items()
        }
        cache |= {"joint_audio": torch.zeros(17, 16), "joint_source_audio": torch.zeros(17, 16)}
        writer.add("longer", encode_sample({"frames": 17, "fps": 25.0}, cache=cache))
    for words, said in (
        (["train.init_from="], "train.init_from is empty"),
        (["model.layers=3"], "num_layers 2, the configuration says 3"),
        (["geometry.clip_frames=17"], "the package takes clips of"),
        ([f"train.init_from={lora}", "joint.lora_rank=4"], "has rank 2, the configuration says 4"),
        ([f"train.init_from={lora}", "joint.lora_rank=0"], "has a LoRA"),
        (["joint.lora_targets=[to_z]"], "'to_z'"),
        (["train.context_parallel=2"], "train.context_parallel must be 1"),
        (
            [f"data.shards=[{place / 'longer'}]"],
            "have (3, 2, 2) latents, the configuration asks for (2, 2, 2)",
        ),
        ([f"data.shards=[{place / 'pairs'}]"], "stage2_dubber.joint.encode"),
        (["train.learning_rate=0"], "train.learning_rate"),
        (["train.lip_window=[2]"], "train.lip_window"),
    ):
        assert train(place, "refused", *words) == 2, said
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error
    assert train(place, "lora", "joint.mask=none") == 2
    assert "was made with joint" in capsys.readouterr().err


def test_what_leaks_from_a_source_is_measured(place: Path, tmp_path: Path) -> None:
    request = ClipRequest(seed=1000000, seconds=0.8, size=96, pair=True, languages=("en",))
    make_clips(request, tmp_path / "clips")
    words = ["--clips", tmp_path / "clips", "--model", place / "lora" / "package"]
    options = ["--audio", "generated", "--reference-audio", "--mask", "none", "--num-steps", "2"]
    assert leak_ltx2.main([*map(str, [*words, "--output", tmp_path / "leak.json"]), *options]) == 0
    (row,) = json.loads((tmp_path / "leak.json").read_text())["clips"]
    # 20 frames are two windows of 9; untrained, all figures are correlations of nothing.
    assert row["name"] == "r1000000" and all(-1 <= row[key] <= 1 for key in row if key != "name")


def test_each_pair_may_have_a_prompt_of_its_own(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("toy.yaml", "task.yaml"):
        shutil.copyfile(place / name, tmp_path / name)
    shutil.copytree(place / "base" / "package", tmp_path / "base" / "package")
    said = ("A person", "A person", "is speaking", "speaking")
    write_pairs(tmp_path / "pairs", captions=[{"caption": text} for text in said])
    given = [f"package={tmp_path / 'base' / 'package'}", f"output={tmp_path / 'windows'}", "stride=8"]
    asked = [f"data.shards=[{tmp_path / 'pairs'}]", *given, "captions=true"]
    assert encode.main(asked) == 2
    assert "lacks text_encoder, tokenizer" in capsys.readouterr().err
    write_text_encoder(tmp_path / "base" / "package" / "ltx2")
    assert encode.main(asked) == 0
    windows = ShardDataset(tmp_path / "windows")
    states = [windows.sample(2 * number).cache["joint_prompt"] for number in range(PAIRS)]
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])
    task = strategy(tmp_path, "joint.captions=true")
    task.build_model()
    prompt = prepared(task, tmp_path).inputs.prompt
    torch.testing.assert_close(prompt.video[1], windows.sample(1).cache["joint_prompt"].float())
    assert prompt.audio.shape == (2, 1024, 8)
    with pytest.raises(UserError, match="no joint_prompt"):
        strategy(place, "joint.captions=true")
    assert encode.main([f"data.shards=[{place / 'pairs'}]", *given, "captions=true"]) == 2
    assert "pair0 has no caption" in capsys.readouterr().err
