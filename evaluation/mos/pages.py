"""Making the page of a listening test (EdiDub, appendix A.2)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np

from common.errors import UserError
from common.face import FaceDetector, build_detector
from common.files import PathLike, atomic_dir
from common.progress import CountCallback
from evaluation.dubbed_clip import RATE, Frames
from evaluation.mos.control import corrupted_frames, require_length
from evaluation.mos.footage import Form, common_form, shown_frames, write_shown
from evaluation.mos.items import ListeningItem
from evaluation.mos.key import (
    ANSWERS_FORMAT,
    CRITERIA,
    HIGHEST,
    LOWEST,
    ROLE_NAMES,
    Key,
    Page,
    RatedVideo,
    VideoRole,
)


@dataclass(frozen=True)
class PageOptions:
    """How a test is drawn and shown.

    Attributes:
        seed: of names, orders and the control. None draws one. Whoever knows the seed and this program can
            find out what is what, so a page for strangers should not be made with a seed they might guess.
        key: JSON file outside the page's folder; default: beside it, with ".key.json" added. Never
            overwritten.
        limit: so many clips at most, evenly from all groups; 0: all.
        seconds: clips are cut to this length.
        height: pixels; larger videos are shrunk.
        title: heading of the page.
    """

    seed: int | None = None
    key: PathLike | None = None
    limit: int = 0
    seconds: float = 15.0
    height: int = 720
    title: str = "Video listening test"


def make_pages(
    items: Sequence[ListeningItem],
    output: PathLike,
    options: PageOptions | None = None,
    *,
    detector: FaceDetector | None = None,
    progress: CountCallback | None = None,
) -> Key:
    """Write a folder that can be opened from disk or put on any web server, and beside it the key.

    Each clip is one page: every system, the original with its own sound, and a corrupted control, in random
    order under random names. All videos of a page have one size, rate, length, encoder and sound format.

    Args:
        items: at least one; all with the same systems.
        output: folder, new or empty. Nothing in it says which video is whose.
        options: default: a drawn seed and all clips.
        detector: finds the mouth for the control; default: mediapipe.
        progress: called after each clip with (clips done, clips in all).

    Raises:
        UserError: no item, systems differ, a folder or key is in the way, a video cannot be read, is too
            short, shows no face, or has another aspect than its original.
    """
    output, options = Path(output), options or PageOptions()
    key_path = Path(options.key) if options.key is not None else output.with_name(f"{output.name}.key.json")
    _check(items, output, key_path)
    seed = secrets.randbits(63) if options.seed is None else options.seed
    rng = np.random.default_rng(seed)
    made = plan(_chosen(items, options.limit, rng), seed, rng)
    by_name = {item.name: item for item in items}
    finder = detector if detector is not None else build_detector()
    forms = _forms([by_name[page.clip] for page in made.pages], options)
    refused = []
    with atomic_dir(output) as folder:
        for number, (page, form) in enumerate(zip(made.pages, forms, strict=True)):
            # A generator of its own: what one clip draws does not depend on the clips before.
            drawn = np.random.default_rng([seed, number])
            try:
                _write_clip(folder, page, by_name[page.clip], form, finder, drawn)
            except UserError as error:
                refused.append(f"clip '{page.clip}': {error}")
            if progress is not None:
                progress(number + 1, len(made.pages))
        _refuse(refused)
        (folder / "index.html").write_text(render(made, forms, options.title), encoding="utf-8")
        made.save(key_path)
    return made


def _check(items: Sequence[ListeningItem], output: Path, key_path: Path) -> None:
    if not items:
        raise UserError("There is no clip to rate: give an evaluation with at least one dubbed row.")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"The output folder '{output}' is not empty: choose a new one.")
    if output.resolve() in key_path.resolve().parents:
        raise UserError(
            f"The key '{key_path}' would be published with the page: give a path outside '{output}'."
        )
    if key_path.exists():
        raise UserError(f"The key '{key_path}' exists and answers may need it: move it away or name another.")
    systems = list(items[0].videos)
    if not systems:
        raise UserError(f"The clip '{items[0].name}' has no dub: give at least one system.")
    names = [item.name for item in items]
    for item in items:
        if set(item.videos) != set(systems):
            raise UserError(
                f"The clip '{item.name}' has dubs of other systems than '{names[0]}': give the same."
            )
        if names.count(item.name) > 1:
            raise UserError(f"The clip '{item.name}' is given twice: give each clip its own name.")


def _chosen(items: Sequence[ListeningItem], limit: int, rng: np.random.Generator) -> list[ListeningItem]:
    """The clips in the order of the pages: shuffled, and where limited the groups take turns."""
    shuffled = [items[i] for i in rng.permutation(len(items))]
    if not limit:
        return shuffled
    turn: dict[str, int] = {}
    turns = []
    for item in shuffled:
        turns.append(turn.setdefault(item.group, 0))
        turn[item.group] += 1
    kept = sorted(sorted(range(len(shuffled)), key=lambda i: turns[i])[:limit])
    return [shuffled[i] for i in kept]


def plan(items: Sequence[ListeningItem], seed: int, rng: np.random.Generator) -> Key:
    """Draw names and orders. No page has the order of the page before it."""
    systems = tuple(items[0].videos)
    kinds = [(VideoRole.system, name) for name in systems]
    kinds += [(role, ROLE_NAMES[role]) for role in (VideoRole.truth, VideoRole.control)]
    used: set[str] = set()

    def fresh() -> str:
        token = rng.bytes(6).hex()
        while token in used:
            token = rng.bytes(6).hex()
        used.add(token)
        return token

    study = rng.bytes(8).hex()
    pages: list[Page] = []
    before: list[int] = []
    for item in items:
        order = rng.permutation(len(kinds)).tolist()
        while order == before:
            order = rng.permutation(len(kinds)).tolist()
        before = order
        pages.append(Page(item.name, item.group, tuple(RatedVideo(fresh(), *kinds[i]) for i in order)))
    return Key(study, seed, systems, tuple(pages))


def _forms(items: Sequence[ListeningItem], options: PageOptions) -> list[Form]:
    """The form of every clip, before any is written.

    Raises:
        UserError: clips that cannot be shown, all of them.
    """
    forms, refused = [], []
    for item in items:
        try:
            form = common_form(item.original, item.videos.values(), options.seconds, options.height)
            require_length(item.original, form)
            forms.append(form)
        except UserError as error:
            refused.append(f"clip '{item.name}': {error}")
    _refuse(refused)
    return forms


def _refuse(refused: list[str]) -> None:
    if refused:
        raise UserError("; ".join(refused))


def _write_clip(
    folder: Path,
    page: Page,
    item: ListeningItem,
    form: Form,
    detector: FaceDetector,
    rng: np.random.Generator,
) -> None:
    frames: Iterable[Frames]
    # In the order of the names, not of the page: nothing that disks and archives keep tells the systems.
    for entry in sorted(page.videos, key=lambda entry: entry.token):
        sound = item.original
        if entry.role is VideoRole.system:
            frames, sound = shown_frames(item.videos[entry.system], form), item.speech
        elif entry.role is VideoRole.control:
            frames = corrupted_frames(item.original, form, detector, rng)
        else:
            frames = shown_frames(item.original, form)
        write_shown(folder / "videos" / f"{entry.token}.mp4", frames, sound, form)


def render(key: Key, forms: Sequence[Form], title: str) -> str:
    """The page: one HTML file with its style and script, which asks no other place for anything."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evaluation.mos", "template"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages = [
        {"tokens": [entry.token for entry in page.videos], "width": form.width, "height": form.height}
        for page, form in zip(key.pages, forms, strict=True)
    ]
    watched = sum(len(page.videos) * form.count for page, form in zip(key.pages, forms, strict=True))
    return environment.get_template("page.html").render(
        title=title,
        study=key.study,
        format=ANSWERS_FORMAT,
        criteria=CRITERIA,
        levels=range(LOWEST, HIGHEST + 1),
        pages=pages,
        seconds=round(watched / RATE),
    )
