"""Metrics against failures: numbers of toy metrics, the table and its words, the tool on rendered pairs."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from perfect_dubs import perfect_dub

from common.rendered.__main__ import main as render
from evaluation.metrics.base import Better, Kind, Metric
from evaluation.sensitivity import build_sensitivity, markdown, verdicts

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import metric_matrix


def metric(key, better, unit="", kinds=tuple(Kind)):
    return Metric(key, key, unit, better, "toy", "test", "toy", kinds)


class Toy:
    """A measure from a function take -> value or None."""

    fingerprint = "toy"

    def __init__(self, key, better, value, unit="", kinds=tuple(Kind)):
        self.metrics = (metric(key, better, unit, kinds),)
        self.value = value

    def __call__(self, clip):
        found = self.value(clip)
        return {} if found is None else {self.metrics[0].key: float(found)}


def both(clip):
    """Openings of dub and driver in the frames that have both; None where either stands still."""
    seen = np.isfinite(clip.made.opening) & np.isfinite(clip.driver_opening)
    curves = clip.made.opening[seen], clip.driver_opening[seen]
    return curves if min(np.std(c) for c in curves) > 1e-3 else None


def correlation(clip):
    curves = both(clip)
    return None if curves is None else np.corrcoef(*curves)[0, 1]


def lag(clip):
    """Frames by which the made mouth is late, by the best of 17 correlations."""
    curves = both(clip)
    if curves is None:
        return None
    made, driver = curves
    shifts = range(-8, 9)
    scores = [np.corrcoef(driver[8:-8], made[8 + s : len(made) - 8 + s])[0, 1] for s in shifts]
    return shifts[int(np.argmax(scores))]


def gain(clip):
    driver = np.nanstd(clip.driver_opening)
    return None if driver < 1e-3 else np.nanstd(clip.made.opening) / driver


MEASURES = [
    Toy("mouth_r", Better.higher, correlation),
    Toy("mouth_lag", Better.zero, lag, unit="frames"),
    Toy("mouth_gain", Better.one, gain),
    Toy("sharpness_mouth", Better.one, lambda clip: clip.made.native["sharpness"].mean() / 100),
    Toy("face_level", Better.none, lambda clip: clip.made.crops[clip.regions.face].mean()),
    Toy("hush", Better.lower, lambda clip: 1.0, kinds=(Kind.silence,)),
]


@pytest.fixture(scope="module")
def matrix():
    return build_sensitivity([perfect_dub(seed) for seed in (0, 1, 2)], MEASURES)


def test_each_toy_metric_catches_the_failure_it_is_for_and_leaves_the_blind_ones(matrix):
    caught = {name for (key, name), cell in matrix.cells.items() if cell.caught and key == "mouth_lag"}
    assert "shift" in caught and not caught & {"blurred", "box", "drift"}
    assert matrix.cells["mouth_r", "swapped"].caught
    assert matrix.cells["mouth_gain", "frozen"].caught
    assert not matrix.cells["mouth_gain", "shift"].caught
    blurred = {key for (key, name), cell in matrix.cells.items() if name == "blurred" and cell.caught}
    assert blurred == {"sharpness_mouth"}


def test_a_change_is_counted_in_spreads(matrix):
    # The driver says when: the lag is 0 on every clean clip, and half a frame is the smallest step.
    assert (matrix.clean["mouth_lag"], matrix.spread["mouth_lag"]) == (0, 0.5)
    assert matrix.cells["mouth_lag", "shift"].change == 10
    assert (
        matrix.cells["sharpness_mouth", "blurred"].change
        < 0
        < matrix.cells["sharpness_mouth", "blurred"].worse
    )


def test_the_spread_is_the_robust_one_of_the_clean_clips():
    levels = {"toy0": 10.0, "toy1": 12.0, "toy2": 50.0}
    found = build_sensitivity(
        [perfect_dub(seed, count=20) for seed in (0, 1, 2)],
        [Toy("level", Better.lower, lambda clip: levels[clip.name])],
    )
    assert found.clean["level"] == 12
    assert found.spread["level"] == pytest.approx(1.4826 * 2)
    assert all(cell.change == 0 and not cell.caught for cell in found.cells.values())


def test_only_a_change_for_the_worse_is_caught():
    clips = [perfect_dub(seed, count=20) for seed in (0, 1)]
    level = lambda clip: clip.made.crops.mean()  # noqa: E731
    for better, expected in ((Better.lower, True), (Better.higher, False), (Better.none, True)):
        # 1 level of spread at least: in % so that the toy's unit has that step.
        cell = build_sensitivity(clips, [Toy("level", better, level, unit="ms")]).cells["level", "box"]
        assert cell.change > 0 and (cell.worse > 0) is expected


def test_a_metric_that_is_taken_away_or_never_there_is_said(matrix):
    assert ("mouth_r", "frozen") not in matrix.cells
    assert matrix.missing == ("hush",)
    assert "`hush`" in markdown(matrix).splitlines()[-1]


def test_words_say_who_catches_and_who_misses(matrix):
    shift, swapped, frozen, blurred, box, _ = verdicts(matrix)
    assert shift.startswith("lips 5 frames late: caught by ") and "mouth_lag (meant)" in shift
    assert "not measured: sync_offset" in shift
    assert "mouth_r (meant)" in swapped and "mouth_gain (meant)" in frozen
    assert blurred.startswith("mouth blurred, 2 px: caught by sharpness_mouth (meant); not by mouth_r,")
    assert "not measured: patch_edge" in box
    deaf = build_sensitivity(
        [perfect_dub(seed, count=20) for seed in (0, 1)],
        [Toy("patch_edge", Better.lower, lambda clip: 1.0)],
    )
    assert "MISSED by patch_edge (meant)" in verdicts(deaf)[4]


def test_the_table_has_a_row_per_metric_a_column_per_failure_and_bold_for_the_meant(matrix):
    lines = [line for line in markdown(matrix).splitlines() if line.startswith("|")]
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    assert len(lines) == 2 + len(matrix.metrics) and {len(row) for row in cells} == {4 + 6}
    row = {r[0].strip("`"): r for r in cells[2:]}
    column = {title: i for i, title in enumerate(cells[0])}
    assert row["mouth_lag"][column["lips 5 frames late"]] == "**+10.0▲**"
    assert row["mouth_lag"][column["clean"]] == "0 frames"
    assert row["mouth_r"][column["frozen mouth"]] == "gone"
    bold = {(k, t) for k, r in row.items() for t, i in column.items() if r[i].startswith("**")}
    assert bold == {
        ("mouth_lag", "lips 5 frames late"),
        ("mouth_r", "other speech"),
        ("mouth_gain", "frozen mouth"),
        ("sharpness_mouth", "mouth blurred, 2 px"),
    }


def test_what_makes_no_matrix_is_refused():
    with pytest.raises(ValueError, match="two clips"):
        build_sensitivity([perfect_dub(0, count=5)], MEASURES)
    with pytest.raises(ValueError, match="mouth_r"):
        build_sensitivity([perfect_dub(s, count=5) for s in (0, 1)], [*MEASURES, MEASURES[0]])
    broken = Toy("broken", Better.lower, lambda clip: float("nan"))
    with pytest.raises(ValueError, match="'broken' of toy0 is nan"):
        build_sensitivity([perfect_dub(s, count=5) for s in (0, 1)], [broken])


def test_the_tool_measures_rendered_pairs(tmp_path, monkeypatch, capsys):
    words = ["--count", "2", "--seed", "1000004", "--seconds", "0.4", "--size", "96", "--occluder", "none"]
    assert render(["--output", str(tmp_path), *words, "--pairs", "--workers", "1"]) == 0
    clip = metric_matrix.perfect_dub(tmp_path, "r1000004", size=64)
    assert clip.source.crops.shape == (10, 64, 64, 3) and clip.regions.occluder is None
    # The truth, once more through an encoder.
    assert 0 < np.abs(clip.made.crops.astype(int) - clip.truth.crops).mean() < 3
    assert {"sharpness", "outside_mse"} <= set(clip.made.native)
    # What is measured in the pictures agrees with what was drawn.
    assert np.abs(clip.made.opening - clip.driver_opening).max() < 0.05
    registry = types.ModuleType("evaluation.registry")
    registry.load_measures = lambda: types.SimpleNamespace(clip=(MEASURES[0], MEASURES[2]))
    monkeypatch.setitem(sys.modules, "evaluation.registry", registry)
    capsys.readouterr()
    output = tmp_path / "matrix.md"
    command = ["--clips", str(tmp_path), "--size", "64", "--output", str(output)]
    assert metric_matrix.main(command) == 0
    assert "`mouth_gain`" in output.read_text()


def test_the_tool_says_what_is_missing(tmp_path, capsys):
    assert metric_matrix.main(["--clips", str(tmp_path)]) == 2
    assert "0 of its 0 rendered pairs" in capsys.readouterr().err
