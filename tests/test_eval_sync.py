"""Lips against sound: constructed clips and a constructed judge, whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest
from eval_clips import dubbed_clip, footage, speaking_curve

from evaluation.metrics.base import Better, Measure
from evaluation.metrics.lip_sync import Judge, LipSync, sync_scores, whole_windows
from evaluation.metrics.sound import same_recording

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
    values = LipSync(CurveJudge())(dubbed_clip(as_footage(late(speech, k)), speech=as_sound(speech)))
    assert values["sync_offset_toy"] == k
    good = LipSync(CurveJudge())(dubbed_clip(as_footage(speech), speech=as_sound(speech)))
    # A shift is told by the offset alone: distance and confidence are those of the best shift.
    assert values["lse_d_toy"] == pytest.approx(good["lse_d_toy"], rel=0.3, abs=0.5)
    assert values["lse_c_toy"] == pytest.approx(good["lse_c_toy"], rel=0.3)


def test_swapped_speech_is_far_and_without_confidence():
    speech, other = speaking_curve(N), speaking_curve(N, seed=1)
    judge = LipSync(CurveJudge())
    right = judge(dubbed_clip(as_footage(speech), speech=as_sound(speech)))
    wrong = judge(dubbed_clip(as_footage(speech), speech=as_sound(other)))
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
    whole = LipSync(CurveJudge())(dubbed_clip(made, speech=as_sound(speech)))
    cut = LipSync(CurveJudge())(dubbed_clip(made, footage(gap), speech=as_sound(speech)))
    assert cut["lse_d_toy"] < whole["lse_d_toy"] / 2


def test_own_sound_is_measured_against_itself():
    speech, other = speaking_curve(N), speaking_curve(N, seed=1)
    rng = np.random.default_rng(0)
    # Tones, not levels, tell whether two tracks are one recording.
    carrier = rng.normal(0, 1e-3, 640 * N).astype(np.float32)
    made = as_footage(late(other, 3), sound=as_sound(other - other.mean()) + carrier)
    third = speaking_curve(N, seed=2)
    source = as_footage(third, sound=as_sound(third - third.mean()))
    values = LipSync(CurveJudge())(dubbed_clip(made, source, speech=as_sound(speech - speech.mean())))
    assert values["async_toy"] == values["sync_offset_toy"] == 3
    same = as_footage(speech, sound=as_sound(speech))
    assert "async_toy" not in LipSync(CurveJudge())(dubbed_clip(same, speech=as_sound(speech)))


def test_a_coded_track_is_still_the_same():
    rng = np.random.default_rng(1)
    a, b = (rng.normal(0, 0.1, 32000).astype(np.float32) for _ in range(2))
    coded = 0.7 * np.roll(a, 1024) + rng.normal(0, 0.02, 32000).astype(np.float32)
    assert same_recording(a, coded) and not same_recording(a, b)
    assert not same_recording(a, np.zeros_like(a)) and same_recording(np.zeros_like(a), np.zeros_like(a))


def test_nothing_is_said_of_silence():
    still = as_footage(speaking_curve(N))
    measure = LipSync(CurveJudge())
    assert measure(dubbed_clip(still, speech=np.zeros(640 * N, np.float32))) == {}
    assert measure(dubbed_clip(still, kind="silence")) == {}


def test_every_metric_names_its_judge():
    measure = LipSync(CurveJudge())
    checked: Measure = measure
    judge: Judge = CurveJudge()
    assert all("(Toy)" in m.title and m.key.endswith(judge.key) for m in checked.metrics)
    assert {m.key: m.better for m in measure.metrics}["sync_offset_toy"] is Better.zero
    speech = speaking_curve(N)
    values = measure(dubbed_clip(as_footage(speech), speech=as_sound(speech)))
    assert set(values) <= {m.key for m in measure.metrics}
