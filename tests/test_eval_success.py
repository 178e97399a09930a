"""The rules of success on rows whose verdict is known."""

import pytest

from evaluation.metrics.base import Kind
from evaluation.success import RULES, Facts, Limits, rule_sentences, success_of

GOOD = {
    "mouth_r": 0.8,
    "mouth_gain": 0.9,
    "mouth_lag": 0.0,
    "sharpness_mouth": 0.9,
    "psnr_outside": 41.0,
    "patch_edge": 0.5,
    "face_found": 1.0,
    "length_error": 0.0,
}
SAME = Facts(made=True, source_frames=50, made_frames=50)


def test_a_good_row_is_a_success_and_nothing_known_is_neither():
    assert success_of(GOOD, Kind.cross, SAME) == (True, ())
    assert success_of({**GOOD, "silence_closed": 1.0}, "silence", SAME) == (True, ())
    assert success_of({}, "cross") == (None, ())
    assert success_of({"fid": 3.0}, "cross", Facts(made=True)) == (None, ())


@pytest.mark.parametrize(
    ("kind", "change", "word"),
    [
        ("cross", {"length_error": -0.2}, "length"),
        ("cross", {"face_found": 0.9}, "face"),
        ("cross", {"mouth_gain": 0.1}, "gain"),
        ("self", {"mouth_lag": 4.0, "mouth_r": 0.1}, "lag +4 frames, r 0.10"),
        ("silence", {"silence_closed": 0.5}, "shut"),
        ("cross", {"sharpness_mouth": 0.2}, "sharpness"),
        ("cross", {"lip_leak": 0.95}, "lip leak 0.95"),
        ("cross", {"async_own": 7.0, "async_syncnet": 3.0}, "3 frames off the speech that the dub makes"),
        ("cycle", {"psnr_outside": 24.0}, "24.00 dB"),
        ("self", {"patch_edge": -6.0}, "patch"),
    ],
)
def test_each_rule_breaks_alone_and_says_why(kind, change, word):
    success, reasons = success_of({**GOOD, **change}, kind, SAME)
    assert success is False
    assert len(reasons) == 1 and word in reasons[0]


def test_one_judge_is_enough_for_speech_that_the_dub_makes():
    assert success_of({**GOOD, "async_own": 7.0, "async_syncnet": 2.0}, "cross", SAME) == (True, ())


def test_rules_bind_only_where_they_are_meant():
    still = {**GOOD, "mouth_gain": 0.0, "mouth_r": 0.0, "mouth_lag": 5.0, "silence_closed": 1.0}
    assert success_of(still, "silence", SAME)[0] is True
    assert success_of({**still, "silence_closed": 0.0}, "cross", Facts(speech=False))[0] is True
    assert success_of({**GOOD, "mouth_gain": 0.1}, "self", SAME)[0] is True


def test_lag_and_correlation_excuse_each_other_and_one_alone_decides():
    assert success_of({"mouth_lag": 5.0, "mouth_r": 0.5}, "cross")[0] is True
    assert success_of({"mouth_lag": -2.0, "mouth_r": 0.0}, "cross")[0] is True
    assert success_of({"mouth_lag": -3.0}, "cross")[0] is False
    assert success_of({"mouth_r": 0.39}, "cross") == (False, ("the lips do not follow the speech (r 0.39)",))


def test_facts_come_first():
    assert success_of(GOOD, "cross", Facts(made=False)) == (False, ("there is no dub",))
    assert success_of({}, "cross", Facts(source_frames=50, made_frames=51)) == (True, ())
    success, reasons = success_of(GOOD, "cross", Facts(source_frames=50, made_frames=40))
    assert success is False and reasons == ("the dub has 40 frames, the source 50",)


def test_all_broken_rules_are_named_and_limits_can_be_moved():
    bad = {**GOOD, "sharpness_mouth": 0.1, "psnr_outside": 20.0, "patch_edge": 9.0}
    assert len(success_of(bad, "cross", SAME)[1]) == 3
    mild = Limits(sharpness_mouth=0.05, psnr_outside=10.0, patch_edge=10.0)
    assert success_of(bad, "cross", SAME, mild) == (True, ())


@pytest.mark.parametrize("key", ["face_found", "silence_closed"])
def test_a_percentage_is_refused_where_a_share_is_meant(key):
    with pytest.raises(ValueError, match=key):
        success_of({key: 85.0}, "silence")


def test_the_table_says_every_rule_with_its_limit():
    sentences = rule_sentences(Limits(psnr_outside=33.0))
    assert len(sentences) == len(RULES) + 1
    assert any("33 dB" in sentence for sentence in sentences)
    assert not any("{" in sentence for sentence in sentences)
