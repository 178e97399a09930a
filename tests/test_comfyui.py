"""The nodes for ComfyUI, against a stub of what nodes see of it (comfyui_stub.py)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import comfyui_stub
import pytest
import torch
from dub_clips import steady, write_clip

from bootdub.comfyui import nodes
from bootdub.comfyui.media import audio_file, images_file, read_images, video_file
from common.errors import UserError
from common.media import VideoReader, load_audio, probe, save_wav, write_video

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tools" / "comfyui"
FRAMES = 14


@pytest.fixture
def comfy(tmp_path: Path, quick_model: Path, monkeypatch: pytest.MonkeyPatch) -> comfyui_stub.Comfy:
    monkeypatch.setenv("BOOTDUB_MODEL", str(quick_model))
    return comfyui_stub.install(tmp_path, monkeypatch)


def test_the_folder_is_a_package_of_nodes() -> None:
    """ComfyUI imports folders by their place, under whatever name they have."""
    spec = importlib.util.spec_from_file_location("custom_nodes.x", FOLDER / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.NODE_CLASS_MAPPINGS is nodes.NODE_CLASS_MAPPINGS
    assert module.NODE_DISPLAY_NAME_MAPPINGS.keys() == module.NODE_CLASS_MAPPINGS.keys()


@pytest.mark.parametrize("name", nodes.NODE_CLASS_MAPPINGS)
def test_nodes_have_what_comfyui_asks_of_them(name: str) -> None:
    kind: Any = nodes.NODE_CLASS_MAPPINGS[name]
    asked = kind.INPUT_TYPES()
    assert set(asked) <= {"required", "optional", "hidden"}
    for spec in (spec for part in asked.values() for spec in part.values()):
        assert isinstance(spec, tuple) and isinstance(spec[0], (str, list))
    taken = kind.__dict__[kind.FUNCTION].__annotations__.keys() - {"return"}
    assert taken == comfyui_stub.sockets(kind).keys()
    assert len(kind.RETURN_NAMES) == len(kind.RETURN_TYPES) and kind.CATEGORY == "BootDub"


def test_values_become_files_and_come_back(tmp_path: Path) -> None:
    images = (torch.arange(3 * 8 * 10 * 3).reshape(3, 8, 10, 3) % 256).float() / 255
    file = images_file(images, 23.976, tmp_path)
    assert torch.equal(read_images(file), images) and abs(probe(file).average_rate - 23.976) < 1e-3
    with pytest.raises(UserError, match="batch of RGB pictures"):
        images_file(images[..., :1], 25, tmp_path)
    sound = torch.linspace(-1.5, 1.5, 1000).repeat(2, 2, 1)
    heard = load_audio(audio_file({"waveform": sound, "sample_rate": 16000}, tmp_path), 16000)
    assert abs(heard - sound[0, 0].clamp(-1, 1).numpy()).max() < 1e-3
    with pytest.raises(UserError, match="audio is empty"):
        audio_file({"waveform": sound[..., :0], "sample_rate": 16000}, tmp_path)


def test_a_whole_file_is_taken_as_it_is_and_a_part_is_written(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", steady(FRAMES, 25))
    assert video_file(comfyui_stub.VideoFromFile(str(clip)), tmp_path) == clip
    part = comfyui_stub.VideoFromFile(str(clip), start_time=0.2, duration=0.2)
    assert probe(video_file(part, tmp_path)).frame_count == 5


def test_cancel_ends_a_dub(comfy: comfyui_stub.Comfy, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", steady(FRAMES, 25))
    comfy.interrupted = True
    with pytest.raises(comfyui_stub.Interrupted):
        nodes.ChooseFace().choose(comfyui_stub.VideoFromFile(str(clip)), "auto")


def test_the_example_runs(comfy: comfyui_stub.Comfy, footage: Path, tmp_path: Path) -> None:
    source = next((footage / "dev" / "clean").rglob("*.mp4"))
    with VideoReader(source) as reader:
        write_video(tmp_path / "clip.mp4", [frame.image for frame in reader.frames(0, FRAMES)], rate=25)
    save_wav(tmp_path / "speech.wav", load_audio(source, 16000)[16000:25000], 16000)
    workflow = json.loads((FOLDER / "example_workflows" / "dub_video.json").read_text("utf-8"))
    made = comfyui_stub.run_workflow(workflow, {**comfy.nodes(), **nodes.NODE_CLASS_MAPPINGS})
    shown, dubbed = comfy.saved["images"], comfy.saved["video"].get_components()
    assert shown.ndim == 4 and shown.shape[-1] == 3 and 0.1 < shown.mean() < 1
    before = comfyui_stub.VideoFromFile(str(tmp_path / "clip.mp4")).get_components().images
    assert dubbed.images.shape == before.shape and (dubbed.images - before).abs().max() > 0.05
    assert comfyui_stub.ProgressBar.told[-1] == (FRAMES, FRAMES)

    package, audio = (made[node][0] for node in (1, 3))
    (again,) = nodes.DubImages().dub(package, before, audio, 25.0, 0, made[4][0])
    changed = (again - before).abs().amax(-1) > 0
    assert again.shape == before.shape and changed.any(dim=2).any(dim=1).all()
    assert changed.float().mean() < 0.5, "the picture around the face stays"
