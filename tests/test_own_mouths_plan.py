"""Which moment lends its mouth to which frame, and which shapes speech asks for."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_mouth_clips import bank_of, gap_shape, talker

from common.face.mouth import LIP_GAPS, LIP_SHAPE_UNIT
from common.own_mouths import plan as planning
from common.own_mouths.bank import Bank
from common.own_mouths.goal import WITH_GAP, filmed_gap
from common.own_mouths.plan import FADE, MouthPlan, MouthPlanner
from common.own_mouths.wanted import FEATURE_RATE, calibrated, sharpened, silence, wanted_shapes


def _angles(bank: Bank, count: int) -> np.ndarray:
    return np.repeat(bank.heads.angles[:1], count, axis=0)


def _wavy(count: int, seed: int = 0) -> np.ndarray:
    """Gaps of somebody who speaks: between 0.02 and 0.28, never twice the same way."""
    t = np.arange(count) + 13 * seed
    return 0.15 + 0.08 * np.sin(0.7 * t) + 0.05 * np.sin(1.9 * t + 1)


class TestChoice:
    def test_a_clip_that_says_what_it_said_takes_itself(self) -> None:
        clip = talker()
        bank = clip.bank()
        plan = MouthPlanner(bank).plan(bank.shapes, clip.heads.angles, bank.sharpness)
        np.testing.assert_array_equal(plan.moments, np.arange(len(clip)))
        assert not plan.jumps.any() and plan.covered.all() and len(plan) == len(clip)

    def test_another_order_of_the_same_words_takes_them_in_that_order(self) -> None:
        gaps = _wavy(120)
        bank = bank_of(gaps)
        order = np.concatenate([np.arange(80, 110), np.arange(20, 50)])
        plan = MouthPlanner(bank).plan(bank.shapes[order], _angles(bank, 60))
        assert (plan.moments == order).mean() > 0.85
        assert np.abs(gaps[plan.moments] - gaps[order]).max() < 0.06
        assert 1 <= plan.jumps.sum() <= 4 and not plan.jumps[0]

    def test_forbidden_moments_are_not_taken(self) -> None:
        bank = bank_of(_wavy(100))
        near = np.abs(np.arange(100)[:, None] - np.arange(100)) <= 10
        plan = MouthPlanner(bank).plan(bank.shapes, _angles(bank, 100), None, near)
        assert (np.abs(plan.moments - np.arange(100)) > 10).all()
        assert np.abs(bank.shapes[plan.moments, 1] - bank.shapes[:, 1]).mean() < 1.0

    def test_heads_that_are_held_alike_are_preferred(self) -> None:
        yaw = np.repeat([0.0, 15.0], 30)
        bank = bank_of(np.tile(_wavy(30), 2), yaw=yaw)
        planner = MouthPlanner(bank)
        for part in (slice(0, 30), slice(30, 60)):
            plan = planner.plan(bank.shapes[:30], bank.heads.angles[part])
            np.testing.assert_array_equal(plan.moments, np.arange(60)[part])

    def test_a_moment_softer_than_the_frame_is_avoided(self) -> None:
        bank = bank_of(np.tile(_wavy(30), 2))
        soft = np.repeat([1.0, 20.0], 30)
        plan = MouthPlanner(replace(bank, sharpness=soft)).plan(
            bank.shapes[:30], _angles(bank, 30), np.full(30, 20.0)
        )
        assert (plan.moments >= 30).all()

    def test_small_gains_are_not_worth_a_jump(self) -> None:
        """A run that fits well goes on, though single moments elsewhere fit a little better."""
        draw = np.random.default_rng(0)
        gaps = _wavy(100)
        gaps[50:] = gaps[:50] + draw.normal(0, 0.004, 50)
        bank = bank_of(gaps)
        wanted = gap_shape(gaps[:50] + draw.normal(0, 0.004, 50))
        plan = MouthPlanner(bank).plan(wanted, _angles(bank, 50))
        assert plan.jumps.sum() <= 1

    def test_jumps_land_where_the_mouth_looks_alike(self) -> None:
        gaps = np.concatenate(
            [np.linspace(0.02, 0.2, 15), np.linspace(0.2, 0.02, 15), np.linspace(0.2, 0.02, 15)]
        )
        looks = np.zeros((45, 6))
        looks[15:30] = 3.0
        bank = bank_of(gaps, frames=np.arange(45) + 10 * (np.arange(45) // 15), looks=looks)
        wanted = gap_shape(np.concatenate([gaps[:15], gaps[30:]]))
        plan = MouthPlanner(bank).plan(wanted, _angles(bank, 30))
        assert (plan.moments[16:] >= 30).all()

    @pytest.mark.parametrize("closure", [3, 14])
    def test_lips_that_shall_be_closed_are_taken_from_closed_ones(self, closure: int) -> None:
        gaps = np.concatenate([_wavy(40) + 0.05, np.full(20, 0.0), _wavy(40, 2) + 0.05])
        bank = bank_of(gaps)
        said = _wavy(50, 1) + 0.05
        said[20 : 20 + closure] = 0.0
        plan = MouthPlanner(bank).plan(gap_shape(said), _angles(bank, 50))
        assert gaps[plan.moments[20 : 20 + closure]].max() < 0.06
        assert np.abs(gaps[plan.moments] - said).mean() < 0.05

    @pytest.mark.parametrize("grimacing", [False, True])
    def test_in_clips_of_grimaces_straight_mouths_are_preferred(self, grimacing: bool) -> None:
        """Landmarks of a mouth that is pulled aside lie where a straight one would have them."""
        looks = np.zeros((90, 14, 24))
        looks[:30, 5:9, 3:11] = 2.0  # on one side alone
        looks[30:, 5:9, 3:21] = 2.0
        bank = bank_of(np.tile(_wavy(30), 3), looks=looks.reshape(90, -1))
        expressions = np.full((90, 3), 0.05 if grimacing else 0.0)
        wanted = gap_shape(_wavy(30) + np.random.default_rng(0).normal(0, 0.004, 30))
        plan = MouthPlanner(replace(bank, expressions=expressions)).plan(wanted, _angles(bank, 30))
        assert bank.askew[:30].min() > 2 * bank.askew[30:].max()
        assert (plan.moments >= 30).all() if grimacing else (plan.moments < 30).any()

    def test_in_silence_closed_lips_are_worth_another_turn_of_the_head(self) -> None:
        """A bend leaves a dark line where lips were parted."""
        bank = bank_of(np.repeat([0.03, 0.0], 30), yaw=np.repeat([0.0, 5.0], 30))
        plan = MouthPlanner(bank).plan(gap_shape(np.zeros(20)), _angles(bank, 20))
        assert (plan.moments >= 30).all()


class TestCoverage:
    def test_gaps_that_no_moment_can_show_are_not_covered(self) -> None:
        bank = bank_of(np.linspace(0.0, 0.08, 30))
        wanted = gap_shape(np.concatenate([np.full(15, 0.05), np.full(15, 0.45)]))
        plan = MouthPlanner(bank).plan(wanted, _angles(bank, 30))
        assert plan.covered[:14].all() and not plan.covered[16:].any()

    def test_a_mouth_can_always_be_closed(self) -> None:
        bank = bank_of(np.full(20, 0.2))
        assert MouthPlanner(bank).plan(gap_shape(np.zeros(20)), _angles(bank, 20)).covered.all()

    def test_a_head_that_is_turned_away_is_not_covered(self) -> None:
        bank = bank_of(_wavy(30))
        planner, turned = MouthPlanner(bank), _angles(bank, 30)
        turned[10:20, 0] += 1.0
        plan = planner.plan(bank.shapes, turned)
        np.testing.assert_array_equal(plan.covered, (np.arange(30) < 10) | (np.arange(30) >= 20))
        nodding = _angles(bank, 30)
        nodding[:, 1] += 1.0
        assert not planner.plan(bank.shapes, nodding).covered.any()
        rolling = _angles(bank, 30)
        rolling[:, 2] += 0.3
        assert planner.plan(bank.shapes, rolling).covered.all(), "a roll is no other view"


class TestBlocks:
    def test_long_clips_are_planned_in_blocks_that_join_without_a_seam(self, monkeypatch) -> None:
        bank = bank_of(_wavy(150))
        wanted = gap_shape(np.concatenate([_wavy(90, 1), _wavy(110)[20:], _wavy(100, 3)]))
        planner, angles = MouthPlanner(bank), _angles(bank, len(wanted))
        whole = planner.plan(wanted, angles)
        monkeypatch.setattr(planning, "_BLOCK", 40)
        monkeypatch.setattr(planning, "_AHEAD", 20)
        parts = planner.plan(wanted, angles)
        assert (parts.moments == whole.moments).mean() > 0.9
        assert parts.jumps.sum() <= whole.jumps.sum() + 2

        def apart(plan: MouthPlan) -> float:
            return float(np.square(bank.shapes[plan.moments] - wanted).sum())

        assert apart(parts) <= 1.15 * apart(whole) + 1

    def test_a_clip_that_takes_itself_does_so_over_the_border_of_blocks(self, monkeypatch) -> None:
        monkeypatch.setattr(planning, "_BLOCK", 25)
        monkeypatch.setattr(planning, "_AHEAD", 5)
        bank = bank_of(_wavy(90))
        plan = MouthPlanner(bank).plan(bank.shapes, _angles(bank, 90))
        np.testing.assert_array_equal(plan.moments, np.arange(90))
        assert not plan.jumps.any()

    def test_a_block_goes_on_where_the_last_one_ended(self, monkeypatch) -> None:
        """Of two runs that are nearly alike, one fits a little better here, one there: not worth a jump."""
        gaps = _wavy(60)
        bank = bank_of(np.concatenate([gaps, gaps + 0.004]))
        wanted = np.concatenate([bank.shapes[60:90], bank.shapes[30:60]])
        planner, angles = MouthPlanner(bank), _angles(bank, 60)
        monkeypatch.setattr(planning, "_BLOCK", 30)
        monkeypatch.setattr(planning, "_AHEAD", 0)
        plan = planner.plan(wanted, angles)
        assert not plan.jumps.any() and len(np.unique(plan.moments)) == 60

    def test_runs_are_planned_on_their_own(self) -> None:
        bank = bank_of(_wavy(60))
        planner = MouthPlanner(bank)
        parts = [planner.plan(bank.shapes[p], _angles(bank, 20)) for p in (slice(40, 60), slice(0, 20))]
        plan = MouthPlan.joined(parts)
        np.testing.assert_array_equal(plan.moments, [*range(40, 60), *range(20)])
        assert not plan.jumps.any(), "a run begins with its own moment"
        np.testing.assert_array_equal(plan.wanted[20:], bank.shapes[:20])
        assert plan.shown(20, bank) == [(0, 1.0)] and plan.shown(19, bank) == [(59, 1.0)]


@cache
def _sixty() -> Bank:
    return bank_of(_wavy(60))


@cache
def _planner() -> MouthPlanner:
    return MouthPlanner(_sixty())


class TestPassages:
    @staticmethod
    def _plan(moments: list[int], jumps: list[int]) -> MouthPlan:
        bank, flags = _sixty(), np.zeros(len(moments), bool)
        flags[jumps] = True
        made = _planner().plan(bank.shapes[: len(moments)], _angles(bank, len(moments)))
        return replace(made, moments=np.array(moments), jumps=flags)

    def test_away_from_jumps_a_frame_shows_one_moment(self) -> None:
        bank = _sixty()
        plan = self._plan([*range(10), *range(40, 50)], [10])
        for frame in [*range(10 - FADE), *range(10 + FADE, 20)]:
            assert plan.shown(frame, bank) == [(plan.moments[frame], 1.0)]

    def test_about_a_jump_one_run_fades_into_the_other(self) -> None:
        bank = _sixty()
        plan = self._plan([*range(10), *range(40, 50)], [10])
        new = []
        for frame in range(10 - FADE, 10 + FADE):
            shown = dict(plan.shown(frame, bank))
            # The old run goes on past its end, the new one begins before its start.
            assert set(shown) == {frame, 30 + frame}
            assert sum(shown.values()) == pytest.approx(1)
            assert shown[int(plan.moments[frame])] > 0.5, "the frame's own moment weighs most"
            new.append(shown[30 + frame])
        steps = np.diff([0, *new, 1])
        assert (steps > 0).all() and np.ptp(steps[1:-1]) < 1e-9
        assert max(steps[0], steps[-1]) < steps[1], "no step in the picture where the passage begins or ends"
        np.testing.assert_allclose(np.array(new) + new[::-1], 1)

    def test_a_run_at_the_end_of_its_shot_waits_for_the_other(self) -> None:
        bank = bank_of(
            _wavy(60), frames=np.arange(60) + 100 * (np.arange(60) >= 10) + 100 * (np.arange(60) >= 40)
        )
        plan = self._plan([*range(10), *range(40, 50)], [10])
        for frame in (10, 11):
            assert 9 in dict(plan.shown(frame, bank)), "its last moment"
        for frame in (8, 9):
            assert 40 in dict(plan.shown(frame, bank)), "its first moment"

    def test_a_frame_shows_most_of_its_own_moment_however_short_its_run(self) -> None:
        """The heaviest moment lends the inside of the mouth."""
        bank = _sixty()
        plan = self._plan([0, 1, 2, 3, 4, 20, 40, 41, 42, 43], [5, 6])
        for frame in range(10):
            shown = dict(plan.shown(frame, bank))
            assert shown[int(plan.moments[frame])] == max(shown.values())

    def test_a_run_shows_nothing_of_the_jumps_of_its_neighbour(self) -> None:
        bank = _sixty()
        first, second = self._plan([*range(10)], []), self._plan([20, *range(40, 50)], [1])
        plan = MouthPlan.joined([first, second])
        assert [plan.shown(frame, bank) for frame in (8, 9)] == [[(8, 1.0)], [(9, 1.0)]]
        plan = MouthPlan.joined([self._plan([*range(9), 30], [9]), self._plan([*range(40, 50)], [])])
        assert plan.shown(10, bank) == [(40, 1.0)]

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 6)), min_size=1, max_size=8))
    def test_weights_sum_to_one_however_often_it_jumps(self, runs: list[tuple[int, int]]) -> None:
        bank = _sixty()
        moments = [start + i for start, length in runs for i in range(length)]
        starts = np.cumsum([0, *(length for _, length in runs)])[1:-1].tolist()
        plan = self._plan(moments, starts)
        for frame in range(len(plan)):
            shown = plan.shown(frame, bank)
            weights = [weight for _, weight in shown]
            assert sum(weights) == pytest.approx(1) and min(weights) > 0
            assert len({moment for moment, _ in shown}) == len(shown)
            assert int(plan.moments[frame]) in dict(shown)
            assert all(0 <= moment < len(bank) for moment, _ in shown)


def _features(count: int, shapes: np.ndarray | None = None) -> np.ndarray:
    rows = np.zeros((count, 8), np.float32)
    rows[:, 7] = 1
    if shapes is not None:
        rows[:, :7] = shapes
    return rows


class TestWanted:
    @settings(max_examples=30, deadline=None)
    @given(rate=st.sampled_from([12.0, 23.976, 25.0, 29.97, 50.0, 60.0]), start=st.floats(0, 0.5))
    def test_shapes_are_those_of_the_frames_time(self, rate: float, start: float) -> None:
        """A gap that grows linearly with time says which time a frame was given."""
        features = _features(200)
        features[:, :3] = ((np.arange(200) + 0.5) / FEATURE_RATE)[:, None]
        times = start + np.arange(30) / rate
        times = times[times < 3.5]
        wanted = wanted_shapes(features, times)
        assert wanted.shape == (len(times), 7)
        np.testing.assert_allclose(wanted[:, :3], np.tile(times + 0.02, (3, 1)).T, atol=1e-5)

    def test_lead_makes_the_lips_earlier(self) -> None:
        features = _features(100)
        features[:, :3] = ((np.arange(100) + 0.5) / FEATURE_RATE)[:, None]
        times = np.arange(20) / 25
        plain, early = (wanted_shapes(features, times, lead) for lead in (0.0, 1.5))
        np.testing.assert_allclose(early[:, 0] - plain[:, 0], 0.06, atol=1e-5)

    def test_beyond_the_speech_its_ends_are_held(self) -> None:
        features = _features(10)
        features[:, 0] = np.arange(10)
        wanted = wanted_shapes(features, np.array([-1.0, 5.0]))
        np.testing.assert_allclose(wanted[:, 0], [0, 9])

    def test_what_is_no_gap_is_told_from_its_mean_over_the_speech(self) -> None:
        draw = np.random.default_rng(0)
        shapes = draw.normal(3, 1, (50, 7))
        wanted = wanted_shapes(_features(50, shapes), (np.arange(50) - 0.5) / FEATURE_RATE)
        np.testing.assert_allclose(wanted[:, LIP_GAPS:].mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(wanted[:, :LIP_GAPS], shapes[:, :LIP_GAPS], atol=1e-5)

    def test_features_are_left_as_they_are(self) -> None:
        features = _features(10, np.ones((10, 7)))
        before = features.copy()
        wanted_shapes(features, np.arange(4) / 25)
        np.testing.assert_array_equal(features, before)


class TestSilence:
    def test_short_closures_are_no_silence_and_long_ones_are(self) -> None:
        gap = np.full(80, 3.0)
        gap[10:14] = 0
        gap[40:65] = 0
        quiet = silence(gap)
        assert quiet.shape == (80,) and (quiet >= 0).all() and (quiet <= 1).all()
        assert quiet[10:14].max() < 0.05
        np.testing.assert_allclose(quiet[40:65], 1)
        assert quiet[20:38].max() < 0.05

    def test_the_wider_the_mouth_the_less_silent(self) -> None:
        told = [float(silence(np.full(20, gap))[10]) for gap in (-1.0, 0.0, 0.2, 0.5, 2.0)]
        assert told[0] == told[1] == 1 and (np.diff(told[1:]) < 0).all()

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_a_clip_of_few_frames_is_no_trouble(self, count: int) -> None:
        np.testing.assert_allclose(silence(np.zeros(count)), 1)


class TestSharpening:
    """Of a predictor's shallow closures."""

    @staticmethod
    def _gaps(curve: np.ndarray) -> np.ndarray:
        return _features(len(curve), np.repeat(curve[:, None], 7, axis=1))

    def test_brief_closures_and_openings_become_deeper(self) -> None:
        for sign in (-1.0, 1.0):
            curve = np.full(100, 2.0)
            curve[49:52] += sign
            got = sharpened(self._gaps(curve))[:, :LIP_GAPS]
            assert (sign * (got[50] - curve[50]) > 0.2).all()
            np.testing.assert_allclose(got[:30], 2.0, atol=1e-3)

    def test_what_lasts_and_all_that_is_no_gap_stay(self) -> None:
        features = self._gaps(np.repeat([0.0, 3.0], 100))
        got = sharpened(features)
        np.testing.assert_allclose(got[[50, 150]], features[[50, 150]], atol=1e-3)
        np.testing.assert_array_equal(got[:, LIP_GAPS:], features[:, LIP_GAPS:])

    def test_a_single_value_is_no_trouble(self) -> None:
        features = self._gaps(np.ones(1))
        np.testing.assert_allclose(sharpened(features), features)


