"""The page: what it does with the store, and all of it in a browser where there is one."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from dub_clips import BOX, steady, write_clip, write_package, write_speech
from forked_python import REPOSITORY, forked_python

from bootdub.serve.dubbing import JobDubber
from bootdub.serve.record import JobState
from bootdub.serve.settings import ServeSettings
from bootdub.serve.store import JobStore
from bootdub.ui.actions import PageActions
from common.errors import UserError
from common.media import VideoReader, load_audio, save_wav, write_video
from stage2_dubber.dub.pipeline import DubPipeline

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture
def actions(tmp_path: Path, model: Path) -> PageActions:
    settings = ServeSettings(work=tmp_path / "work", model=model, queue=2)
    return PageActions(settings, JobStore(settings.work))


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A video of .56 s with a name as people give them, and speech of .8 s."""
    video = write_clip(tmp_path / "Anna spricht (neu).mp4", steady(14, 25))
    return str(video), str(write_speech(tmp_path / "speech.wav", 0.8))


def test_what_is_missing_is_told(actions: PageActions, files: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="a video and a voice"):
        actions.ask(files[0], None, "auto", "silence", "auto")
    with pytest.raises(UserError, match="no video yet"):
        actions.faces(None)
    assert actions.history() == []


def test_jobs_wait_and_are_canceled(actions: PageActions, files: tuple[str, str]) -> None:
    first, second = (actions.ask(*files, "auto", "silence", "draft") for _ in range(2))
    assert (actions.said(first), actions.said(second)) == ("Waiting", "Waiting, with 1 before it")
    assert actions.store.get(first).asked["preset"] == "draft"
    with pytest.raises(UserError, match="try again later"):
        actions.ask(*files, "auto", "silence", "auto")
    actions.cancel(first)
    actions.cancel(None)
    assert actions.said(first) == "Cancelled" and actions.finished(first) is None
    with actions.store.claim() as job:
        assert job is not None and actions.said(second) == "Starting"
        actions.store.tell(second, "dubbing", 5, 20)
        assert re.fullmatch(r"Dubbing: 5 of 20 frames, \d+:\d\d left.*", actions.said(second))
    assert [row[1:] for row in actions.history()] == [
        ["Anna_spricht__neu_", "processing", second],
        ["Anna_spricht__neu_", "canceled", first],
    ]


def test_a_dub_is_shown_beside_its_source(actions: PageActions, files: tuple[str, str], model: Path) -> None:
    id = actions.ask(*files, "auto", "bounce", "auto")
    assert actions.compared(id, 0) is None
    pipeline = DubPipeline.from_pretrained(model)
    with actions.store.claim() as job:
        assert job is not None
        job.asked["dub"].update(face="auto", box=BOX, renderer="editor")  # no detector sees the drawn clip
        result = JobDubber(actions.settings, actions.store, lambda preset: pipeline)(job, lambda *told: None)
        actions.store.finish(id, JobState.completed, result=result)
    shown = actions.finished(id)
    assert shown is not None and shown.frames == 20 and shown.sheet is not None
    assert shown.video.name == "Anna_spricht__neu_-dubbed.mp4" and actions.finished(id) == shown
    pair = actions.compared(id, 17)
    assert pair is not None
    with VideoReader(files[0]) as reader:
        frames = [frame.image for frame in reader.frames(0)]
    # Played forward and back: 14 frames, then 12, 11, 10 and 9.
    assert [index for index, frame in enumerate(frames) if np.array_equal(frame, pair[0])] == [9]
    assert pair[1].shape == pair[0].shape and not np.array_equal(*pair)


@pytest.fixture
def address(tmp_path: Path) -> str:
    """Of the page, which runs in a process of its own."""
    missing = [name for name in ("gradio", "playwright") if find_spec(name) is None]
    if missing or not CHROMIUM.is_file():
        pytest.skip(f"no {missing[0] if missing else CHROMIUM} here")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return port


def test_a_clip_is_dubbed_in_a_browser(address: str, footage: Path, tmp_path: Path) -> None:
    source = next((footage / "dev" / "clean").rglob("*.mp4"))
    with VideoReader(source) as reader:
        frames = [frame.image for frame in reader.frames(0, 25)]
    sound = load_audio(source, 16000)
    save_wav(tmp_path / "own.wav", sound[:16000], 16000)
    save_wav(tmp_path / "voice.wav", sound[16000:32000], 16000)
    write_video(tmp_path / "clip.mp4", frames, rate=25, audio_from=tmp_path / "own.wav")
    words = ["-m", "bootdub", "ui", "--no-browser", "--port", address, "--work", str(tmp_path / "jobs")]
    server = subprocess.Popen([forked_python(), *words], cwd=REPOSITORY)
    try:
        _walk(f"http://127.0.0.1:{address}", tmp_path)
    finally:
        server.terminate()
        server.wait(60)


def _walk(url: str, folder: Path) -> None:
    """Upload, choose a face, dub, compare, download, find it again; nothing is asked of another host."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        page.set_default_timeout(120_000)
        asked: set[str] = set()
        page.on("request", lambda request: asked.add(request.url))
        end = time.monotonic() + 120
        while True:
            try:
                page.goto(url)
                break
            except Exception:
                assert time.monotonic() < end, "the page does not come"
                time.sleep(0.5)
        page.click("#dub")
        page.get_by_text("A dub needs a video and a voice").wait_for()
        page.set_input_files("#video input[type=file]", folder / "clip.mp4")
        page.set_input_files("#voice input[type=file]", folder / "voice.wav")
        page.wait_for_selector("#video video")
        page.wait_for_selector("#voice canvas, #voice wave, #voice #waveform", state="attached")
        page.click("#show-faces")
        page.wait_for_selector("#faces img")
        page.get_by_label("1", exact=True).check()
        page.click("#dub")
        page.wait_for_selector("#pair img", timeout=300_000)
        page.screenshot(path=folder / "desktop.png", full_page=True)
        with page.expect_download() as download:
            page.click("#download")
        download.value.save_as(folder / "download.mp4")
        with VideoReader(folder / "download.mp4") as reader:
            assert len(list(reader.frames(0))) == 25
        assert (
            page.locator("[aria-label=Download]").count() and not page.locator("[aria-label=Share]").count()
        )
        page.set_viewport_size({"width": 390, "height": 844})
        page.reload()
        page.locator("#history").get_by_text("completed").locator("visible=true").first.click()
        page.wait_for_selector("#pair img")
        page.wait_for_timeout(500)
        page.screenshot(path=folder / "phone.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
    assert all(one.startswith((url, "data:", "blob:")) for one in asked), asked
