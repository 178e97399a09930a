"""Sync, mouth curves, LMD, MAR: constructed clips whose numbers are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from eval_takes import footage, landmarks, speaking_curve, take
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.files import sha256_file
from common.models.sync_expert import SyncExpert
from evaluation.metrics.base import Better, Measure
from evaluation.metrics.lip_sync import Judge, LipSync, same_sound, sync_scores, whole_windows
from evaluation.metrics.lmd import LandmarkDistance
from evaluation.metrics.mar import MouthAspectRatio, mouth_aspect_ratio
from evaluation.metrics.mouth_curve import MouthCurve, agreement
from evaluation.networks.mfcc import mfcc
from evaluation.networks.own_judge import OwnJudge, default_judge_path
from evaluation.networks.syncnet import SyncNet, SyncNetJudge

N = 75


class CurveJudge:
    """Hears the mouth: frames carry an opening as grey, the sound carries one as the level of each frame."""

    key, name, window, reach, cosine, fingerprint = "toy", "Toy", 5, 15, False, "toy"

    def distances(self, frames, sound):
        seen = frames[:, 0, 0, 0].astype(float)
        heard = sound.reshape(-1, 640).mean(axis=1) * 255
        starts = len(frames) - self.window + 1
        lips, words = (np.lib.stride_tricks.sliding_window_view(x, self.window) for x in (seen, heard))
        found = np.full((starts, 2 * self.reach + 1), np.nan)
        for j in range(-self.reach, self.reach + 1):
            rows = np.arange(max(0, -j), min(starts, len(words) - j))
            found[rows, j + self.reach] = np.linalg.norm(lips[rows] - words[rows + j], axis=1)
        return found


def as_sound(curve):
    return np.repeat(curve, 640).astype(np.float32)


def as_footage(curve, **known):
    grey = np.rint(255 * np.nan_to_num(curve)).astype(np.uint8)
    crops = np.repeat(grey[:, None], 16 * 16 * 3, axis=1).reshape(len(curve), 16, 16, 3)
    return footage(curve, crops=crops, **known)


def late(curve, k):
    """The curve, k frames later; the ends are held."""
    return curve[np.clip(np.arange(len(curve)) - k, 0, len(curve) - 1)]


@pytest.mark.parametrize("k", [-6, -1, 0, 2, 5])
def test_late_lips_have_a_positive_offset(k):
    speech = speaking_curve(N)
    values = LipSync(CurveJudge())(take(as_footage(late(speech, k)), speech=as_sound(speech)))
    assert values["sync_offset_toy"] == k
    good = LipSync(CurveJudge())(take(as_footage(speech), speech=as_sound(speech)))
    # A shift is told by the offset alone: distance and confidence are those of the best shift.
    assert values["lse_d_toy"] == pytest.approx(good["lse_d_toy"], rel=0.3, abs=0.5)
    assert values["lse_c_toy"] == pytest.approx(good["lse_c_toy"], rel=0.3)


def test_swapped_speech_is_far_and_without_confidence():
    speech, other = speaking_curve(N), speaking_curve(N, seed=1)
    judge = LipSync(CurveJudge())
    right = judge(take(as_footage(speech), speech=as_sound(speech)))
    wrong = judge(take(as_footage(speech), speech=as_sound(other)))
    assert wrong["lse_d_toy"] > 10 * right["lse_d_toy"]
    assert wrong["lse_c_toy"] < right["lse_c_toy"] / 3


def test_scores_follow_their_formulas():
    distances = np.full((20, 31), 9.0)
    distances[:, 15 - 4] = 6.0
    distances[::2, 15] = 8.0
    scores = sync_scores(distances)
    assert scores.lse_d == 6.0 and scores.lse_c == 3.0 and scores.offset == 4 and scores.at_zero == 8.5
    assert sync_scores(distances[:7]) is None
    # A shift that few windows can try does not win with a lucky one.
    distances[:, 0] = np.nan
    distances[3, 0] = 0.0
    assert sync_scores(distances) == scores


def test_windows_over_a_gap_in_the_face_are_left_out():
    present = np.ones(12, bool)
    present[6] = False
    assert whole_windows(present, 8, 5).tolist() == [True, True] + [False] * 5 + [True]
    speech = speaking_curve(N)
    made = as_footage(speech)
    made.crops[30] = 255
    gap = np.full(N, 0.1)
    gap[30] = np.nan
    whole = LipSync(CurveJudge())(take(made, speech=as_sound(speech)))
    cut = LipSync(CurveJudge())(take(made, footage(gap), speech=as_sound(speech)))
    assert cut["lse_d_toy"] < whole["lse_d_toy"] / 2


def test_own_sound_is_measured_against_itself():
    speech, other = speaking_curve(N), speaking_curve(N, seed=1)
    rng = np.random.default_rng(0)
    # Tones, not levels, tell whether two tracks are one recording.
    carrier = rng.normal(0, 1e-3, 640 * N).astype(np.float32)
    made = as_footage(late(other, 3), sound=as_sound(other - other.mean()) + carrier)
    values = LipSync(CurveJudge())(take(made, speech=as_sound(speech - speech.mean())))
    assert values["async_toy"] == 3
    same = as_footage(speech, sound=as_sound(speech))
    assert "async_toy" not in LipSync(CurveJudge())(take(same, speech=as_sound(speech)))


def test_a_coded_track_is_still_the_same():
    rng = np.random.default_rng(1)
    a, b = (rng.normal(0, 0.1, 32000).astype(np.float32) for _ in range(2))
    coded = 0.7 * np.roll(a, 1024) + rng.normal(0, 0.02, 32000).astype(np.float32)
    assert same_sound(a, coded) and not same_sound(a, b)
    assert not same_sound(a, np.zeros_like(a)) and same_sound(np.zeros_like(a), np.zeros_like(a))


def test_nothing_is_said_of_silence():
    still = as_footage(speaking_curve(N))
    measure = LipSync(CurveJudge())
    assert measure(take(still, speech=np.zeros(640 * N, np.float32))) == {}
    assert measure(take(still, kind="silence")) == {}


def test_every_metric_names_its_judge():
    measure = LipSync(CurveJudge())
    checked: Measure = measure
    judge: Judge = CurveJudge()
    assert all("(Toy)" in m.title and m.key.endswith(judge.key) for m in checked.metrics)
    assert {m.key: m.better for m in measure.metrics}["sync_offset_toy"] is Better.zero
    speech = speaking_curve(N)
    values = measure(take(as_footage(speech), speech=as_sound(speech)))
    assert set(values) <= {m.key for m in measure.metrics}


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
    assert judge.name == "own judge mine" and judge.window == 4
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
    values = LipSync(OwnJudge(tmp_path / "mine"))(take(footage(speaking_curve(N))))
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


@pytest.mark.parametrize("k", [-4, 0, 3])
def test_mouth_lag_is_the_shift(k):
    driver = speaking_curve(N)
    values = agreement(late(driver, k), driver)
    assert values["mouth_lag"] == k
    assert values["mouth_r_best"] > 0.99
    assert (values["mouth_r"] > 0.99) == (k == 0)
    assert values["mouth_gain"] == pytest.approx(1, abs=0.1)


def test_a_mouth_that_hardly_moves_is_told_by_its_gain():
    driver = speaking_curve(N)
    small = agreement(0.1 + 0.1 * driver, driver)
    assert small["mouth_r"] == pytest.approx(1) and small["mouth_gain"] == pytest.approx(0.1)
    frozen = agreement(np.full(N, 0.1), driver)
    assert frozen == {"mouth_gain": 0.0}


def test_other_speech_has_no_r_and_no_lag():
    driver = speaking_curve(200)
    values = agreement(speaking_curve(200, seed=4), driver)
    assert abs(values["mouth_r"]) < 0.4 and "mouth_lag" not in values
    assert values["mouth_gain"] == pytest.approx(1, abs=0.3)


def test_mouth_curve_needs_a_driver_and_enough_frames():
    driver = speaking_curve(N)
    measure = MouthCurve()
    made = footage(driver)
    assert set(measure(take(made, driver_opening=driver))) == {m.key for m in measure.metrics}
    assert measure(take(made)) == {}
    assert measure(take(made, driver_opening=driver, kind="silence")) == {}
    hidden = driver.copy()
    hidden[11:] = np.nan
    assert measure(take(made, driver_opening=hidden)) == {}
    assert measure(take(made, driver_opening=np.full(N, 0.1))) == {}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5), st.floats(-0.5, 0.5))
def test_r_does_not_depend_on_scale_or_rest(seed, gain, rest):
    made, driver = speaking_curve(40, seed), speaking_curve(40, seed + 1)
    plain, moved = agreement(made, driver), agreement(gain * made + rest, driver)
    assert moved["mouth_r"] == pytest.approx(plain["mouth_r"], abs=1e-9)
    assert moved["mouth_gain"] == pytest.approx(gain * plain["mouth_gain"])


def test_lmd_is_the_distance_in_an_aligned_face():
    still = np.full(20, 0.1)
    true, made = footage(still), footage(still)
    moved = made.landmarks.copy()
    moved[:, 48:68, 0] += 8.0  # a tenth of the eye-corner distance, which is 35.24 / .692 px when aligned
    # Size and place of the made face do not count.
    moved[..., :2] = 1.3 * moved[..., :2] + 11
    values = LandmarkDistance()(take(replace(made, landmarks=moved), truth=true))
    assert values["lmd"] == pytest.approx(0.1 * 35.24 / 0.692, rel=1e-4)
    assert LandmarkDistance()(take(made, truth=true))["lmd"] == pytest.approx(0, abs=1e-4)
    assert LandmarkDistance()(take(made)) == {}
    assert LandmarkDistance()(take(made, truth=footage(np.full(20, np.nan)))) == {}


def test_mouth_aspect_ratio_is_height_over_width():
    opening = np.array([0.0, 0.1, np.nan])
    points = landmarks(np.nan_to_num(opening))
    points[2] = np.nan
    width = np.linalg.norm(points[0, 60, :2] - points[0, 64, :2])
    ratio = mouth_aspect_ratio(points)
    assert ratio[0] == pytest.approx(0, abs=1e-6) and np.isnan(ratio[2])
    assert ratio[1] == pytest.approx(0.1 * 80 / width, rel=1e-4)
    assert mouth_aspect_ratio(3 * points)[1] == pytest.approx(ratio[1], rel=1e-5)


def test_a_frozen_mouth_has_no_diversity():
    measure = MouthAspectRatio()
    talking = measure(take(footage(speaking_curve(N))))["mar_div"]
    assert measure(take(footage(np.full(N, 0.1))))["mar_div"] < 0.01 * talking
    assert measure(take(footage(speaking_curve(N)), kind="silence")) == {}
    assert measure(take(footage(np.full(N, np.nan)))) == {}