class TestCalibration:
    @staticmethod
    def _said(count: int = 200, scale: float = 1.0, offset: float = 0.0, seed: int = 0) -> np.ndarray:
        draw = np.random.default_rng(seed)
        shapes = draw.normal(0, 0.5, (count, 7))
        shapes[:, :3] = np.abs(draw.normal(0, 2, (count, 1)))
        shapes[: count // 5, :3] = 0
        return shapes * scale + offset * (np.arange(7) < LIP_GAPS)

    def test_what_is_in_the_clips_range_stays_there(self) -> None:
        said = self._said()
        np.testing.assert_allclose(calibrated(said, said), said, atol=1e-6)

    @pytest.mark.parametrize("offset", [0.0, 0.6])
    def test_closed_lips_stay_closed(self, offset: float) -> None:
        """However far a predictor errs with its zero, and however open the clip's closed mouth is seen."""
        for own in (0.0, 0.3, 2.0):
            got = calibrated(self._said(offset=offset), self._said(scale=0.9, offset=own, seed=1))
            assert got[:40, :LIP_GAPS].max() < 0.01

    def test_only_in_silence_lips_are_pressed(self) -> None:
        said, own = self._said(), self._said(seed=1)
        seen_open = own + 0.3 * (np.arange(7) < LIP_GAPS)
        plain, pressed = calibrated(said, own), calibrated(said, seen_open)
        wide = said[:, 1] > 2
        np.testing.assert_allclose(pressed[wide, :LIP_GAPS], plain[wide, :LIP_GAPS], atol=0.05)
        assert pressed[15:25, 1].max() < -0.2 and plain[15:25, 1].max() > -0.05

    @pytest.mark.parametrize("scale", [0.2, 0.9, 1.1, 5.0])
    def test_gaps_are_stretched_within_limits(self, scale: float) -> None:
        said = self._said()
        got = calibrated(said, self._said(scale=scale, seed=1))
        wide = said[:, 1] > 1.5
        gain = np.median(got[wide, 1] / said[wide, 1])
        low, high = 0.6, 1.4
        assert low < gain < high
        assert (gain < 1) == (scale < 1)
        assert np.corrcoef(got[:, 1], said[:, 1])[0, 1] > 0.99

    def test_beyond_what_film_can_fill_half_is_left_out(self) -> None:
        """A mouth that opens little in its clip was torn open onto a drawn inside."""
        said, own = 3 * self._said(), self._said(scale=0.3, seed=1)
        widest = float(own[:, :LIP_GAPS].mean(axis=1).max()) * LIP_SHAPE_UNIT
        filmed = filmed_gap(widest) / LIP_SHAPE_UNIT
        got = calibrated(said, own)[:, 1]
        free = said[:, 1] * 0.7
        beyond = np.maximum(free - filmed, 0)
        np.testing.assert_allclose(got, free - 0.5 * beyond, atol=0.02)
        assert (beyond > 0.5).sum() > 10

    @pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])
    def test_movements_are_stretched_within_limits_about_what_the_clip_has_at_such_gaps(
        self, scale: float
    ) -> None:
        said, own = self._said(), self._said(scale=scale, seed=1) + 1.5
        shapes = calibrated(said, own)
        wider = shapes[:, :LIP_GAPS].mean() - own[:, :LIP_GAPS].mean()
        got = shapes[:, LIP_GAPS:]
        np.testing.assert_allclose(got.mean(axis=0), own[:, LIP_GAPS:].mean(axis=0) + wider * WITH_GAP)
        gains = got.std(axis=0) / said[:, LIP_GAPS:].std(axis=0)
        assert (gains > 0.4).all() and (gains < 2).all()
        if scale == 1.0:
            np.testing.assert_allclose(gains, 1, atol=0.3)

    @pytest.mark.parametrize("usual", [0.0, 1.0, 3.0])
    def test_a_mouth_that_closes_wants_its_lower_lip_where_the_clip_closes_it(self, usual: float) -> None:
        """However open the clip's mouth is on average, to which its other values are relative."""

        def as_filmed(gaps: np.ndarray) -> np.ndarray:
            return np.concatenate([gaps, WITH_GAP * (gaps.mean(1, keepdims=True) - gaps.mean())], axis=1)

        said = as_filmed(self._said()[:, :LIP_GAPS])
        own = as_filmed(self._said(seed=1)[:, :LIP_GAPS] + usual)
        got = calibrated(said, own, painted=True)
        closed = got[:, :LIP_GAPS].max(axis=1) < 0.01
        assert closed.sum() > 10
        at_zero = -own[:, :LIP_GAPS].mean() * WITH_GAP
        np.testing.assert_allclose(got[closed, LIP_GAPS:].mean(axis=0), at_zero, atol=0.45)

    def test_one_frame_and_a_mouth_that_never_moves_are_no_trouble(self) -> None:
        for said, own in ((np.zeros((1, 7)), self._said()), (self._said(), np.zeros((6, 7)))):
            assert np.isfinite(calibrated(said, own)).all()
