"""Means by kind and group, and results in files."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from eval_demo import METRICS, demo_results
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.files import read_json as plain_json
from evaluation.metrics.base import Better, Kind, Metric
from evaluation.results import Results, Row
from evaluation.results_file import COLUMNS, read_json, write_csv, write_json
from evaluation.tables import Block, aggregate


def metric(key: str, better: Better, kinds: tuple[Kind, ...] = tuple(Kind)) -> Metric:
    return Metric(key, key.upper(), "", better, "x", "ours", "family", kinds)


def results(rows: list[Row], *metrics: Metric, **more: object) -> Results:
    systems = tuple(dict.fromkeys(row.system for row in rows))
    groups = tuple(dict.fromkeys(row.group for row in rows))
    return Results("t", systems, groups, metrics, tuple(rows), **more)  # type: ignore[arg-type]


def row(name: str, system: str, *, group: str = "g", kind: str = "cross", **values: float) -> Row:
    return Row(name, group, kind, system, values)


def block(found: Results, kind: str = "all", group: str = "all", correct: bool = False) -> Block:
    blocks = aggregate(found, correct=correct).blocks
    return next(b for b in blocks if (b.kind, b.group) == (kind, group))


def test_means_counts_and_bests_are_those_of_the_clips() -> None:
    rows = [row(str(k), "ours", up=k, down=k) for k in range(4)]
    rows += [row(str(k), "theirs", up=k + 1, down=k + 1) for k in range(3)]
    found = block(results(rows, metric("up", Better.higher), metric("down", Better.lower)))
    ours, theirs = found.cells["ours"], found.cells["theirs"]
    assert (ours["up"].value, ours["up"].count) == (1.5, 4)
    assert (theirs["up"].value, theirs["up"].count) == (2.0, 3)
    assert ours["up"].interval is not None and ours["up"].interval[0] < 1.5 < ours["up"].interval[1]
    assert (ours["up"].best, theirs["up"].best) == (False, True)
    assert (ours["down"].best, theirs["down"].best) == (True, False)
    assert found.rows == 4


def test_around_zero_and_one_the_clips_distance_decides() -> None:
    """Early and late dubs have a mean of no delay: that is not a good dub."""
    metrics = (metric("lag", Better.zero), metric("ratio", Better.one), metric("told", Better.none))
    rows = []
    for k in range(4):
        side = 1 if k % 2 else -1
        rows.append(row(str(k), "wild", lag=5 * side, ratio=1 + 0.5 * side, told=1))
        rows.append(row(str(k), "steady", lag=1, ratio=1.1, told=2))
    cells = block(results(rows, *metrics)).cells
    assert cells["wild"]["lag"].value == 0 and cells["wild"]["lag"].off == 5
    assert cells["wild"]["ratio"].off == pytest.approx(0.5)
    assert not cells["wild"]["lag"].best and cells["steady"]["lag"].best
    assert not cells["wild"]["ratio"].best and cells["steady"]["ratio"].best
    assert not cells["wild"]["told"].best and not cells["steady"]["told"].best


def test_the_own_words_and_the_way_back_do_not_lift_a_copy() -> None:
    back = metric("back", Better.zero, (Kind.cycle,))
    spoken = metric("r", Better.higher, (Kind.cross, Kind.self, Kind.cycle))
    rows = [
        row("a", "copy", kind="cross", r=0.0),
        row("a+self", "copy", kind="self", r=1.0),
        row("a+cycle", "copy", kind="cycle", r=1.0, back=0.5),
        row("a+silence", "copy", kind="silence"),
    ]
    found = results(rows, spoken, back)
    overall = block(found)
    assert overall.rows == 2
    assert overall.cells["copy"]["r"].value == 0.0 and overall.cells["copy"]["back"].value == 0.5
    assert block(found, kind="self").cells["copy"]["r"].value == 1.0
    alone = results(rows[1:2], spoken)
    assert block(alone).cells["copy"]["r"].value == 1.0


def test_a_metric_is_only_averaged_over_its_kinds() -> None:
    rows = [
        row("a", "s", kind="cross", sync=4.0, looks=1.0),
        row("b", "s", kind="cross", sync=6.0, looks=2.0),
        row("a", "s", kind="silence", sync=100.0, looks=6.0),
    ]
    found = results(rows, metric("sync", Better.higher, (Kind.cross,)), metric("looks", Better.higher))
    assert block(found).cells["s"]["sync"].value == 5.0
    assert block(found).cells["s"]["looks"].value == 3.0
    assert "sync" not in block(found, "silence").cells["s"]
    assert block(found, "silence").cells["s"]["looks"].value == 6.0
    assert block(found, "cross").rows == 2
    # One kind or group alone would only say the same again.
    assert [(b.kind, b.group) for b in aggregate(found).blocks] == [
        ("all", "all"),
        ("cross", "all"),
        ("silence", "all"),
    ]


def test_groups_have_their_own_blocks_and_pooled_values() -> None:
    rows = [row(f"{g}{k}", s, group=g, up=k) for g in "xy" for k in range(3) for s in ("a", "b")]
    pooled = {"a": {"all": {"fid": 3.0}, "x": {"fid": 5.0}}, "b": {"all": {"fid": 2.0}}}
    found = results(rows, metric("up", Better.higher), metric("fid", Better.lower), pooled=pooled)
    everything = block(found)
    assert everything.cells["a"]["fid"].value == 3.0 and everything.cells["a"]["fid"].count is None
    assert everything.cells["b"]["fid"].best and everything.cells["b"]["fid"].against is None
    assert block(found, group="x").cells["a"]["fid"].value == 5.0
    assert "fid" not in block(found, group="y").cells["a"]
    assert block(found, group="y").rows == 3
    # The same clips: neither is better, both are.
    assert everything.cells["a"]["up"].best and everything.cells["b"]["up"].best


def test_stars_compare_with_the_first_system_on_common_clips() -> None:
    rows = [row(str(k), "ours", up=10 + k) for k in range(8)]
    rows += [row(str(k), "theirs", up=9 + 0.9 * k) for k in range(6)]
    rows += [row(str(k), "few", up=1.0) for k in range(5)]
    rows += [row(f"other{k}", "few", up=1.0) for k in range(20)]
    cells = block(results(rows, metric("up", Better.higher))).cells
    assert cells["ours"]["up"].against is None
    against = cells["theirs"]["up"].against
    assert against is not None and against.p == pytest.approx(1 / 64) and against.stars == "*"
    assert cells["few"]["up"].against is None


def test_holm_counts_the_metrics_of_a_table() -> None:
    rows = []
    for k in range(6):
        rows.append(row(str(k), "ours", a=k + 1.0, b=k + 1.0, c=2.0 * k + 1))
        rows.append(row(str(k), "theirs", a=0.9 * k, b=0.9 * k, c=0.0))
    metrics = [metric(key, Better.higher) for key in "abc"]
    cells = block(results(rows, *metrics), correct=True).cells["theirs"]
    for key in "abc":
        against = cells[key].against
        assert against is not None and against.p == pytest.approx(3 / 64) and against.stars == "*"
    assert aggregate(results(rows, *metrics), correct=True).corrected


def test_a_row_without_a_dub_is_a_failure_and_not_a_zero() -> None:
    rows = [
        Row("a", "g", "cross", "s", {"up": 4.0}, success=True, seconds=2.0, frames=50),
        Row("b", "g", "cross", "s", {"up": 6.0}, success=False, seconds=3.0, frames=50),
        Row("c", "g", "cross", "s", {}, error="no face"),
        Row("d", "g", "cross", "s", {}),
    ]
    found = block(results(rows, metric("up", Better.higher)))
    rate = found.rates["s"]
    assert (rate.successes, rate.count, rate.errors) == (1, 3, 1)
    assert rate.frames_per_second == 20.0
    assert found.cells["s"]["up"].value == 5.0 and found.cells["s"]["up"].count == 2
    unjudged = block(results(rows[3:])).rates["s"]
    assert unjudged.interval is None and unjudged.frames_per_second is None


@pytest.mark.parametrize(
    "rows",
    [
        [row("a", "s", up=1.0), row("a", "s", up=2.0)],
        [row("a", "s", up=float("nan"))],
        [row("a", "s", unknown=1.0)],
        [row("a", "s", kind="opera", up=1.0)],
        [row("a", "s", group="all", up=1.0), row("a", "s", group="x", up=1.0)],
    ],
)
def test_what_would_make_wrong_tables_is_refused(rows: list[Row]) -> None:
    with pytest.raises(ValueError):
        aggregate(results(rows, metric("up", Better.higher)))


def test_a_row_of_an_unknown_system_or_group_is_refused() -> None:
    good = results([row("a", "s", up=1.0)], metric("up", Better.higher))
    aggregate(good)
    for bad in (replace(good, systems=("other",)), replace(good, groups=("h",)), replace(good, systems=())):
        with pytest.raises(ValueError):
            aggregate(bad)


def test_json_gives_back_everything(tmp_path: Path) -> None:
    found = demo_results(clips=1, frames=6)
    path = tmp_path / "results.json"
    write_json(found, path, aggregate(found))
    assert read_json(path) == found
    overall = plain_json(path)["tables"]["blocks"][0]
    assert overall["cells"]["editor"]["csim"]["count"] == 3  # the fourth clip says its own words
    assert overall["rates"]["generator"]["errors"] == 1


def test_json_of_something_else_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    found = demo_results(clips=1, frames=6)
    with pytest.raises(ValueError):
        write_json(replace(found, rows=(row("a", "s", csim=float("nan")),)), path)
    assert not path.exists()
    path.write_text("{}")
    with pytest.raises(UserError, match=r"results\.json.*holds no results"):
        read_json(path)
    write_json(found, path)
    path.write_text(path.read_text().replace('"better": "higher"', '"better": "louder"', 1))
    with pytest.raises(UserError, match="damaged"):
        read_json(path)


def rows_in(path: Path) -> tuple[Row, ...]:
    """What the lines of a results.csv say; curves and pictures are not in it."""
    with path.open(encoding="utf-8", newline="") as stream:
        header, *lines = csv.reader(stream)
    found = []
    for line in lines:
        name, group, kind, system, success, reasons, frames, seconds, error, notes = line[: len(COLUMNS)]
        measured = zip(header[len(COLUMNS) :], line[len(COLUMNS) :], strict=True)
        found.append(
            Row(
                name,
                group,
                kind,
                system,
                {key: float(text) for key, text in measured if text},
                seconds=float(seconds) if seconds else None,
                frames=int(frames),
                success={"": None, "true": True, "false": False}[success],
                reasons=tuple(json.loads(reasons or "[]")),
                error=error or None,
                notes=tuple(json.loads(notes or "[]")),
            )
        )
    return tuple(found)


def test_csv_has_a_line_per_row_and_empty_cells_where_nothing_was_measured(tmp_path: Path) -> None:
    found = demo_results(clips=1, frames=6)
    path = tmp_path / "results.csv"
    write_csv(found, path)
    with path.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == len(found.rows)
    assert list(lines[0]) == [*COLUMNS, *(m.key for m in METRICS)]
    for line, given_row in zip(lines, found.rows, strict=True):
        for m in METRICS:
            assert (line[m.key] == "") == (m.key not in given_row.values)
            assert line[m.key] == "" or float(line[m.key]) == given_row.values[m.key]
    assert rows_in(path) == tuple(replace(r, curves={}) for r in found.rows)


TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
ROWS = st.builds(
    Row,
    name=TEXT,
    group=TEXT,
    kind=st.sampled_from([kind.value for kind in Kind]),
    system=TEXT,
    values=st.dictionaries(
        st.sampled_from(["up", "down"]), st.floats(allow_nan=False, allow_infinity=False), max_size=2
    ),
    curves=st.just({}),
    seconds=st.none() | st.floats(0, 1e6),
    frames=st.integers(0, 10**6),
    success=st.none() | st.booleans(),
    reasons=st.lists(TEXT, max_size=2).map(tuple),
    error=st.none() | TEXT.filter(bool),
    notes=st.lists(TEXT, max_size=2).map(tuple),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(ROWS, max_size=3))
def test_any_row_survives_both_files(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    metrics = (metric("up", Better.higher), metric("down", Better.one, (Kind.self,)))
    found = results(rows, *metrics)
    folder = tmp_path_factory.mktemp("files")
    write_csv(found, folder / "r.csv")
    assert rows_in(folder / "r.csv") == found.rows
    write_json(found, folder / "r.json")
    assert read_json(folder / "r.json") == found


def test_a_metric_named_like_another_column_is_refused(tmp_path: Path) -> None:
    clash = results([row("a", "s", error=1.0)], metric("error", Better.lower))
    with pytest.raises(ValueError, match="error"):
        write_csv(clash, tmp_path / "results.csv")
