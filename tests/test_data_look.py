"""Looking at shards: what is printed, what is decoded, and what is refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from training_toys import stage2_config, toy_vae, write_pairs

from common.autoencoder.codec import VideoCodec, build_vae
from common.autoencoder.pixels import to_frames, to_video
from common.data.look import main
from common.data.schema import encode_sample
from common.data.summary import spread
from common.data.writer import ShardWriter
from common.psnr import psnr


def test_latents_are_decoded_beside_the_frames(tmp_path, moving_frames, capsys):
    vae = toy_vae(tmp_path)
    codec = VideoCodec(build_vae(stage2_config(tmp_path).vae))
    target, source = moving_frames(9, 32, 32, seed=1), moving_frames(9, 32, 32, seed=2)
    latents = [codec.encode(to_video(video[None]))[0] for video in (target, source)]
    cache = {
        "target_latents": latents[0],
        "source_latents": latents[1],
        "audio_features": torch.full((30, 80), float("nan")),
    }
    with ShardWriter(tmp_path / "pairs", "p", 4, {"vae": codec.fingerprint}) as writer:
        for i in range(3):
            meta = {"frames": 9, "fps": 25.0}
            writer.add(f"k{i}", encode_sample(meta, target=target, source=source, cache=cache))
    command = [str(tmp_path / "pairs"), "--output", str(tmp_path / "out"), "--count", "2"]
    assert main([*command, "--decode", "--vae", str(vae)]) == 0
    printed = capsys.readouterr().out
    decoded = to_frames(codec.decode(latents[0][None])[0])
    assert f"target_latents decoded, {psnr(decoded, target):.1f} dB" in printed
    assert "3 of 9 frames, latents 4 x 4" in printed and f"vae {codec.fingerprint}" in printed
    assert "no finite number, 2400 NaN OR INFINITE" in printed
    sheets = sorted((tmp_path / "out").glob("*.png"))
    assert [sheet.name for sheet in sheets] == ["000000-k0.png", "000002-k2.png"]
    with_rows = cv2.imread(str(sheets[0])).shape[0]
    assert main(command) == 0
    assert cv2.imread(str(sheets[0])).shape[0] * 2 == with_rows


def test_what_cannot_be_decoded_is_refused(tmp_path, capsys):
    vae = toy_vae(tmp_path)
    write_pairs(tmp_path / "other", count=1, vae="0123")
    command = [str(tmp_path / "other"), "--output", str(tmp_path / "out"), "--decode"]
    assert main([*command, "--vae", str(vae)]) == 2
    assert "made by the autoencoder 0123" in capsys.readouterr().err
    assert main(command) == 2
    assert "--decode needs --vae" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*command[:-1], "--count", "0"]) == 2


def test_small_numbers():
    assert psnr(np.zeros((1, 2, 2, 3), np.uint8), np.zeros((1, 2, 2, 3), np.uint8)) == float("inf")
    assert psnr(np.zeros((1, 2, 2, 3), np.uint8), np.full((1, 2, 2, 3), 255, np.uint8)) == pytest.approx(0)
    assert list(spread(10, 3)) == [0, 4, 9] and list(spread(2, 5)) == [0, 1] and list(spread(5, 1)) == [0]
