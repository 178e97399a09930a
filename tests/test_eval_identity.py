"""CSIM, ID-P and ID-TC on embeddings whose cosines are known, and on frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_toys import arcface_onnx, toy_pack
from perception_clips import make_dubbed_clip, make_footage

from common.errors import UserError
from evaluation.dubbed_clip import DubbedClip
from evaluation.metrics.base import Better
from evaluation.metrics.identity import Identity, build_identity, csim, id_p, id_tc, softmax_mean

SIDE = 48


def _at(*degrees: float) -> np.ndarray:
    """(N, 2) vectors of other lengths at these angles; NaN: no face."""
    angles = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.arange(1, len(degrees) + 1)[:, None]


def test_csim_is_the_cosine_of_the_mean_embeddings() -> None:
    # Means at 10 and 70 degrees, whatever the lengths of the vectors.
    assert csim(_at(0, 20), _at(40, 100, np.nan)) == pytest.approx(0.5)
    assert csim(_at(np.nan, np.nan), _at(0, 0)) is None


def test_id_p_weighs_bad_frames_by_softmax() -> None:
    made, source = _at(0, 30, np.nan, 5), _at(0, 120, 0, np.nan)
    assert id_p(made, source) == pytest.approx(np.e / (1 + np.e))  # distances 0 and 1
    assert id_p(source, source) == pytest.approx(0, abs=1e-9)
    assert id_p(_at(np.nan, 0), _at(0, np.nan)) is None
    with pytest.raises(ValueError, match="2 made frames and 3 source"):
        id_p(_at(0, 0), _at(0, 0, 0))


def test_id_tc_compares_neighbours_only() -> None:
    # Neighbours: 60 degrees apart, then 90; nothing across the frame without a face.
    value = id_tc(_at(0, 60, np.nan, 10, 100))
    weights = np.exp([0.5, 1.0])
    assert value == pytest.approx((0.5 * weights[0] + weights[1]) / weights.sum())
    assert id_tc(_at(0, np.nan, 0)) is None
    assert id_tc(_at(0)) is None


@given(st.lists(st.floats(0, 2), min_size=1, max_size=30))
def test_the_weighted_mean_lies_between_mean_and_worst(scores: list[float]) -> None:
    value = softmax_mean(np.array(scores))
    assert value is not None and np.mean(scores) - 1e-9 <= value <= max(scores) + 1e-9


class _Colours:
    """A person is the colour of the picture."""

    fingerprint = "colours"

    def embed(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        assert np.isfinite(landmarks).all()
        return image.mean(axis=(0, 1)).astype(np.float32)


def _shades(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.stack([np.full((8, 8, 3), colour, np.uint8) for colour in colours])


def _clip(source: np.ndarray, made: np.ndarray, seen: list[bool] | None = None) -> DubbedClip:
    faces = None if seen is None else np.array(seen)
    return make_dubbed_clip(make_footage(source), make_footage(made, faces))


def test_a_copy_another_person_and_a_frozen_one() -> None:
    measure = Identity(_Colours())
    moving = _shades((200, 10, 10), (200, 60, 10), (200, 10, 60), (200, 60, 10))
    copy = measure(_clip(moving, moving))
    assert set(copy) == {metric.key for metric in measure.metrics}
    assert copy["csim"] == pytest.approx(1) and copy["id_p"] == pytest.approx(0, abs=1e-6)
    assert copy["id_tc_excess"] == pytest.approx(0, abs=1e-9) and copy["id_tc"] > 0.01
    other = measure(_clip(moving, moving[..., ::-1]))
    assert other["csim"] < 0.6 and other["id_p"] > 0.4
    assert other["id_tc"] == pytest.approx(copy["id_tc"])
    frozen = measure(_clip(moving, np.repeat(moving[:1], 4, axis=0)))
    assert frozen["id_tc"] == pytest.approx(0, abs=1e-6)
    assert frozen["id_tc_excess"] == pytest.approx(-copy["id_tc"], abs=1e-6)


def test_nothing_is_said_where_most_faces_are_gone() -> None:
    measure, frames = Identity(_Colours()), _shades(*[(90, 60, 30)] * 4)
    assert measure(_clip(frames, frames, [True, False, False, False])) == {}
    assert measure(_clip(frames, frames, [True, False, True, False])).keys() == {"csim", "id_p"}
    faceless = make_footage(frames, np.zeros(4, bool))
    assert measure(make_dubbed_clip(faceless, make_footage(frames))) == {}


def test_metrics_say_what_they_are() -> None:
    better = {metric.key: metric.better for metric in Identity(_Colours()).metrics}
    assert better == {
        "csim": Better.higher,
        "id_p": Better.lower,
        "id_tc": Better.lower,
        "id_tc_excess": Better.zero,
    }
    assert all("temperature 1" in m.formula for m in Identity.metrics if m.key in ("id_p", "id_tc"))


def test_arcface_of_a_pack_sees_a_copy_and_a_stranger(tmp_path: Path) -> None:
    measure, fact = build_identity("tiny", toy_pack(tmp_path))
    assert measure is not None and "tiny" in fact
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 3, SIDE, SIDE, 3), dtype=np.uint8)
    copy = measure(_clip(a, a))
    assert copy["csim"] == pytest.approx(1, abs=1e-5) and copy["id_p"] == pytest.approx(0, abs=1e-5)
    stranger = measure(_clip(a, b))
    assert stranger["csim"] < copy["csim"] - 1e-3 and stranger["id_p"] > 1e-3


def test_fingerprints_follow_the_weights(tmp_path: Path) -> None:
    marks = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        measure, _ = build_identity("tiny", toy_pack(tmp_path / name, seed=seed))
        assert measure is not None
        marks.append(measure.fingerprint)
    assert marks[0] == marks[1] != marks[2]


def test_an_absent_pack_is_said_and_a_broken_one_refused(tmp_path: Path) -> None:
    measure, fact = build_identity("absent", tmp_path)
    assert measure is None
    assert "'absent' is not installed" in fact and "CSIM" in fact and "mediapipe" not in fact
    onnx = arcface_onnx(tmp_path / "models" / "odd" / "w600k.onnx")
    for content in (b"", b"no network", onnx.read_bytes()[:5000]):
        onnx.write_bytes(content)
        with pytest.raises(UserError, match=r"w600k\.onnx' is damaged"):
            build_identity("odd", tmp_path)
