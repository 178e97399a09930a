"""Whole clips: frames with their truth, and the files that hold them."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from common.errors import UserError
from common.face.mouth import mouth_opening
from common.files import atomic_path, fingerprint, read_json, write_json
from common.media import Encoding, VideoWriter, save_wav
from common.rendered.render import render_frame
from common.rendered.scene import Scene, sample_scene
from common.rendered.speech import Speech, sample_voice, speak
from common.rendered.visemes import FRAME_RATE

FORMAT = 2
"""Raised whenever the same seed would give another picture or sound, so that old files are made anew."""
_ENCODING = Encoding(crf=10)


@dataclass(frozen=True)
class RenderedClip:
    """N frames of 25 per second: frames (N, H, W, 3) uint8 RGB, landmarks (N, 68, 3) float32 px, boxes (N, 4)
    float32 px, occluder (N, H, W) uint8, opening (N,) float32 in eye-corner distances, speech (N / 25 s)."""

    scene: Scene
    speech: Speech
    frames: np.ndarray
    landmarks: np.ndarray
    boxes: np.ndarray
    occluder: np.ndarray
    opening: np.ndarray


def render_clip(scene: Scene, speech: Speech) -> RenderedClip:
    """The scene speaking; frame i shows speech.mouth[i]."""
    rendered = [render_frame(scene, i, mouth) for i, mouth in enumerate(speech.mouth)]
    landmarks = np.stack([frame.landmarks for frame in rendered])
    return RenderedClip(
        scene=scene,
        speech=speech,
        frames=np.stack([frame.image for frame in rendered]),
        landmarks=landmarks,
        boxes=np.stack([frame.box for frame in rendered]),
        occluder=np.stack([frame.occluder for frame in rendered]),
        opening=mouth_opening(landmarks).astype(np.float32),
    )


def write_clip(clip: RenderedClip, folder: Path, stem: str) -> None:
    """Write <stem>.mp4 (H.264 and the speech) and <stem>.track.safetensors, each whole or not at all.

    The track holds landmarks, boxes, occluder and opening as in RenderedClip.
    """
    track = {
        "landmarks": clip.landmarks,
        "boxes": clip.boxes,
        "occluder": clip.occluder,
        "opening": clip.opening,
    }
    with atomic_path(folder / f"{stem}.track.safetensors") as temporary:
        save_file({name: np.ascontiguousarray(value) for name, value in track.items()}, temporary)
    _, height, width, _ = clip.frames.shape
    with tempfile.TemporaryDirectory() as scratch:
        sound = Path(scratch) / "speech.wav"
        save_wav(sound, clip.speech.audio, clip.speech.sample_rate)
        video = folder / f"{stem}.mp4"
        with VideoWriter(
            video, width, height, rate=FRAME_RATE, encoding=_ENCODING, audio_from=sound
        ) as writer:
            for frame in clip.frames:
                writer.write(frame)


@dataclass(frozen=True)
class ClipRequest:
    """One character to render: what `python -m common.rendered` asks for, per seed."""

    seed: int
    seconds: float
    size: int = 256
    style: str | None = None
    occluder: str | None = None
    pair: bool = False
    languages: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"r{self.seed:07d}"

    def sidecar(self, folder: Path) -> Path:
        return folder / f"{self.name}.json"

    def done(self, folder: Path) -> bool:
        """Whether the files of exactly this request lie in `folder` (the JSON is written last)."""
        path = self.sidecar(folder)
        return path.is_file() and read_json(path).get("fingerprint") == self.fingerprint

    @property
    def fingerprint(self) -> str:
        return fingerprint({"format": FORMAT, **asdict(self)})


def make_clips(request: ClipRequest, folder: Path) -> bool:
    """Render one request into `folder`; False if it was there already.

    The speaker has one voice; clip b shows the same scene as clip a, saying something else.
    Raises: UserError for bad settings or a folder that cannot be written.
    """
    if request.done(folder):
        return False
    scene = sample_scene(request.seed, style=request.style, occluder=request.occluder, size=request.size)
    voice = sample_voice(request.seed, request.languages or None)
    clips: dict[str, dict[str, object]] = {}
    for number, letter in enumerate("ab" if request.pair else "a"):
        speech_seed = 2 * request.seed + number
        clip = render_clip(scene, speak(speech_seed, request.seconds, voice))
        stem = f"{request.name}_{letter}"
        write_clip(clip, folder, stem)
        clips[letter] = {"video": f"{stem}.mp4", "speech_seed": speech_seed, "text": clip.speech.text}
    write_json(
        request.sidecar(folder),
        {
            "fingerprint": request.fingerprint,
            "speaker": scene.speaker,
            "scene_seed": scene.seed,
            "size": scene.size,
            "style": scene.style.name,
            "occluder": scene.occluder.kind if scene.occluder else "none",
            "voice": asdict(voice),
            "clips": clips,
        },
    )
    return True


def check_seeds(first: int, count: int) -> None:
    """Refuse numbers of clips and seeds that cannot be meant. Raises: UserError."""
    if count < 1:
        raise UserError(f"{count} clips were asked for: give --count 1 or more")
    if first < 0:
        raise UserError(f"the seed {first} is negative: give --seed 0 or more")
