"""What the documents' commands name, made small: clips, lists of them, packages, downloads, sets of pairs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from docs_blocks import ROOT

from common.media import VideoReader, load_audio, save_wav, write_video

FRAMES, SIDE = 16, 256
Footage = Callable[[], Path]
"""Gives the folder of filmed clips, or skips the test."""


def _source(footage: Footage) -> Path:
    return next((footage() / "dev" / "clean").rglob("*.mp4"))


def _frames(footage: Footage) -> list[np.ndarray]:
    with VideoReader(_source(footage)) as reader:
        return [cv2.resize(frame.image, (SIDE, SIDE)) for frame in reader.frames(0, FRAMES)]


def _clip(path: Path, footage: Footage) -> None:
    save_wav(path.with_suffix(".wav"), load_audio(_source(footage), 16000)[: FRAMES * 640], 16000)
    write_video(path, _frames(footage), rate=25, audio_from=path.with_suffix(".wav"))


def _speech(path: Path, footage: Footage) -> None:
    save_wav(path, load_audio(_source(footage), 16000)[16000:26000], 16000)


def _all_speech(path: Path, footage: Footage) -> None:
    save_wav(path, load_audio(_source(footage), 16000), 16000)


def _two(path: Path, footage: Footage) -> None:
    """Eight seconds of two people side by side, at two frames per second."""
    write_video(path, [np.concatenate([image[:, ::-1], image], 1) for image in _frames(footage)], rate=2)


def _videos(path: Path, footage: Footage) -> None:
    path.mkdir()
    _clip(path / "clip.mp4", footage)
    _speech(path / "speech.wav", footage)


def _table(*rows: str) -> Callable[[Path, Footage], None]:
    return lambda path, footage: path.write_text("\n".join(rows) + "\n") and None


def _recordings(path: Path, footage: Footage) -> None:
    path.mkdir()
    _all_speech(path / "all.wav", footage)


def _release(path: Path, footage: Footage) -> None:
    from release_toys import write_release

    write_release(path).statistics.rename(path / "statistics.safetensors")


def _tbdub(path: Path, footage: Footage) -> None:
    from release_toys import write_tbdub

    write_tbdub(path).statistics.rename(path / "statistics.safetensors")


def _pairs(path: Path, footage: Footage) -> None:
    from training_toys import toy_vae, write_pairs

    toy_vae(path.parent)
    write_pairs(path)


def _joint(path: Path, footage: Footage) -> None:
    from ltx2_toys import write_joint_folder, write_text_encoder

    write_text_encoder(write_joint_folder(path))


def _lora(path: Path, footage: Footage) -> None:
    from ltx2_toys import write_lora

    write_lora(path)


def _package(path: Path, footage: Footage) -> None:
    from dub_clips import write_package

    write_package(path)


_HEADS = "heads.transformer=2 heads.audio=2"
_TOY = f"{_HEADS} geometry.crop_size=32 geometry.clip_frames=13 diffusion.num_steps=2"

THINGS: dict[str, Callable[[Path, Footage], None]] = {
    "clip.mp4": _clip,
    "speech.wav": _speech,
    "voice.wav": _speech,
    "anna.wav": _speech,
    "bert.wav": _speech,
    "two.mp4": _two,
    "mix.wav": _all_speech,
    "VIDEOS": _videos,
    "CLIPS": _videos,
    "FOLDER": _videos,
    "SPEECH": _recordings,
    "jobs.csv": _table("video,audio,output", "clip.mp4,speech.wav,batch/dubbed.mp4"),
    "clips.csv": _table("video,audio", "clip.mp4,speech.wav"),
    "SPEAKERS.csv": _table("video,speaker", "clip.mp4,anna"),
    "checkpoints": _release,
    "CHECKPOINTS": _release,
    "tbdub": _tbdub,
    "PAIRS": _pairs,
    "PACKAGE": _package,
    "EXPERT": _package,
    "LTX-2": _joint,
    "ltx-2-19b-ic-lora-lipdubbing.safetensors": _lora,
    "COMFYUI": lambda path, footage: (path / "custom_nodes").mkdir(parents=True),
}
"""Name in the documents -> what makes it, of its path and where filmed clips are."""

LISTED = ("clip.mp4", "speech.wav")
"""What the lists name."""

SMALLER: dict[str, str] = {
    "bootdub import-xdub checkpoints": f"{_TOY} --latent-statistics checkpoints/statistics.safetensors",
    "bootdub import-xdub CHECKPOINTS": f"{_TOY} --latent-statistics CHECKPOINTS/statistics.safetensors",
    "bootdub import-tbdub": f"{_HEADS} --latent-statistics tbdub/statistics.safetensors",
    "bootdub import-ltx2": "geometry.crop_size=64 geometry.clip_frames=17 joint.num_steps=2",
}
"""Beginning of a command -> words that fit it to the small things, or to the machine that tests."""


def lay_out(folder: Path, text: str, made: Path, footage: Footage) -> None:
    """What a page's commands name, in the folder in which they run: the checkout's own, and copies of things.

    Args:
        folder: where they run.
        text: of the commands.
        made: a folder in which things that were made before lie.
        footage: where filmed clips are.
    """
    for path in ROOT.iterdir():
        if path.name != "models" and not path.name.startswith("."):
            (folder / path.name).symlink_to(path)
    (folder / "models").mkdir()
    for path in (ROOT / "models").iterdir():
        (folder / "models" / path.name).symlink_to(path)
    for name, make in THINGS.items():
        if name not in text and not (name in LISTED and ".csv" in text):
            continue
        if not (made / name).exists():
            make(made / name, footage)
        copy = shutil.copytree if (made / name).is_dir() else shutil.copyfile
        copy(made / name, folder / name)
