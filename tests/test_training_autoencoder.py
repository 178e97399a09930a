"""Training of the small autoencoder: crops from videos, the loss, continuing, what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import several_processes
from safetensors.numpy import save_file
from training_toys import saved

from common.autoencoder.codec import VideoCodec, build_vae
from common.autoencoder.config import AutoencoderConfig, VaeConfig
from common.autoencoder.train import main
from common.autoencoder.training import AutoencoderTrainer, autoencoder_loss, latent_divisors, new_autoencoder
from common.autoencoder.video_crops import load_clip, load_clips, random_windows
from common.media import write_video

SHAPE = VaeConfig(
    base_dim=4,
    decoder_base_dim=4,
    z_dim=4,
    dim_mult=[1, 2, 2],
    num_res_blocks=1,
    temperal_downsample=[True, True],
    scale_factor_spatial=8,
)


@pytest.fixture
def videos(tmp_path: Path, moving_frames: Callable[..., np.ndarray]) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for i, frames in enumerate((12, 20)):
        write_video(folder / f"v{i}.mp4", moving_frames(frames, 64, 96, seed=i), rate=25)
    return folder


def test_crops_are_centred_squares_or_follow_the_track(videos: Path) -> None:
    centre = load_clip(videos / "v1.mp4", 32, 100)
    assert centre.frames.shape == (20, 40, 40, 3)
    boxes = np.tile(np.array([60.0, 20.0, 80.0, 40.0], np.float32), (20, 1))
    boxes[3:6] = np.nan
    save_file({"boxes": boxes}, videos / "v1.track.safetensors")
    face = load_clip(videos / "v1.mp4", 32, 8)
    assert face.frames.shape == (8, 40, 40, 3)
    assert np.abs(face.frames[0].astype(int) - centre.frames[0]).mean() > 5


def test_memory_is_bounded_and_shared_by_the_videos(videos: Path) -> None:
    clips = load_clips(sorted(videos.glob("*.mp4")), 32, max_frames=14, shortest=5)
    assert [len(clip.frames) for clip in clips] == [7, 7]
    windows = random_windows(clips, np.random.default_rng(0), 3, 5, 32)
    assert windows.shape == (3, 3, 5, 32, 32)
    assert windows.min() >= -1 and windows.max() <= 1


def test_loss_has_a_gradient_beyond_the_decoders_clamp() -> None:
    torch.manual_seed(0)
    vae = new_autoencoder(SHAPE)
    with torch.no_grad():
        vae.decoder.conv_out.bias += 50.0  # all output is cut off at 1
    loss, parts = autoencoder_loss(vae, torch.zeros(1, 3, 5, 32, 32), 1e-5, 0.5)
    loss.backward()
    assert parts["l1"].item() == pytest.approx(1.0)
    assert (vae.decoder.conv_out.bias.grad > 0).all()


def test_whitening_says_how_alike_channels_become() -> None:
    spread = torch.tensor([8.0, 2.0, 0.5], dtype=torch.float64)
    for whitening in (0.0, 0.3, 1.0):
        latents = spread / latent_divisors(spread, whitening)
        assert float(latents.square().mean()) == pytest.approx(1.0)
        assert float(latents[0] / latents[2]) == pytest.approx(16.0 ** (1 - whitening))
    assert torch.allclose(latent_divisors(spread, 1.0), spread)


def test_it_learns_continues_and_measures_its_latents(videos: Path, tmp_path: Path) -> None:
    def train(output: str, steps: int) -> dict[str, float]:
        config = AutoencoderConfig(
            folders=[str(videos)],
            output=str(tmp_path / output),
            window_frames=[5],
            frames_per_step=5,
            max_steps=steps,
            learning_rate=3e-3,
            warmup_steps=1,
            stats_windows=2,
            mixed_precision="float32",
            log_every=5,
        )
        lines: list[str] = []
        result = AutoencoderTrainer(config, SHAPE, 32, 9).run(lines.append)
        assert any("s/step" in line and "left" in line for line in lines)
        return result

    first = train("vae", 5)
    more = train("vae", 30)
    assert more["steps"] == 30 and more["psnr_db"] > first["psnr_db"]
    shape = VaeConfig(**{**vars(SHAPE), "path": str(tmp_path / "vae" / "vae")})
    codec = VideoCodec(build_vae(shape))
    assert codec.config.latents_mean != [0.0] * 4 and all(std > 0 for std in codec.config.latents_std)
    frames = load_clip(videos / "v1.mp4", 32, 9).frames[:9, 4:36, 4:36]
    video = torch.from_numpy(frames).permute(3, 0, 1, 2).float()[None] / 127.5 - 1
    latents = codec.encode(video)
    assert latents.shape == (1, 4, 3, 4, 4) and 0.2 < latents.std() < 5


def test_processes_share_the_work_and_leave_one_model(videos: Path, tmp_path: Path) -> None:
    shape = json.dumps({name: value for name, value in vars(SHAPE).items() if name != "path"})
    (tmp_path / "toy.yaml").write_text(
        f"vae: {shape}\ngeometry: {{crop_size: 32, clip_frames: 9, motion_latents: 1}}\n"
    )
    words = [
        f"autoencoder.folders=[{videos}]",
        *("autoencoder.window_frames=[5]", "autoencoder.frames_per_step=5", "autoencoder.warmup_steps=1"),
        *("autoencoder.stats_windows=2", "autoencoder.mixed_precision=float32"),
    ]

    def train(processes: int, output: str, steps: int) -> dict[str, torch.Tensor]:
        printed = several_processes(
            processes,
            *("-m", "common.autoencoder.train", "--config", str(tmp_path / "toy.yaml"), *words),
            *(f"autoencoder.output={tmp_path / output}", f"autoencoder.max_steps={steps}"),
        )
        assert printed.count("written to") == 1
        return saved(tmp_path / output, steps)

    name = "decoder.conv_out.bias"
    one, two = train(1, "one", 2), train(2, "two", 2)
    assert not torch.equal(one[name], two[name])  # the second process' windows count
    assert not torch.equal(train(2, "two", 3)[name], two[name])


def test_the_command_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"autoencoder.folders=[{tmp_path / 'none'}]"]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["autoencoder.window_frames=[8]"]) == 2
    assert "4k+1" in capsys.readouterr().err
