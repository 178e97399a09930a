"""Clips, alternative speech, shots, speakers: what stage 1 decides before it computes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.clips import clip_starts
from common.errors import UserError
from stage1_generator.companions.plan import Speakable, plan_pairs
from stage1_generator.config import PrepareConfig
from stage1_generator.footage.lengths import split_longer
from stage1_generator.footage.videos import find_videos
from stage1_generator.footage.voice import frame_levels, voiced_from_levels, voiced_share


def _speaker(
    entry: str, frames: int, *, speaker: str = "ann", source: str = "", offset: int = 0
) -> Speakable:
    return Speakable(entry, speaker, source or entry, offset, np.ones(frames, bool))


_entries = st.lists(
    st.tuples(st.integers(10, 140), st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 90)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(_entries, st.sampled_from([13, 25]), st.integers(0, 5))
def test_alternative_speech_is_the_speakers_and_shares_no_frame_with_the_clip(entries, length, seed):
    known = {
        f"e{i}": _speaker(f"e{i}", frames, speaker=speaker, source=source, offset=offset)
        for i, (frames, speaker, source, offset) in enumerate(entries)
    }
    plans, unpaired = plan_pairs(list(known.values()), length=length, seed=seed, silence_fraction=0.1)
    assert len(plans) + len(unpaired) == sum(
        len(clip_starts(len(e.voiced), length, 0)) for e in known.values()
    )
    for plan in plans:
        if plan.speech is None:
            continue
        clip, speech = known[plan.entry], known[plan.speech.entry]
        assert clip.speaker == speech.speaker
        assert 0 <= plan.speech.start <= len(speech.voiced) - length
        if clip.source == speech.source:
            apart = (clip.offset + plan.start) - (speech.offset + plan.speech.start)
            assert abs(apart) >= length


def test_plan_does_not_depend_on_the_order_of_entries():
    entries = [_speaker(f"e{i}", 60 + 7 * i) for i in range(5)]
    assert plan_pairs(entries, length=25) == plan_pairs(entries[::-1], length=25)


def test_silence_share_is_near_the_fraction():
    plans, _ = plan_pairs([_speaker("e", 25 * 2000)], length=25, silence_fraction=0.07)
    assert 0.05 < np.mean([plan.speech is None for plan in plans]) < 0.09


def test_a_lone_clip_has_no_companion_unless_other_speakers_may_lend():
    entries = [_speaker("a", 25, speaker="ann"), _speaker("b", 25, speaker="bob")]
    plans, unpaired = plan_pairs(entries, length=25, silence_fraction=0.0)
    assert not plans and [item.key for item in unpaired] == ["a_000000", "b_000000"]
    assert "ann" in unpaired[0].reason
    plans, unpaired = plan_pairs(entries, length=25, silence_fraction=0.0, other_speakers=True)
    assert not unpaired and [plan.speech.entry for plan in plans] == ["b", "a"]


@settings(max_examples=40, deadline=None)
@given(_entries, st.integers(1, 4), st.integers(0, 3))
def test_no_speaker_gets_more_pairs_than_asked_and_the_same_ones_each_time(entries, most, seed):
    known = [_speaker(f"e{i}", frames, speaker=speaker) for i, (frames, speaker, *_) in enumerate(entries)]
    asked = {"length": 13, "seed": seed, "other_speakers": True, "silence_fraction": 0.5}
    plans, unpaired = plan_pairs(known, per_speaker=most, **asked)
    every, _ = plan_pairs(known, **asked)
    speaker = {item.entry: item.speaker for item in known}
    for name in "ab":
        assert sum(speaker[plan.entry] == name for plan in plans) <= most
    assert set(plans) <= set(every)
    assert len(plans) + len(unpaired) == sum(len(clip_starts(len(e.voiced), 13, 0)) for e in known)
    assert plans == plan_pairs(known[::-1], per_speaker=most, **asked)[0]


def test_quiet_stretches_do_not_serve_as_speech():
    voiced = np.zeros(100, bool)
    voiced[70:] = True
    entry = Speakable("e", "ann", "e", 0, voiced)
    plans, _ = plan_pairs([entry], length=25, silence_fraction=0.0, voiced_min=0.9)
    assert plans and all(voiced[p.speech.start : p.speech.start + 25].mean() >= 0.9 for p in plans)


def test_voice_activity_ignores_gain_and_knows_silence():
    rate = 16000
    tone = np.sin(np.arange(rate) * 0.3).astype(np.float32)
    audio = np.concatenate([tone, np.zeros(rate, np.float32), tone])
    for gain in (1.0, 0.02):
        voiced = voiced_from_levels(frame_levels(gain * audio, rate, 25.0), 25.0)
        assert voiced.shape == (75,)
        assert voiced[:25].all() and not voiced[25:50].any() and voiced[50:].all()
    assert not voiced_from_levels(frame_levels(np.zeros(rate, np.float32), rate, 25.0), 25.0).any()
    assert voiced_share(np.ones(10, bool), 25).shape == (0,)


def test_long_pieces_are_cut_into_nearly_equal_parts():
    pieces = split_longer([slice(0, 12), slice(12, 17)], 7)
    assert pieces == [slice(0, 6), slice(6, 12), slice(12, 17)]


def test_speakers_come_from_sidecar_then_table_then_name(tmp_path: Path):
    for name in ("one.mp4", "two_a.mp4", "sub dir/three.mp4", "four.txt", ".hidden.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "two.json").write_text(json.dumps({"speaker": "bob"}))
    table = tmp_path / "table.tsv"
    table.write_text(
        "file\tspeaker_id\nx/one.mp4\tann\nx/three.mp4\tdora\nx/sub dir/three.mp4\tcarl\ntwo_a.mp4\tann\n"
    )
    speakers = {
        video.name: video.speaker
        for video in find_videos(PrepareConfig(videos=str(tmp_path), speakers=str(table)))
    }
    assert speakers == {"one.mp4": "ann", "two_a.mp4": "bob", "sub dir/three.mp4": "carl"}
    plain = find_videos(PrepareConfig(videos=str(tmp_path), speaker_from="folder"))
    assert {video.speaker for video in plain} == {tmp_path.name, "bob", "sub dir"}
    untold = find_videos(PrepareConfig(videos=str(tmp_path)))
    assert [video.speaker for video in untold] == ["one.mp4", "sub dir/three.mp4", "bob"]


def test_a_speaker_table_without_the_column_is_refused(tmp_path: Path):
    (tmp_path / "one.mp4").write_bytes(b"x")
    table = tmp_path / "table.csv"
    table.write_text("path,who\none.mp4,ann\n")
    with pytest.raises(UserError, match="speakers_file_column"):
        find_videos(PrepareConfig(videos=str(tmp_path), speakers=str(table)))


def test_a_folder_without_videos_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"prepare\.videos"):
        find_videos(PrepareConfig(videos=str(tmp_path)))
    with pytest.raises(UserError, match=r"prepare\.videos"):
        find_videos(PrepareConfig())
