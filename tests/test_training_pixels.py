"""Losses on decoded frames: the one-step guess, who is judged, and a lip phase that uses them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_toys import metrics, saved, stage2_config, toy_vae, write_pairs

from common.errors import UserError
from common.models.sync_expert import SyncExpert, load_expert
from common.models.vae import VideoCodec, load_vae
from common.training.draws import Draw
from common.training.launch import open_shards, train
from common.training.pixel_losses import DecodedClip, PixelJudge, SyncLoss, one_step_estimate
from stage2_dubber.strategy import EditorStrategy

SIDE = 32
FRAMES = 21


def toy_expert(folder: Path, frames: int = 16, speech: str = "") -> Path:
    torch.manual_seed(0)
    shape = {"crop_size": SIDE, "audio_channels": 80, "widths": (8, 8), "embed_dim": 8}
    SyncExpert(frames=frames, speech=speech, **shape).save_pretrained(folder)
    return folder


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
    judge = PixelJudge(VideoCodec(load_vae(tmp_path / "vae")), [(loss, 0.05)], extra_window=2, seed=0)
    torch.manual_seed(0)
    estimate = torch.randn(2, 4, 6, 4, 4, requires_grad=True)
    start = judge.draw_start([Draw(0, 0, 0), Draw(0, 0, 1)], 6)
    assert all(1 <= int(first) <= 2 for first in start)
    values = judge(estimate, torch.randn(2, 6, 12, 80), torch.tensor([True, False]), start)["sync"]
    assert values[0] > 0 and values[1] == 0
    values.sum().backward()
    assert estimate.grad is not None
    moved = estimate.grad.abs().amax(dim=(1, 3, 4))
    first = int(start[0])
    assert (moved[0, first : first + 4] > 0).all() and not moved[1].any()
    assert all(value.grad is None for value in loss.expert.parameters())


def test_the_speech_that_is_judged_is_that_of_the_judged_frames() -> None:
    """Features that carry their own index come out as the 32 of the 16 frames."""
    heard: list[torch.Tensor] = []

    class Probe:
        name = "probe"

        def __call__(self, clip: DecodedClip) -> torch.Tensor:
            heard.append(clip.features)
            return clip.made.mean(dim=(1, 2, 3, 4))

    class Codec:
        def decode_with_grad(self, latents: torch.Tensor) -> torch.Tensor:
            return latents.repeat_interleave(4, dim=2)[:, :, 3:]

    from common.speech.windows import audio_windows

    features = torch.arange(2.0 * (FRAMES + 20))[:, None]
    windows = audio_windows(features, 10, 6, 4)[None]
    judge = PixelJudge(Codec(), [(Probe(), 1.0)], extra_window=4, seed=0)  # type: ignore[arg-type]
    latents = torch.zeros(1, 3, 6, 2, 2)
    judge(latents, windows, torch.tensor([True]), torch.tensor([2]))
    # Latent 2 holds the frames 5 ... 8, so the judged frames are 5 ... 20 of a clip that begins at frame 10.
    assert heard[0][0, :, 0].tolist() == [float(i) for i in range(2 * 15, 2 * 31)]


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
        assert whole["sync"] > 0 and whole["loss"] == pytest.approx(whole["flow"] + whole["sync"], rel=1e-5)
        assert [whole[name] for name in ("loss", "flow", "sync")] == [
            cut[name] for name in ("loss", "flow", "sync")
        ]
    one, two = (saved(tmp_path / n, 4) for n in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)


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
