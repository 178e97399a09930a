"""The blind listening test: what the page gives away (nothing), what is in it, and what answers come to."""

import csv
import itertools
import json
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from common.errors import UserError
from common.face import build_detector
from common.files import write_json
from common.media import load_audio, probe, read_frames, save_wav, write_video
from evaluation.mos import Key, ListeningItem, PageOptions, items_from_results, make_pages, score_answers
from evaluation.mos.control import (
    FIRST,
    HOLD,
    LAST,
    choose_donors,
    corrupted_frames,
    corrupted_part,
    mouth_boxes,
)
from evaluation.mos.footage import Form
from evaluation.mos.key import CRITERIA, Page, RatedVideo, VideoRole
from evaluation.mos.pages import plan
from evaluation.mos.statistics import bootstrap
from evaluation.results import Results, Row

SYSTEMS = ("zebrafish", "quokka9")
FACE = [24.0, 8.0, 72.0, 60.0]


def detector():
    return build_detector("box", box=FACE)


@pytest.fixture(scope="module")
def clips(tmp_path_factory, moving_frames, tone):
    """Three clips of 96 x 64 with two dubs each: one of another length, one of another rate and size."""
    folder = tmp_path_factory.mktemp("zebrafish and quokka9")
    items = []
    for number in range(3):
        speech, own = folder / f"speech{number}.wav", folder / f"own{number}.wav"
        save_wav(speech, tone(2.2, seed=number), 16000)
        save_wav(own, tone(2.0, seed=number + 3), 16000)
        original, first, second = (folder / f"{name}{number}.mp4" for name in ("original", *SYSTEMS))
        frames = moving_frames(50, seed=number)
        write_video(original, frames, rate=25, audio_from=own)
        write_video(first, moving_frames(56, seed=number + 10), rate=25, audio_from=speech)
        large = np.stack([cv2.resize(f, (192, 128)) for f in moving_frames(61, seed=number + 20)])
        write_video(second, large, rate=30)
        videos = {SYSTEMS[0]: first, SYSTEMS[1]: second}
        items.append(ListeningItem(f"clip-of-{number}", "ab"[number // 2], videos, speech, original))
    return items


@pytest.fixture(scope="module")
def made(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tests") / "page"
    key = make_pages(clips, folder, PageOptions(seed=5), detector=detector())
    return folder, key


class Reader(HTMLParser):
    """Clips, videos in them, and all that the page asks for."""

    def __init__(self):
        super().__init__()
        self.clips, self.links, self.radios, self.tags = [], [], {}, []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        self.links += [given[name] for name in ("src", "href", "action", "poster") if name in given]
        if tag == "section" and "clip" in given.get("class", "").split():
            self.clips.append([])
        if tag == "video":
            self.clips[-1].append(given["src"].removeprefix("videos/").removesuffix(".mp4"))
        if tag == "input" and given.get("type") == "radio":
            self.radios.setdefault(given["name"], []).append(int(given["value"]))


def parsed(folder):
    reader = Reader()
    reader.feed((folder / "index.html").read_text(encoding="utf-8"))
    return reader


def test_no_byte_of_the_page_names_a_system_a_clip_or_a_role(made, clips):
    folder, key = made
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.relative_to(folder).as_posix() for path in files} == {
        "index.html",
        *(f"videos/{token}.mp4" for token in key.tokens),
    }
    secrets = [*SYSTEMS, *(item.name for item in clips), "ground truth", 'control"', '"seed"']
    for path in files:
        for word in secrets:
            assert word.encode() not in path.read_bytes(), (path, word)
    # The search finds what is there.
    assert b"Naturalness" in (folder / "index.html").read_bytes()
    saved = folder.with_name("page.key.json")
    assert Key.load(saved) == key and SYSTEMS[0] in saved.read_text()


def test_the_page_asks_nobody_for_anything(made):
    folder, _ = made
    reader = parsed(folder)
    assert all(link == "data:," or (folder / link).is_file() for link in reader.links)
    text = (folder / "index.html").read_text()
    assert not any(word in text for word in ("http:", "https:", "fetch(", "XMLHttpRequest", "import "))


def test_every_page_has_each_system_the_truth_and_a_control_in_an_order_of_its_own(made):
    folder, key = made
    reader = parsed(folder)
    assert reader.clips == [[entry.token for entry in page.videos] for page in key.pages]
    wanted = {*((VideoRole.system, name) for name in SYSTEMS)} | {
        (VideoRole.truth, "ground truth"),
        (VideoRole.control, "control"),
    }
    for page in key.pages:
        assert {(entry.role, entry.system) for entry in page.videos} == wanted
        assert len(page.videos) == 4
    orders = [[entry.system for entry in page.videos] for page in key.pages]
    assert all(a != b for a, b in itertools.pairwise(orders))
    assert len(key.tokens) == 12


def test_each_video_has_its_two_scales_and_can_be_reached_by_keyboard(made):
    folder, key = made
    reader = parsed(folder)
    assert set(reader.radios) == {f"{t}-{c}" for t in key.tokens for c in CRITERIA}
    assert all(levels == list(range(1, 11)) for levels in reader.radios.values())
    videos = [given for tag, given in reader.tags if tag == "video"]
    assert all("controls" in v and "aria-labelledby" in v and "autoplay" not in v for v in videos)
    # Nothing is taken out of the order of keys, and what is pressed is a button.
    assert all(int(given.get("tabindex", 0)) == 0 for tag, given in reader.tags if tag != "h2")
    assert all(tag == "button" for tag, given in reader.tags if "data-goto" in given)
    assert sum(tag == "legend" for tag, _ in reader.tags) == 24


def test_all_videos_of_a_page_have_one_form(made):
    folder, key = made
    for page in key.pages:
        seen = set()
        for entry in page.videos:
            path = folder / "videos" / f"{entry.token}.mp4"
            info = probe(path)
            sound = load_audio(path, 48000)
            seen.add(
                (
                    info.width,
                    info.height,
                    info.frame_count,
                    info.average_rate,
                    info.colour,
                    path.stat().st_mtime,
                )
            )
            # AAC comes in blocks of 1024.
            assert 0 <= len(sound) - 2 * 48000 < 2048
        assert len(seen) == 1 and next(iter(seen))[:4] == (96, 64, 50, 25)


def test_dubs_say_the_speech_and_the_original_its_own(made, clips):
    folder, key = made
    items = {item.name: item for item in clips}
    for page in key.pages:
        item = items[page.clip]
        for entry in page.videos:
            heard = load_audio(folder / "videos" / f"{entry.token}.mp4")[: 2 * 16000 - 2048]
            expected = load_audio(item.speech if entry.role is VideoRole.system else item.original)
            assert np.corrcoef(heard, expected[: len(heard)])[0, 1] > 0.98
            frames = read_frames(folder / "videos" / f"{entry.token}.mp4")
            shown = {VideoRole.truth: item.original}.get(entry.role) or item.videos.get(entry.system)
            if shown == item.videos[SYSTEMS[0]] or entry.role is VideoRole.truth:
                assert np.abs(frames.astype(int) - read_frames(shown)[:50]).mean() < 4


def test_one_seed_makes_one_test_and_another_another(clips, tmp_path):
    again = make_pages(clips[:1], tmp_path / "a", PageOptions(seed=5), detector=detector())
    same = make_pages(clips[:1], tmp_path / "b", PageOptions(seed=5), detector=detector())
    other = plan(clips, 6, np.random.default_rng(6))
    assert again == same and again.tokens.isdisjoint(other.tokens) and again.study != other.study
    for path in (tmp_path / "a").rglob("*.*"):
        twin = tmp_path / "b" / path.relative_to(tmp_path / "a")
        if path.suffix != ".mp4":
            assert path.read_bytes() == twin.read_bytes()
            continue
        # On processors with AVX-512 the H.264 encoder does not repeat itself to the bit.
        shown, again_shown = read_frames(path).astype(int), read_frames(twin).astype(int)
        assert shown.shape == again_shown.shape and np.abs(shown - again_shown).mean() < 2


def test_a_limit_takes_from_all_groups(clips, tmp_path):
    # Two of the three are of group a, and with this seed they come first.
    key = make_pages(clips, tmp_path / "page", PageOptions(seed=1, limit=2, seconds=1.8), detector=detector())
    assert {page.group for page in key.pages} == {"a", "b"}
    assert probe(tmp_path / "page" / "videos" / f"{min(key.tokens)}.mp4").frame_count == 45


def test_the_control_is_that_of_the_paper(clips):
    original = clips[0].original
    form = Form(96, 64, 50)
    truth = read_frames(original)
    rng = np.random.default_rng(0)
    frames = np.stack(list(corrupted_frames(original, form, detector(), rng)))
    np.testing.assert_array_equal(frames[:FIRST], truth[:FIRST])
    np.testing.assert_array_equal(frames[-LAST:], truth[-LAST:])
    assert (FIRST, HOLD, LAST) == (15, 25, 5)
    changed = (frames != truth).any(axis=-1)
    x, y, width, height = cv2.boundingRect(changed.any(axis=0).astype(np.uint8))
    # The box lies over the mouth, in the lower half of the face.
    assert FACE[0] < x and x + width < FACE[2] and y > (FACE[1] + FACE[3]) / 2
    box = np.s_[y : y + height, x : x + width]
    upright = truth[:, y : y + height, x : x + width]
    for start, stop in ((15, 40), (40, 45)):
        pasted = frames[start:stop][(slice(None), *box)].astype(float)
        still = pasted.mean(axis=0)[::-1, ::-1]
        errors = np.abs(upright - still).mean(axis=(1, 2, 3))
        donor = int(errors.argmin())
        assert not start <= donor < start + HOLD
        noise = pasted - upright[donor][::-1, ::-1]
        middle = (upright[donor][::-1, ::-1] > 70) & (upright[donor][::-1, ::-1] < 185)
        assert noise[:, middle].std() == pytest.approx(20, abs=1)
        # New in each frame.
        assert abs(np.corrcoef(noise[0][middle], noise[1][middle])[0, 1]) < 0.15


@pytest.mark.parametrize(("frames", "first", "stop"), [(60, 15, 55), (45, 15, 40), (30, 10, 27), (25, 8, 23)])
def test_short_clips_have_a_control_of_their_length(clips, frames, first, stop):
    original, form = clips[0].original, Form(96, 64, min(frames, 50))
    assert corrupted_part(frames) == range(first, stop)
    truth = read_frames(original)[: form.count]
    shown = np.stack(list(corrupted_frames(original, form, detector(), np.random.default_rng(1))))
    changed = (shown != truth).any(axis=(1, 2, 3))
    part = corrupted_part(form.count)
    np.testing.assert_array_equal(np.flatnonzero(changed), np.arange(part.start, part.stop))


def test_the_control_does_not_follow_the_lips():
    """Neither place nor size of the box changes with the mouth."""
    from perfect_dubs import head

    from common.face import FaceTrack

    def boxes(curve):
        points = head(30, curve) + np.array([10, 10, 0], np.float32)
        track = FaceTrack(np.arange(30), points, np.zeros((30, 4), np.float32), np.ones(30, bool))
        return mouth_boxes(track, Form(96, 96, 30))

    still, talking = boxes(np.full(30, 0.15)), boxes(0.15 + 0.1 * np.sin(np.arange(30)))
    assert len({tuple(b[2:] - b[:2]) for b in talking}) == 1
    assert np.abs(still[:, :2] - talking[:, :2]).max() <= 2
    with pytest.raises(UserError, match="too short a time"):
        choose_donors(np.arange(50) == 20, np.random.default_rng(0))


def test_what_would_give_the_test_away_or_cannot_be_shown_is_refused(clips, made, tmp_path, moving_frames):
    folder, _ = made
    one = clips[0]

    def refused(match, items=(one,), output=tmp_path / "new", **options):
        with pytest.raises(UserError, match=match):
            make_pages(items, output, PageOptions(seed=1, **options), detector=detector())
        assert not (tmp_path / "new").exists()

    refused("no clip", items=())
    refused("not empty", output=folder)
    refused("published with the page", key=tmp_path / "new" / "sub" / "key.json")
    refused("answers may need it", key=folder.with_name("page.key.json"))
    lonely = ListeningItem("x", "a", {SYSTEMS[0]: one.videos[SYSTEMS[0]]}, one.speech, one.original)
    refused("other systems", items=(one, lonely))
    refused("given twice", items=(one, one))
    wide = tmp_path / "wide.mp4"
    write_video(wide, moving_frames(50, 64, 128), rate=25)
    refused("another aspect", items=(ListeningItem("y", "a", {"s": wide}, one.speech, one.original),))
    refused("needs 25", seconds=0.8)
    # All that is wrong is said at once.
    other = ListeningItem("z", "a", {"s": wide}, one.speech, one.original)
    both = (ListeningItem("y", "a", {"s": wide}, one.speech, one.original), other)
    refused(r"clip 'y'.*aspect.*; clip 'z'|clip 'z'.*aspect.*; clip 'y'", items=both)


def test_items_come_from_the_rows_that_have_all_dubs(clips, make_clip, tmp_path):
    def row(name, system, video="dub.mp4", kind="cross"):
        return Row(name, "g", kind, system, {}, video=video)

    (tmp_path / "dub.mp4").write_bytes(b"")
    rows = [row("good", s) for s in SYSTEMS] + [row("quiet", s, kind="silence") for s in SYSTEMS]
    rows += [row("half", SYSTEMS[0]), row("half", SYSTEMS[1], video=None)]
    rows += [row("mute", s) for s in SYSTEMS] + [row("unheard", s) for s in SYSTEMS]
    results = Results("t", SYSTEMS, ("g",), (), tuple(rows))
    originals = dict.fromkeys(("good", "half", "unheard"), clips[0].original)
    originals["mute"] = make_clip("mute.mp4", count=3, sound=False)
    speech = dict.fromkeys(("good", "half", "mute"), clips[0].speech)
    items, left_out = items_from_results(results, tmp_path, speech, originals)
    assert [item.name for item in items] == ["good"]
    assert list(items[0].videos) == list(SYSTEMS)
    assert len(left_out) == 3
    assert f"no dub by {SYSTEMS[1]}" in left_out[0] and "no sound of its own" in left_out[1]
    assert "speech is not known" in left_out[2]
    items, _ = items_from_results(results, tmp_path, speech, originals, systems=SYSTEMS[:1])
    assert [item.name for item in items] == ["good", "half"]


# Scoring


def toy_key(clips=4, systems=("ours", "theirs")):
    kinds = [(VideoRole.system, s) for s in systems]
    kinds += [(VideoRole.truth, "ground truth"), (VideoRole.control, "control")]
    pages = []
    for i in range(clips):
        videos = tuple(RatedVideo(f"{i:04d}{j:08d}", *kind) for j, kind in enumerate(kinds))
        pages.append(Page(f"clip{i}", "ab"[i % 2], videos))
    return Key("0123456789abcdef", 3, systems, tuple(pages))


def answer(key, rater, mark, finished="2030-01-01T00:00:00.000Z", **changes):
    """mark: (entry, criterion) -> int."""
    return {
        "format": "listening-test-answers-1",
        "study": key.study,
        "rater": f"{rater:016x}",
        "started": "2030-01-01T00:00:00.000Z",
        "finished": finished,
        "answers": {e.token: {c: mark(e, c) for c in CRITERIA} for page in key.pages for e in page.videos},
        **changes,
    }


LEVEL = {"ours": 8, "theirs": 6, "ground truth": 9, "control": 2}


def honest(entry, criterion):
    return LEVEL[entry.system]


def noisy(seed, levels=LEVEL):
    rng = np.random.default_rng(seed)
    return lambda entry, criterion: int(np.clip(levels[entry.system] + rng.integers(-1, 2), 1, 10))


@pytest.fixture
def score(tmp_path):
    key = toy_key()
    key.save(tmp_path / "key.json")
    (tmp_path / "answers").mkdir()

    def run(*given):
        for number, data in enumerate(given):
            path = tmp_path / "answers" / f"{number:03d}.json"
            if isinstance(data, str):
                path.write_text(data)
            else:
                write_json(path, data)
        return score_answers(tmp_path / "key.json", tmp_path / "answers", tmp_path / "out")

    run.key, run.out = key, tmp_path / "out"
    return run


def test_known_means_come_back_with_their_errors(score):
    scores = score(*(answer(score.key, r, noisy(r)) for r in range(30)))
    assert len(scores.kept) == 30
    found = {(m.system, m.criterion): m for m in scores.means if m.group == "all"}
    for (system, _), mean in found.items():
        assert mean.ratings == 120
        assert mean.mean == pytest.approx(LEVEL[system], abs=0.25)
        assert mean.low < mean.mean < mean.high
        assert mean.standard_error == pytest.approx(np.sqrt(2 / 3 / 120), rel=0.2)
    assert {m.group for m in scores.means} == {"all", "a", "b"}
    test = next(c for c in scores.comparisons if c.group == "all" and c.criterion == "sync")
    assert (test.first, test.other, test.pairs) == ("ours", "theirs", 120)
    assert test.difference == pytest.approx(2, abs=0.3)
    assert test.p_first_better < 1e-10 and test.p_two_sided == pytest.approx(2 * test.p_first_better)


def test_the_test_is_scipys_on_the_pairs_and_equal_systems_differ_by_chance_only(score):
    equal = {**LEVEL, "theirs": 8}
    scores = score(*(answer(score.key, r, noisy(r, equal)) for r in range(10)))
    assert all(c.p_two_sided > 0.01 for c in scores.comparisons)
    tied = score(*(answer(score.key, r, lambda e, c: equal[e.system]) for r in range(10)))
    assert all((c.untied, c.p_first_better, c.difference) == (0, 1.0, 0.0) for c in tied.comparisons)


def test_a_rater_who_always_gives_one_mark_is_excluded(score):
    same = [answer(score.key, 10 + level, lambda e, c, level=level: level) for level in range(1, 11)]
    scores = score(answer(score.key, 1, honest), *same)
    assert scores.kept == (f"{1:016x}",)
    assert {one.rater for one in scores.excluded} == {f"{10 + level:016x}" for level in range(1, 11)}
    assert all(one.reasons for one in scores.excluded)


def test_random_raters_are_excluded(score):
    given = [answer(score.key, 1, honest)]
    for rater in range(2, 12):
        rng = np.random.default_rng(rater)
        given.append(answer(score.key, rater, lambda e, c, rng=rng: int(rng.integers(1, 11))))
    assert len(score(*given).kept) <= 2


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_thresholds_at_their_borders(score, criterion):
    """6 and 4 count; a quarter of a mark beyond does not; either criterion decides alone."""

    def rater(truth, control):
        def mark(entry, c):
            first = entry.token.startswith("0000")
            if c != criterion:
                return LEVEL[entry.system]
            if entry.role is VideoRole.truth:
                return 6 + (truth if first else 0)
            if entry.role is VideoRole.control:
                return 4 + (control if first else 0)
            return 7

        return mark

    given = [rater(0, 0), rater(-1, 0), rater(0, 1), rater(1, -1)]
    scores = score(*(answer(score.key, i, mark) for i, mark in enumerate(given)))
    assert scores.kept == (f"{0:016x}", f"{3:016x}")
    assert scores.excluded[0].reasons == (f"Mean {criterion} of the ground truth is 5.75, below 6.",)
    assert scores.excluded[1].reasons == (f"Mean {criterion} of the control is 4.25, above 4.",)


def test_files_that_do_not_count_are_named_with_the_reason(score):
    good = answer(score.key, 1, honest)
    token = min(score.key.tokens)
    few = {t: m for t, m in good["answers"].items() if t != token}
    scores = score(
        good,
        "{ not json",
        {"format": "something else"},
        answer(score.key, 2, honest, study="fedcba9876543210"),
        answer(score.key, 3, honest, answers=few),
        answer(score.key, 4, honest, answers={**good["answers"], "ffff": {"naturalness": 1, "sync": 1}}),
        answer(score.key, 5, lambda e, c: 11 if e.token == token else 5),
        answer(score.key, 6, lambda e, c: True),
        answer(score.key, 7, honest, answers={**good["answers"], token: {"sync": 3}}),
        {**answer(score.key, 8, honest), "rater": "../../etc"},
        answer(score.key, 1, honest, finished="2029-01-01T00:00:00.000Z"),
    )
    assert scores.kept == (f"{1:016x}",) and not scores.excluded
    reasons = {one.file: one.reason for one in scores.left_out}
    words = {
        1: "not valid JSON",
        2: "no answer file",
        3: "another listening test",
        4: "lacks 1 of 16",
        5: "'ffff', which is not part",
        6: "mark 11",
        7: "mark True",
        8: "not exactly the marks",
        9: "which rater",
        10: "same rater as 000.json",
    }
    assert set(reasons) == {f"{n:03d}.json" for n in words}
    for number, word in words.items():
        assert word in reasons[f"{number:03d}.json"]
    text = (score.out / "scores.txt").read_text()
    assert all(name in text for name in reasons)


def test_of_two_files_of_a_rater_the_later_counts(score):
    lower = {**LEVEL, "ours": 5}
    scores = score(
        answer(score.key, 1, honest, finished="2030-01-01T00:00:00.000Z"),
        answer(score.key, 1, lambda e, c: lower[e.system], finished="2030-01-02T00:00:00.000Z"),
    )
    assert [one.file for one in scores.left_out] == ["000.json"]
    assert next(m.mean for m in scores.means if m.system == "ours") == 5


def test_tables_agree_with_each_other(score):
    scores = score(*(answer(score.key, r, noisy(r)) for r in range(5)), answer(score.key, 9, lambda e, c: 5))
    data = json.loads((score.out / "scores.json").read_text())
    assert data["means"][0]["mean"] == scores.means[0].mean and len(data["excluded"]) == 1
    with (score.out / "means.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(scores.means) and float(rows[0]["mean"]) == scores.means[0].mean
    assert {row["role"] for row in rows} == {"system", "truth", "control"}
    with (score.out / "ratings.csv").open() as stream:
        ratings = list(csv.DictReader(stream))
    assert len(ratings) == 6 * 16
    ours = [int(r["sync"]) for r in ratings if r["counts"] == "True" and r["system"] == "ours"]
    mean = next(m for m in scores.means if (m.system, m.criterion, m.group) == ("ours", "sync", "all"))
    assert np.mean(ours) == mean.mean and len(ours) == mean.ratings
    text = (score.out / "scores.txt").read_text()
    assert "5 raters count, 1 are excluded" in text and "ours better: p=" in text


def test_nobody_left_is_an_outcome_and_not_an_error(score):
    scores = score(answer(score.key, 1, lambda e, c: 5))
    assert not scores.kept and not scores.means and not scores.comparisons
    assert "No rater counts" in (score.out / "scores.txt").read_text()


def test_wrong_folders_and_keys_are_refused(score, tmp_path):
    with pytest.raises(UserError, match=r"holds no \.json"):
        score_answers(tmp_path / "key.json", tmp_path / "answers", tmp_path / "out")
    with pytest.raises(UserError, match="does not exist"):
        score_answers(tmp_path / "key.json", tmp_path / "nowhere", tmp_path / "out")
    write_json(tmp_path / "other.json", {"a": 1})
    with pytest.raises(UserError, match="no key of a listening test"):
        score_answers(tmp_path / "other.json", tmp_path / "answers", tmp_path / "out")
    write_json(tmp_path / "broken.json", {"format": "listening-test-key-1", "study": "x"})
    with pytest.raises(UserError, match="damaged"):
        score_answers(tmp_path / "broken.json", tmp_path / "answers", tmp_path / "out")


def test_the_interval_knows_that_marks_of_one_rater_go_together():
    """Twenty marks by one rater each are worth more than twenty by two raters who disagree."""
    split = np.repeat([[4.0], [8.0]], 10, axis=1)
    mixed = np.random.default_rng(0).permuted(split.ravel()).reshape(20, 1)
    wide, narrow = (np.diff(bootstrap(m, seed=0))[0] for m in (split, mixed))
    assert wide == pytest.approx(4.0) and narrow < 2.0
    assert bootstrap(np.full((3, 4), 7.0), seed=0) == pytest.approx((7.0, 7.0))
