"""The judge networks: names, conventions, files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from eval_clips import dubbed_clip, footage, speaking_curve

from common.errors import UserError
from common.files import sha256_file
from common.sync_expert.model import SyncExpert
from evaluation.command import EvaluationRequest, plan_lines
from evaluation.metrics.lip_sync import LipSync
from evaluation.networks.alexnet import AlexNet
from evaluation.networks.mfcc import mfcc
from evaluation.networks.own_judge import OwnJudge, default_judge_path
from evaluation.networks.syncnet import SyncNet, SyncNetJudge

# What the public file holds: tower -> (position, shape of the weight) of convolutions and linear layers.
PUBLIC = {
    "netcnnaud": {
        0: (64, 1, 3, 3),
        4: (192, 64, 3, 3),
        8: (384, 192, 3, 3),
        11: (256, 384, 3, 3),
        14: (256, 256, 3, 3),
        18: (512, 256, 5, 4),
    },
    "netcnnlip": {
        0: (96, 3, 5, 7, 7),
        4: (256, 96, 1, 5, 5),
        8: (256, 256, 1, 3, 3),
        11: (256, 256, 1, 3, 3),
        14: (256, 256, 1, 3, 3),
        18: (512, 256, 1, 6, 6),
    },
    "netfcaud": {0: (512, 512), 3: (1024, 512)},
    "netfclip": {0: (512, 512), 3: (1024, 512)},
}


def test_syncnet_has_the_public_names():
    shapes = {k: tuple(v.shape) for k, v in SyncNet().state_dict().items()}
    expected = {}
    for tower, layers in PUBLIC.items():
        for at, shape in layers.items():
            expected[f"{tower}.{at}.weight"] = shape
            expected[f"{tower}.{at}.bias"] = shape[:1]
            if shape != (1024, 512):
                for part in ("weight", "bias", "running_mean", "running_var"):
                    expected[f"{tower}.{at + 1}.{part}"] = shape[:1]
                expected[f"{tower}.{at + 1}.num_batches_tracked"] = ()
    assert shapes == expected


@pytest.fixture(scope="module")
def syncnet(tmp_path_factory):
    """A file as old torch wrote it: random weights, no counters."""
    torch.manual_seed(0)
    net = SyncNet()
    path = tmp_path_factory.mktemp("syncnet") / "syncnet_v2.model"
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return net.eval(), path


def test_syncnet_judge_is_the_public_evaluation(syncnet):
    net, path = syncnet
    judge = SyncNetJudge(path)
    assert sha256_file(path)[:16] in judge.fingerprint
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (7, 224, 224, 3), dtype=np.uint8)
    sound = rng.normal(0, 0.1, 7 * 640).astype(np.float32)
    found = judge.distances(frames, sound)
    # As many windows as the public code looks at: frames - 5.
    assert found.shape == (2, 31)
    with torch.no_grad():
        bgr = torch.from_numpy(frames[1:6, :, :, ::-1].copy()).permute(3, 0, 1, 2).float()
        lips = net.embed_frames(bgr[None])[0]
        heard = [
            net.embed_sound(torch.from_numpy(mfcc(sound)[4 * s : 4 * s + 20].T.copy()).float()[None, None])[0]
            for s in (0, 1)
        ]
    assert lips.shape == (1024,)
    assert found[1, 15] == pytest.approx(float((lips - heard[1]).norm()), rel=1e-3)
    assert found[1, 14] == pytest.approx(float((lips - heard[0]).norm()), rel=1e-3)
    assert found[1, 16] == pytest.approx(float(lips.norm()), rel=1e-3)  # beyond the end: zeros
    assert judge.distances(frames[:5], sound).shape == (0, 31)


def test_every_judge_network_goes_to_the_device_that_was_asked_for(syncnet, tmp_path, monkeypatch):
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "syncnet_v2.model").symlink_to(syncnet[1])
    torch.save(AlexNet().state_dict(), weights / "alexnet-owt-7be5be79.pth")
    linears = {f"lin{i}.model.1.weight": torch.ones(1, n, 1, 1) for i, n in enumerate(AlexNet.channels)}
    torch.save(linears, weights / "alex.pth")
    moved = {}

    def remember(network, device):
        moved[type(network).__name__] = str(device)
        return network

    # A machine with a GPU, as far as the choice of the device goes.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.nn.Module, "to", remember)
    plan_lines(EvaluationRequest("t", (), tmp_path / "out", ("copy",), weights=weights, device="cuda"))
    assert moved == dict.fromkeys(("SyncExpert", "SyncNet", "Lpips"), "cuda")


def test_syncnet_files_that_are_none_are_refused(syncnet, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        SyncNetJudge(tmp_path / "absent.model")
    broken = tmp_path / "broken.model"
    broken.write_bytes(b"no tensors at all")
    with pytest.raises(UserError, match=r"broken\.model.*cannot be read"):
        SyncNetJudge(broken)
    state = syncnet[0].state_dict()
    del state["netfclip.3.weight"]
    state["netcnnlip.0.bias"] = torch.zeros(3)
    torch.save(state, broken)
    with pytest.raises(UserError, match=r"netfclip\.3\.weight, netcnnlip\.0\.bias") as told:
        SyncNetJudge(broken)
    assert "netfcaud" not in str(told.value)


def one_frame(samples):
    """Cepstra of 400 integer samples, sum by sum."""
    x = [samples[0]] + [samples[i] - 0.97 * samples[i - 1] for i in range(1, 400)]
    power = [
        abs(sum(v * np.exp(-2j * np.pi * b * i / 512) for i, v in enumerate(x))) ** 2 / 512
        for b in range(257)
    ]
    mel = [2595 * np.log10(1 + 8000 / 700) * i / 27 for i in range(28)]
    corner = [int(513 * 700 * (10 ** (m / 2595) - 1) / 16000) for m in mel]
    bands = []
    for j in range(26):
        low, mid, high = corner[j : j + 3]
        up = sum(power[b] * (b - low) / (mid - low) for b in range(low, mid))
        bands.append(np.log(up + sum(power[b] * (high - b) / (high - mid) for b in range(mid, high))))
    cepstra = [
        np.sqrt(2 / 26) * sum(v * np.cos(np.pi * q * (i + 0.5) / 26) for i, v in enumerate(bands))
        for q in range(13)
    ]
    lifted = [c * (1 + 11 * np.sin(np.pi * q / 22)) for q, c in enumerate(cepstra)]
    return [np.log(sum(power)), *lifted[1:]]


def test_mfcc_keeps_the_conventions():
    samples = np.random.default_rng(0).integers(-8000, 8000, 400)
    found = mfcc(samples / 32768)
    assert found.shape == (1, 13)
    np.testing.assert_allclose(found[0], one_frame(samples.tolist()), rtol=1e-9, atol=1e-9)
    # 25 ms windows every 10 ms, the last one filled up: 4 N - 1 frames of N video frames.
    assert len(mfcc(np.zeros(640 * 10))) == 39
    silence = mfcc(np.zeros(400))[0]
    assert silence[0] == pytest.approx(np.log(np.finfo(float).eps))


def test_own_judge_equals_the_expert_and_hears_shifts(tmp_path):
    torch.manual_seed(0)
    SyncExpert(crop_size=16, frames=4, widths=(8, 8), embed_dim=8).eval().save_pretrained(tmp_path / "mine")
    judge = OwnJudge(tmp_path / "mine")
    assert judge.name == "own mine" and judge.window == 4
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
    sound = rng.normal(0, 0.1, 9 * 640).astype(np.float32)
    found = judge.distances(frames, sound)
    assert found.shape == (6, 31)
    with torch.no_grad():
        video = torch.from_numpy(frames[2:6]).permute(3, 0, 1, 2).float()[None] / 127.5 - 1
        features = torch.from_numpy(judge.speech.encode(sound))[2 * 3 : 2 * 3 + 8][None]
        cosine = float((judge.expert.embed_frames(video) * judge.expert.embed_features(features)).sum())
    assert found[2, 15 + 1] == pytest.approx(1 - cosine, abs=1e-5)
    # No sound before the clip or after it is made up.
    assert np.isnan(found[0, :15]).all() and np.isnan(found[5, 16:]).all() and np.isfinite(found[:, 15]).all()
    values = LipSync(judge)(dubbed_clip(footage(speaking_curve(20))))
    assert values["sync_score_own"] <= 1 - values["lse_d_own"] + 1e-6


def test_own_judge_refuses_other_ears_and_empty_folders(tmp_path, monkeypatch):
    SyncExpert(crop_size=16, widths=(8, 8), embed_dim=8, speech="other").save_pretrained(tmp_path / "deaf")
    with pytest.raises(UserError, match="another speech encoder"):
        OwnJudge(tmp_path / "deaf")
    monkeypatch.setenv("BOOTDUB_SYNC_JUDGE", str(tmp_path))
    with pytest.raises(UserError, match="BOOTDUB_SYNC_JUDGE"):
        default_judge_path()


def test_the_shipped_judge_loads(monkeypatch):
    monkeypatch.delenv("BOOTDUB_SYNC_JUDGE", raising=False)
    assert default_judge_path() == Path(__file__).resolve().parent.parent / "models" / "sync-judge"
    judge = OwnJudge()
    assert judge.expert.dtype == torch.float32 and judge.window == 16
    assert "_name_or_path" not in (default_judge_path() / "config.json").read_text()
