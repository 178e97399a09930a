"""The page: whole, alone, safe, and with everything on it; its clips and pictures."""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from eval_demo import METRICS, demo_results, write_media

from common.errors import UserError
from common.media import load_audio, probe, read_frames
from evaluation.previews import PREVIEW_HEIGHT, write_preview, write_strip
from evaluation.report import write_report
from evaluation.results import Results
from evaluation.tables import aggregate

HOSTILE = "<script>alert(1)</script> & \"q\" 'a' $x$ {{ 7 * 7 }} 日本"
VOID = {"meta", "br", "img", "hr", "input", "link"}
SHAPES = {"path", "use", "circle", "rect"}


class Page(HTMLParser):
    """Tags with attributes, text, and whether everything that opens also closes."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.cells: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SHAPES or tag == "defs" or tag == "g"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(text for text in self.texts if text)

    def addresses(self) -> list[tuple[str, str]]:
        names = ("src", "href", "poster", "data", "action", "srcset", "xlink:href")
        return [(tag, found[name]) for tag, found in self.tags for name in names if name in found]

    def values(self, name: str) -> list[str]:
        return [found[name] for _, found in self.tags if name in found]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    folder = tmp_path_factory.mktemp("report")
    found = demo_results(clips=1, frames=10)
    write_media(folder, "media/a", found.rows[0].curves, 120, 32)
    rows = [
        row if row.error is not None else replace(row, preview="media/a.mp4", strip="media/a.jpg")
        for row in found.rows
    ]
    return folder, replace(found, rows=tuple(rows))


@pytest.fixture(scope="module")
def page(shown: tuple[Path, Results]) -> Page:
    folder, found = shown
    path = write_report(found, folder)
    assert path == folder / "report.html"
    return Page(path)


def test_the_page_asks_nobody_for_anything(page: Page) -> None:
    for tag, address in page.addresses():
        assert address.startswith("data:") or (tag in ("a", "use") and address.startswith("#")), address
    assert "@import" not in page.source and not re.search(r"url\((?!#)", page.source)
    assert not re.search(r"(?:https?:)?//\w", re.sub(r"base64,[\w+/=]+", "", page.source))
    assert "link" not in {tag for tag, _ in page.tags}


def test_links_within_the_page_and_shared_shapes_lead_somewhere(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    inner = {address[1:] for _, address in page.addresses() if address.startswith("#")}
    clips = {f"url(#{i})" for i in ids}
    assert inner <= set(ids)
    assert {found["clip-path"] for _, found in page.tags if "clip-path" in found} <= clips


def test_clips_and_pictures_are_inside_whole(shown: tuple[Path, Results], page: Page) -> None:
    folder, found = shown
    made = sum(row.preview is not None for row in found.rows)
    videos = [attrs for tag, attrs in page.tags if tag == "video"]
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(videos) == len(pictures) == made
    for attrs in videos:
        assert {"controls", "loop", "muted"} <= set(attrs)
        head, data = attrs["src"].split(",")
        assert head == "data:video/mp4;base64"
        assert base64.b64decode(data, validate=True) == (folder / "media/a.mp4").read_bytes()
    for attrs in pictures:
        head, data = attrs["src"].split(",")
        assert head == "data:image/jpeg;base64" and attrs["alt"]
        assert base64.b64decode(data, validate=True) == (folder / "media/a.jpg").read_bytes()


def test_only_the_pages_own_script_may_run(page: Page) -> None:
    (policy,) = [v for v in page.values("content") if "default-src" in v]
    (script,) = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)


def test_everything_is_on_the_page(shown: tuple[Path, Results], page: Page) -> None:
    _, found = shown
    for metric in METRICS:
        assert metric.title in page.text and metric.key in page.text and metric.formula in page.text
    for row in found.rows:
        assert row.name in page.text and row.group in page.text
        assert all(reason in page.text for reason in (*row.reasons, *row.notes))
    for rule in found.facts["rules"]:
        assert rule in page.text
    assert "syncnet_v2 (sha256 3f2a…)" in page.text and "LPIPS: no weights" in page.text
    overall = aggregate(found).overall
    for cells in overall.cells.values():
        for key, cell in cells.items():
            unit = next(m.unit for m in METRICS if m.key == key)
            assert f"{cell.value:.6g} {unit}".strip() in {v.split(";")[0] for v in page.values("title")}
    sorts = page.values("data-v")
    for row in found.rows:
        assert all(str(value) in sorts for value in row.values.values())


def test_what_is_missing_is_a_dash_with_its_reason(page: Page) -> None:
    titles = [attrs["title"] for tag, attrs in page.tags if tag == "abbr"]
    assert "No dub: No face in 40 % of the frames." in titles
    assert "Needs ten clips; a group has fewer." in titles
    assert "Only taken from rows of kind silence." in titles
    assert all(titles)
    dashes = re.findall(r"<td[^>]*><abbr[^>]*>([^<]*)</abbr>", page.source)
    assert set(dashes) == {"\N{EN DASH}", "no dub"}


def test_the_test_and_its_correction_are_told(
    shown: tuple[Path, Results], tmp_path: Path, page: Page
) -> None:
    _, found = shown
    found = replace(found, rows=tuple(replace(r, preview=None, strip=None, curves={}) for r in found.rows))
    assert "not corrected" in page.text
    corrected = Page(write_report(found, tmp_path, tables=aggregate(found, correct=True)))
    assert "(Holm)" in corrected.text and "not corrected" not in corrected.text


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    found = demo_results(clips=1, frames=6)
    names = {system: f"{system} {HOSTILE}" for system in found.systems}
    rows = [
        replace(
            row,
            name=f"{row.name} {HOSTILE}",
            group=HOSTILE,
            system=names[row.system],
            error=HOSTILE if row.error else None,
            notes=(HOSTILE,),
            video=f"dubs/{HOSTILE}.mp4",
        )
        for row in found.rows
    ]
    metrics = tuple(replace(m, title=HOSTILE, formula=HOSTILE, group=HOSTILE, unit="<b>") for m in METRICS)
    hostile = replace(
        found,
        title=HOSTILE,
        systems=tuple(names.values()),
        groups=(HOSTILE,),
        metrics=metrics,
        rows=tuple(rows),
        pooled={},
        facts={HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}], "rules": [HOSTILE]},
    )
    page = Page(write_report(hostile, tmp_path))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 1 and "b" not in tags
    assert HOSTILE in page.text and "49" not in page.texts
    assert all("<" not in address and '"' not in address for _, address in page.addresses())
    assert page.source.count("alert(1)</script>") == 0


def test_a_page_that_would_be_too_large_links_its_clips(shown: tuple[Path, Results]) -> None:
    folder, found = shown
    found = replace(found, rows=tuple(replace(row, curves={}) for row in found.rows))
    picture = (folder / "media/a.jpg").stat().st_size
    page = Page(write_report(found, folder, size_limit=11 * picture * 4 // 3 + 11))
    assert {a for t, a in page.addresses() if t == "video"} == {"media/a.mp4"}
    assert all(a.startswith("data:") for t, a in page.addresses() if t == "img")
    assert "stay in the folder beside it" in page.text
    page = Page(write_report(found, folder, size_limit=0))
    assert {a for t, a in page.addresses() if t == "img"} == {"media/a.jpg"}


def test_a_lost_file_is_told_and_a_strange_one_refused(tmp_path: Path) -> None:
    found = demo_results(clips=1, frames=6)

    def with_preview(path: str) -> Results:
        return replace(found, rows=(replace(found.rows[0], preview=path), *found.rows[1:]))

    page = Page(write_report(with_preview("media/lost.mp4"), tmp_path))
    assert "media/lost.mp4 is missing" in page.text and "video" not in {tag for tag, _ in page.tags}
    for path in ("../x.mp4", "/etc/x.mp4", "media/x.html"):
        with pytest.raises(UserError, match="of the report"):
            write_report(with_preview(path), tmp_path)


def test_one_system_without_anything_else_is_a_page_too(tmp_path: Path) -> None:
    found = demo_results(clips=1, frames=6)
    row = replace(found.rows[0], values={}, curves={}, success=None, seconds=None)
    alone = Results("One", (row.system,), (row.group,), METRICS, (row,))
    page = Page(write_report(alone, tmp_path))
    assert "By group" not in page.text and "Wilcoxon" not in page.text
    assert "Not measured here." in page.values("title")
    assert page.values("data-v") == []


def test_a_preview_shows_all_versions_and_speaks(
    tmp_path: Path, moving_frames: Callable[..., np.ndarray], tone: Callable[..., np.ndarray]
) -> None:
    path = tmp_path / "p.mp4"
    wide, small = moving_frames(12, 400, 200), moving_frames(9, 50, 50)
    write_preview(path, [("source", wide), ("dub", small)], tone(3.0))
    info = probe(path)
    assert info.frame_count == 9 and info.average_rate == 25 and info.has_audio
    assert info.width == 96 + 192
    assert PREVIEW_HEIGHT <= info.height <= PREVIEW_HEIGHT + 24
    heard = load_audio(path)
    assert abs(len(heard) / 16000 - 9 / 25) < 0.1 and np.abs(heard).max() > 0.2
    seen = read_frames(path)[4, -PREVIEW_HEIGHT:, :96].astype(float)
    right = cv2.resize(wide[4], (96, 192), interpolation=cv2.INTER_AREA)
    assert np.abs(seen - right).mean() < 8
    assert path.stat().st_size < 60_000


def test_a_preview_without_sound_or_pictures(
    tmp_path: Path, moving_frames: Callable[..., np.ndarray]
) -> None:
    write_preview(tmp_path / "mute.mp4", [("dub", moving_frames(3, 32, 32))])
    assert not probe(tmp_path / "mute.mp4").has_audio
    for videos in ([], [("dub", moving_frames(3, 32, 32)[:0])]):
        with pytest.raises(ValueError):
            write_preview(tmp_path / "none.mp4", videos)


@pytest.mark.parametrize(("name", "magic"), [("s.png", b"\x89PNG"), ("s.jpg", b"\xff\xd8\xff")])
def test_a_strip_is_what_its_name_says(tmp_path: Path, name: str, magic: bytes) -> None:
    dark, light = (np.full((30, 20, 40, 3), value, np.uint8) for value in (40, 200))
    write_strip(tmp_path / name, [("source", dark), ("dub", light)], columns=5, height=20)
    assert (tmp_path / name).read_bytes().startswith(magic)
    picture = cv2.imread(str(tmp_path / name)).astype(int)
    assert picture.shape[1] == 5 * 40
    half = len(picture) // 2
    assert abs(picture[half - 8].mean() - 40) < 6 and abs(picture[-8].mean() - 200) < 6
