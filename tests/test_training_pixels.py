"""Losses on decoded frames: the one-step guess, who is judged, and phases that train with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from judge_toys import toy_clip, toy_pack
from training_toys import metrics, saved, stage2_config, toy_vae, write_pairs, write_raw_pairs

from common.autoencoder.codec import VideoCodec, load_vae
from common.autoencoder.pixels import to_video
from common.config import load_config
from common.data.batch import DubBatch
from common.errors import UserError
from common.sync_expert.model import SyncExpert, load_expert
from common.training.draws import Draw
from common.training.launch import open_shards, train
from common.training.meter import LossMeter
from common.training.pixel.clip import DecodedClip, GivenConditions
from common.training.pixel.decoded import DecodedFrameLosses, one_step_estimate
from common.training.pixel.sync import SyncLoss
from common.training.strategy import SampleLosses
from stage2_dubber.config import Stage2Config
from stage2_dubber.training.strategy import EditorStrategy

SIDE = 32
FRAMES = 21


def toy_expert(folder: Path, frames: int = 16, speech: str = "") -> Path:
    torch.manual_seed(0)
    shape = {"crop_size": SIDE, "audio_channels": 80, "widths": (8, 8), "embed_dim": 8}
    SyncExpert(frames=frames, speech=speech, **shape).save_pretrained(folder)
    return folder


def toy_batch(batch: int = 2, latents: int = 6, **fields: torch.Tensor) -> DubBatch:
    torch.manual_seed(1)
    values = {
        "target_latents": torch.randn(batch, 4, latents, 4, 4),
        "reference_latents": torch.randn(batch, 4, latents, 4, 4),
        "audio_features": torch.randn(batch, latents, 12, 80),
        "lip_mask": torch.ones(batch, latents, 4, 4),
        "face_mask": torch.ones(batch, latents, 4, 4),
    }
    return DubBatch(keys=tuple(f"s{i}" for i in range(batch)), **{**values, **fields})


def given(audio: list[bool], reference: list[bool] | None = None) -> GivenConditions:
    return GivenConditions(torch.tensor(audio), torch.tensor(reference or [True] * len(audio)))


class Probe:
    """A loss that keeps what it is shown; it judges samples without audio."""

    name, fingerprint = "probe", "x"

    def __init__(self, needs_real: bool = False, needs_landmarks: bool = False) -> None:
        self.needs_real, self.needs_landmarks = needs_real, needs_landmarks
        self.seen: list[DecodedClip] = []

    def applies_to(self, conditions: GivenConditions) -> torch.Tensor:
        return ~conditions.has_audio

    def __call__(self, clip: DecodedClip) -> torch.Tensor:
        self.seen.append(clip)
        return clip.made.mean(dim=(1, 2, 3, 4))


class Codec:
    """Frames that are their latents, four times each, and a record of how many clips were decoded."""

    def __init__(self) -> None:
        self.decoded: list[tuple[int, bool]] = []

    def to(self, device: torch.device) -> Codec:
        return self

    def decode_with_grad(self, latents: torch.Tensor, checkpointing: bool = False) -> torch.Tensor:
        self.decoded.append((len(latents), torch.is_grad_enabled()))
        return latents.repeat_interleave(4, dim=2)[:, :, 3:]

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.decode_with_grad(latents)


def test_the_guess_is_the_samplers_last_step_up_to_the_bound() -> None:
    torch.manual_seed(0)
    clean, noise, predicted = torch.randn(3, 2, 4, 3, 2, 2).unbind(0)
    t = torch.tensor([0.3, 0.9])
    wide = t.view(-1, 1, 1, 1, 1)
    noisy = (1 - wide) * clean + wide * noise
    guess = one_step_estimate(clean, noise - clean, predicted, t)
    torch.testing.assert_close(guess[0], (noisy - wide * predicted)[0])
    torch.testing.assert_close(guess[1], clean[1] + 0.6 * ((noise - clean) - predicted)[1])
    torch.testing.assert_close(one_step_estimate(clean, noise - clean, noise - clean, t), clean)


def test_only_samples_with_speech_are_judged_and_gradients_reach_the_guess(tmp_path: Path) -> None:
    toy_vae(tmp_path)
    loss = SyncLoss(load_expert(toy_expert(tmp_path / "expert")), "any")
    judge = DecodedFrameLosses(VideoCodec(load_vae(tmp_path / "vae")), [(loss, 0.05)], extra_window=2, seed=0)
    torch.manual_seed(0)
    estimate = torch.randn(2, 4, 6, 4, 4, requires_grad=True)
    start = judge.draw_start([Draw(0, 0, 0), Draw(0, 0, 1)], 6)
    assert all(1 <= int(first) <= 2 for first in start)
    judgement = judge(estimate, toy_batch(), given([True, False]), start)["sync"]
    values = judgement.losses
    assert values[0] > 0 and values[1] == 0 and judgement.applied.tolist() == [True, False]
    assert judgement.logged[0] == values[0] and judgement.logged[1].isnan()
    values.sum().backward()
    assert estimate.grad is not None
    moved = estimate.grad.abs().amax(dim=(1, 3, 4))
    first = int(start[0])
    assert (moved[0, first : first + 4] > 0).all() and not moved[1].any()
    assert all(value.grad is None for value in loss.expert.parameters())


def test_the_speech_that_is_judged_is_that_of_the_judged_frames() -> None:
    """Features that carry their own index come out as the 32 of the 16 frames."""
    from common.speech.windows import audio_windows

    features = torch.arange(2.0 * (FRAMES + 20))[:, None]
    windows = audio_windows(features, 10, 6, 4)[None]
    probe = Probe()
    judge = DecodedFrameLosses(Codec(), [(probe, 1.0)], extra_window=4, seed=0)  # type: ignore[arg-type]
    batch = toy_batch(1, audio_features=windows)
    judge(batch.target_latents, batch, given([False]), torch.tensor([2]))
    # Latent 2 holds the frames 5 ... 8, so the judged frames are 5 ... 20 of a clip that begins at frame 10.
    assert probe.seen[0].audio_features[0, :, 0].tolist() == [float(i) for i in range(2 * 15, 2 * 31)]


def test_landmarks_and_real_frames_are_those_of_the_judged_frames() -> None:
    probe = Probe(needs_real=True, needs_landmarks=True)
    judge = DecodedFrameLosses(Codec(), [(probe, 1.0)], extra_window=2, seed=0, latents=3)  # type: ignore[arg-type]
    numbers = torch.arange(21.0).view(1, 21, 1, 1).expand(2, 21, 68, 3)
    batch = toy_batch(landmarks=numbers + 100 * torch.arange(2.0).view(2, 1, 1, 1))
    latents = torch.arange(6.0).view(1, 1, 6, 1, 1).expand(2, 4, 6, 4, 4)
    judge(latents + 0.5, replace(batch, target_latents=latents), given([True, False]), torch.tensor([1, 3]))
    (clip,) = probe.seen
    assert clip.landmarks is not None and clip.real is not None
    assert clip.landmarks[0, :, 0, 0].tolist() == [100.0 + i for i in range(9, 21)]
    assert clip.real[0, 0, :, 0, 0].tolist() == [3.0] * 4 + [4.0] * 4 + [5.0] * 4
    torch.testing.assert_close(clip.made, clip.real + 0.5)
    with pytest.raises(UserError, match=r"s0, s1 has no landmarks.*phase\.identity"):
        judge(latents, toy_batch(), given([False, False]), torch.tensor([1, 1]))


def test_only_judged_samples_are_decoded_and_true_clips_only_for_those_who_compare() -> None:
    class Heard(Probe):
        name = "heard"

        def applies_to(self, conditions: GivenConditions) -> torch.Tensor:
            return conditions.has_audio

    def decoded(audio: list[bool], *losses: Probe) -> list[tuple[int, bool]]:
        codec = Codec()
        judge = DecodedFrameLosses(codec, [(loss, 2.0) for loss in losses], 2, seed=0)  # type: ignore[arg-type, misc]
        batch = toy_batch(4)
        out = judge(batch.target_latents, batch, given(audio), torch.ones(4, dtype=torch.long))
        for loss in losses:
            assert out[loss.name].applied.tolist() == loss.applies_to(given(audio)).tolist()
            assert ((out[loss.name].losses != 0) == out[loss.name].applied).all()
        return codec.decoded

    mixed = [True, False, False, True]
    assert decoded(mixed, Probe()) == [(2, True)]
    assert decoded(mixed, Probe(needs_real=True)) == [(2, True), (2, False)]
    probe, heard = Probe(), Heard()
    assert decoded(mixed, probe, heard) == [(4, True)]
    assert len(probe.seen[0].made) == len(heard.seen[0].made) == 2
    assert decoded([True] * 4, Probe(needs_real=True)) == []


def test_frames_that_were_given_clean_are_the_true_ones_and_get_no_gradient() -> None:
    torch.manual_seed(0)
    clean, noise, predicted = torch.randn(3, 2, 4, 3, 2, 2).unbind(0)
    predicted.requires_grad_()
    guess = one_step_estimate(clean, noise - clean, predicted, torch.tensor([0.5, 0.5]), torch.tensor([2, 0]))
    guess.sum().backward()
    assert torch.equal(guess[0, :, :2], clean[0, :, :2]) and not torch.equal(guess[0, :, 2], clean[0, :, 2])
    moved = predicted.grad.abs().sum(dim=(1, 3, 4)) > 0  # type: ignore[union-attr]
    assert moved.tolist() == [[False, False, True], [True, True, True]]


def test_unjudged_samples_do_not_drag_a_logged_mean_and_a_broken_loss_stays_visible() -> None:
    meter = LossMeter(torch.device("cpu"))
    nan = float("nan")
    meter.add(
        SampleLosses(torch.tensor([1.0, 3.0]), torch.tensor([0.1, 0.1]), {"a": torch.tensor([4.0, nan])})
    )
    sums, counts = meter.drain()
    assert (sums["a"][0].sum() / sums["a"][1].sum()).item() == 4.0
    assert (sums["loss"][0].sum() / counts.sum()).item() == 2.0
    meter.add(SampleLosses(torch.tensor([1.0, nan]), torch.tensor([0.1, 0.1])))
    assert meter.drain()[0]["loss"][0].sum().isnan()


def test_a_lip_phase_trains_with_the_sync_loss_and_resumes(tmp_path: Path) -> None:
    toy_vae(tmp_path)
    write_pairs(tmp_path / "pairs", frames=FRAMES)
    expert = toy_expert(tmp_path / "expert")

    def run(output: str, steps: int, *overrides: str) -> Path:
        words = [f"train.output={tmp_path / output}", f"train.max_steps={steps}", "geometry.clip_frames=21"]
        config = stage2_config(tmp_path, *words, "train.lr_schedule=constant", *overrides)
        dataset = open_shards(config.data)
        return train(config, EditorStrategy(config, dataset), dataset).package

    base = run("structure", 1)
    lip = [
        *("phase.name=lip", "phase.lora_rank=2", "phase.lora_alpha=2", f"train.init_from={base}"),
        *("phase.lora_targets=[self_attn.to_q]", "phase.sync.weight=0.05", f"phase.sync.model={expert}"),
    ]
    run("whole", 4, *lip)
    for steps in (2, 4):
        run("cut", steps, *lip)
    rows = [metrics(tmp_path / name) for name in ("whole", "cut")]
    for whole, cut in zip(*rows, strict=True):
        # The mean of the sync loss is that of the samples with speech, its share of the loss that of all.
        shares = (whole["loss"] - whole["flow"]) / whole["sync"]
        assert whole["sync"] > 0 and any(shares == pytest.approx(k / 4, rel=1e-3) for k in range(1, 5))
        assert [whole[name] for name in ("loss", "flow", "sync")] == [
            cut[name] for name in ("loss", "flow", "sync")
        ]
    one, two = (saved(tmp_path / n, 4) for n in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)


TEXTURE = [
    *("phase.name=texture", "phase.lora_rank=2", "phase.lora_alpha=2", "phase.lora_targets=[self_attn.to_q]"),
    *("train.drop_audio=0.5", "geometry.clip_frames=21", "train.lr_schedule=constant"),
    *("phase.identity.weight=0.05", "phase.perceptual.weight=0.05", "phase.identity.pack=tiny"),
]


def texture_words(folder: Path) -> list[str]:
    """A texture phase with a judge of its own making for each loss, on a structure phase of one step."""
    toy_vae(folder)
    write_pairs(folder / "pairs", frames=FRAMES, landmarks=True)
    toy_pack(folder / "packs")
    toy_clip(folder / "clip")
    words = [f"train.output={folder / 'structure'}", "train.max_steps=1", "geometry.clip_frames=21"]
    config = stage2_config(folder, *words)
    dataset = open_shards(config.data)
    base = train(config, EditorStrategy(config, dataset), dataset).package
    judges = [f"phase.identity.root={folder / 'packs'}", f"phase.perceptual.model={folder / 'clip'}"]
    return [*TEXTURE, *judges, f"train.init_from={base}"]


def test_a_texture_phase_trains_with_its_losses_and_resumes_anywhere(tmp_path: Path) -> None:
    words = texture_words(tmp_path)

    def run(output: str, steps: int, *overrides: str) -> None:
        places = [f"train.output={tmp_path / output}", f"train.max_steps={steps}"]
        config = stage2_config(tmp_path, *words, *places, *overrides)
        dataset = open_shards(config.data)
        train(config, EditorStrategy(config, dataset), dataset)

    run("whole", 4)
    run("cut", 2)
    # The same judges elsewhere are the same judges.
    shutil.copytree(tmp_path / "packs", tmp_path / "moved")
    run("cut", 4, f"phase.identity.root={tmp_path / 'moved'}")
    names = ("loss", "flow", "identity", "perceptual")
    rows = [metrics(tmp_path / name) for name in ("whole", "cut")]
    assert [[row[n] for n in names] for row in rows[0]] == [[row[n] for n in names] for row in rows[1]]
    judged = [row for row in rows[0] if row["identity"] is not None]
    assert judged and all(row["identity"] > 0 and row["perceptual"] > 0 for row in judged)
    for row in rows[0]:
        mean = (row["identity"] or 0.0) + (row["perceptual"] or 0.0)
        assert any(row["loss"] - row["flow"] == pytest.approx(mean * k / 4, abs=1e-6) for k in range(5))
    one, two = (saved(tmp_path / name, 4) for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)

    # Decoding again in the backward pass changes the memory alone.
    run("again", 2, "model.gradient_checkpointing=true")
    for again, row in zip(metrics(tmp_path / "again"), rows[0], strict=False):
        assert [again[name] for name in names] == [pytest.approx(row[name], rel=1e-4) for name in names]

    # Another judge is another training.
    toy_pack(tmp_path / "other", seed=5)
    with pytest.raises(UserError, match="judges"):
        run("cut", 5, f"phase.identity.root={tmp_path / 'other'}")

    # Who is judged depends on no neighbour in the micro-batch.
    run("alone", 2, "train.micro_batch_size=1")
    for alone, row in zip(metrics(tmp_path / "alone"), rows[0], strict=False):
        assert [alone[name] for name in names] == [pytest.approx(row[name], rel=1e-4) for name in names]


def test_looks_are_learnt_from_samples_without_audio_alone(tmp_path: Path) -> None:
    words = texture_words(tmp_path)
    dataset = open_shards(stage2_config(tmp_path).data)

    def changes(*conditions: str) -> bool:
        """Whether the gradient depends on how much the losses on looks count."""
        gradients = []
        for weight in (1e-6, 10.0):
            judges = [f"phase.{name}.weight={weight}" for name in ("identity", "perceptual")]
            strategy = EditorStrategy(stage2_config(tmp_path, *words, *conditions, *judges), dataset)
            torch.manual_seed(0)
            model = strategy.build_model()
            draws = [(Draw(i, 0, i), dataset.sample(i)) for i in range(2)]
            inputs = strategy.prepare(strategy.collate()(draws), torch.device("cpu"))
            strategy.loss(model, inputs).loss.sum().backward()
            found = [value.grad for value in model.parameters() if value.grad is not None]
            gradients.append(torch.cat([one.flatten() for one in found]))
        return not torch.equal(*gradients)

    assert changes("train.drop_audio=1", "train.drop_both=0")
    assert not changes("train.drop_audio=0", "train.drop_both=0")
    assert not changes("train.drop_both=1")


def test_uncached_clips_bring_the_landmarks_of_their_window(
    tmp_path: Path, moving_frames: Callable[..., np.ndarray], tone: Callable[..., np.ndarray]
) -> None:
    toy_vae(tmp_path)
    numbers = np.arange(29, dtype=np.float32)[:, None, None] * np.ones((29, 68, 3), np.float32)
    write_raw_pairs(tmp_path / "pairs", 3, 29, moving_frames, tone, landmarks=numbers)
    config = stage2_config(tmp_path, "geometry.clip_frames=21")
    dataset = open_shards(config.data)
    strategy = EditorStrategy(config, dataset)
    starts = set()
    for step in range(4):
        draws = [(Draw(i, step, i), dataset.sample(i)) for i in range(3)]
        batch = strategy.prepare(strategy.collate()(draws), torch.device("cpu")).batch
        assert batch.landmarks is not None and batch.landmarks.shape == (3, 21, 68, 3)
        first = batch.landmarks[:, 0, 0, 0]
        torch.testing.assert_close(batch.landmarks[:, :, 0, 0], first[:, None] + torch.arange(21.0))
        # The windows that were encoded are those whose landmarks came along.
        for i, start in enumerate(first.int().tolist()):
            frames = to_video(dataset.sample(i).target[None, start : start + 21])
            torch.testing.assert_close(batch.target_latents[i], strategy.start.codec.encode(frames)[0])
            starts.add(start)
    assert len(starts) > 1


def test_longer_cached_clips_keep_the_landmarks_of_their_beginning(tmp_path: Path) -> None:
    toy_vae(tmp_path)
    dataset = write_pairs(tmp_path / "pairs", frames=FRAMES, landmarks=True)
    strategy = EditorStrategy(stage2_config(tmp_path, "geometry.clip_frames=9"), dataset)
    sample = dataset.sample(0)
    micro = strategy.collate()([(Draw(0, 0, 0), sample)])
    assert micro.batch is not None and micro.batch.landmarks is not None
    torch.testing.assert_close(micro.batch.landmarks[0], sample.arrays["landmarks"][:9].float())
    half = micro.batch.to("cpu", torch.bfloat16)
    assert half.landmarks is not None and half.landmarks.dtype == torch.float32


def test_looks_cannot_be_judged_without_models_or_landmarks(tmp_path: Path) -> None:
    words = texture_words(tmp_path)
    dataset = open_shards(stage2_config(tmp_path).data)
    cases = (
        ("phase.identity.pack=absent", r"'absent' is not installed.*phase\.identity"),
        (f"phase.perceptual.model={tmp_path / 'none'}", r"phase\.perceptual\.model"),
        ("phase.perceptual.model=", r"phase\.perceptual\.model is empty"),
        ("phase.identity.frame_stride=17", r"phase\.decoded_latents"),
        ("phase.identity.weight=-1", r"phase\.identity\.weight"),
    )
    for word, message in cases:
        with pytest.raises(UserError, match=message):
            EditorStrategy(stage2_config(tmp_path, *words, word), dataset)
    bare = write_pairs(tmp_path / "bare", frames=FRAMES)
    with pytest.raises(UserError, match=r"bare.*no landmarks"):
        EditorStrategy(stage2_config(tmp_path, *words), bare)
    assert not (tmp_path / "run").exists()


def test_the_papers_weights_are_in_the_overlays() -> None:
    configs = Path(__file__).resolve().parent.parent / "configs"
    files = [configs / name for name in ("wan5b.yaml", "stage2_lip.yaml", "losses_lip.yaml")]
    assert load_config(Stage2Config, files).phase.sync.weight == 0.05
    files = [configs / name for name in ("wan5b.yaml", "stage2_texture.yaml", "losses_texture.yaml")]
    config = load_config(Stage2Config, files)
    assert config.phase.identity.weight == config.phase.perceptual.weight == 0.05
    assert config.phase.sync.weight == 0 and config.train.drop_audio == 0.5


def test_judges_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    toy_vae(tmp_path)
    write_pairs(tmp_path / "pairs")
    dataset = open_shards(stage2_config(tmp_path).data)
    with pytest.raises(UserError, match=r"phase\.sync\.model"):
        stage2_config(tmp_path, "phase.sync.weight=0.05")
    cases = (
        (tmp_path / "none", "no sync expert"),
        (toy_expert(tmp_path / "e", 8), "16"),
        (toy_expert(tmp_path / "s", speech="other"), "speech encoder other"),
    )
    for folder, message in cases:
        config = stage2_config(tmp_path, "phase.sync.weight=0.05", f"phase.sync.model={folder}")
        with pytest.raises(UserError, match=message):
            EditorStrategy(config, dataset)
    config = stage2_config(
        tmp_path, "phase.sync.weight=0.05", f"phase.sync.model={toy_expert(tmp_path / 'f')}"
    )
    with pytest.raises(UserError, match=r"geometry\.clip_frames"):
        train(config, EditorStrategy(config, dataset), dataset)
