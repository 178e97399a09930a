"""Dubbing from Python: a clip and speech in, a dubbed clip out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from common.arithmetic import has_bf16
from common.config import DiffusionConfig, SpeedConfig
from common.errors import UserError
from common.models.package import BASE_PHASE, ModelPackage, load_package, read_info
from common.speech.base import SpeechEncoder
from common.speech.build import build_speech_encoder
from stage2_dubber.compositing import DEFAULT_COMPOSITING, TELL_CHANGES, Compositing
from stage2_dubber.editor import Advance, WindowEditor
from stage2_dubber.follow import FollowedFace, Progress, follow_face
from stage2_dubber.job import DUBBING, composited_frames, plan_followed
from stage2_dubber.outputs import write_outputs
from stage2_dubber.request import SPEECH_RATE, DubInputs, DubRequest, check_request

STAGE = 2


@dataclass(frozen=True)
class DubResult:
    """What a job has made.

    Attributes:
        output: the dubbed video.
        frames: frames in it (those of the source).
        dubbed_frames: how many of them show an edited face; the others are the source's.
        seconds: wall-clock time of each part of the work.
        warnings: sentences for the user.
        seams: seconds on the source's clock at which the model's second and later windows begin.
    """

    output: Path
    frames: int
    dubbed_frames: int
    seconds: dict[str, float]
    warnings: tuple[str, ...]
    seams: tuple[float, ...] = ()


class DubPipeline:
    """The mask-free editor and all that is around it.

    Make one with :meth:`from_pretrained`, then call it once per clip::

        pipeline = DubPipeline.from_pretrained("models/bootdub-small")
        pipeline(video="clip.mp4", audio="speech.wav", output="dubbed.mp4")
    """

    def __init__(self, package: ModelPackage, speech: SpeechEncoder) -> None:
        package.require_speech(speech.name, speech.fingerprint)
        self.package = package
        self.speech = speech

    @classmethod
    def from_pretrained(
        cls,
        path: str | PathLike[str],
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "auto",
        speed: SpeedConfig | None = None,
    ) -> DubPipeline:
        """Load a model package.

        Args:
            path: the package's folder.
            device: "cpu", "cuda", or "auto" for the GPU where there is one.
            dtype: of the weights: a torch.dtype or its name, or "auto" for bfloat16 on a GPU and on a CPU
                that computes in it, else float32.
            speed: switches that trade pictures or memory for time (docs/speed.md), for example
                ``SpeedConfig(step_cache="first-block", offload=True)``; None: exact.

        Raises:
            UserError: there is no package of the second stage at ``path``, its parts do not fit each other,
                the device is not there, or a switch needs what is not there.
        """
        chosen = choose_device(device)
        weights = choose_dtype(dtype, chosen)
        if read_info(Path(path)).phase == BASE_PHASE:
            raise UserError(
                f"{path}: the model is a starting point for training that has not heard any speech yet; "
                "train it first (train.init_from)."
            )
        package = load_package(Path(path), device=chosen, dtype=weights, stage=STAGE, speed=speed)
        return cls(package, build_speech_encoder(package.info.speech, chosen))

    def __call__(
        self,
        video: str | PathLike[str],
        audio: str | PathLike[str],
        output: str | PathLike[str],
        *,
        seed: int = 0,
        num_steps: int | None = None,
        passes: int | None = None,
        reference_scale: float | None = None,
        audio_scale: float | None = None,
        detector: str = "mediapipe",
        box: tuple[float, float, float, float] | None = None,
        track: str | PathLike[str] | None = None,
        overwrite: bool = False,
        lossless: bool = False,
        compositing: Compositing | str = DEFAULT_COMPOSITING,
        contact_sheet: str | PathLike[str] | None = None,
        side_by_side: str | PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> DubResult:
        """Dub one clip.

        The output has the source's frame count, time stamps, rate and size; its sound is the audio stream of
        ``audio``, untouched where the container takes it. Frames without a face are the source's.

        Args:
            video: the clip.
            audio: a sound file, or a video whose sound is meant.
            output: the video to write; it appears when it is whole.
            seed: of all noise.
            num_steps, passes, reference_scale, audio_scale: None: what the package says.
            detector, box, track: where the face comes from, see :class:`stage2_dubber.request.DubRequest`.
            overwrite: replace files that exist.
            lossless: write FFV1 into .mkv.
            compositing: how edits go back: "fused", "residual", "blend" or "whole-crop".
            contact_sheet, side_by_side: pictures to write too.
            progress: called with stage, frames done, frames in all.

        Raises:
            UserError: bad input; nothing is written then.
        """
        request = DubRequest(
            video=Path(video),
            audio=Path(audio),
            output=Path(output),
            seed=seed,
            detector=detector,
            box=box,
            track=_path(track),
            overwrite=overwrite,
            lossless=lossless,
            compositing=Compositing(compositing),
            contact_sheet=_path(contact_sheet),
            side_by_side=_path(side_by_side),
        )
        return self.run(
            request,
            progress=progress,
            num_steps=num_steps,
            passes=passes,
            reference_scale=reference_scale,
            audio_scale=audio_scale,
        )

    def run(
        self,
        request: DubRequest,
        *,
        inputs: DubInputs | None = None,
        face: Callable[[], FollowedFace] | None = None,
        progress: Progress | None = None,
        num_steps: int | None = None,
        passes: int | None = None,
        reference_scale: float | None = None,
        audio_scale: float | None = None,
    ) -> DubResult:
        """Dub what ``request`` says.

        Args:
            request: the job.
            inputs: the results of its checks, where these were made already.
            face: gives where the face is, where somebody follows it already.
            progress, num_steps, passes, reference_scale, audio_scale: as in a call.

        Raises:
            UserError: bad input; nothing is written then.
        """
        clock = _Clock()
        tell = progress or _say_nothing
        geometry = self.package.info.geometry
        sampling = self.sampling(num_steps, passes, reference_scale, audio_scale)
        with clock.part("checks"):
            inputs = inputs or check_request(request)
        with clock.part("face"):
            followed = face() if face is not None else follow_face(request, tell)
            plan = plan_followed(request.video, followed, geometry.crop_scale, geometry.fps)
        with clock.part("speech"):
            features = self.speech.encode(inputs.padded_speech(plan.timeline.duration))
        done = 0.0

        def advance(frames: float) -> None:
            nonlocal done
            done = min(done + frames, plan.model_frames)
            tell(DUBBING, done, plan.model_frames)

        with clock.part("dubbing"), _memory_errors(self.package.codec.device):
            tell(DUBBING, 0, plan.model_frames)
            changes = request.compositing in TELL_CHANGES
            editor = WindowEditor(self.package, sampling, request.seed, advance, changes)
            frames = composited_frames(request.video, plan, editor, features, request.compositing)
            count = write_outputs(request, inputs.info, plan, frames)
            tell(DUBBING, plan.model_frames, plan.model_frames)
        warnings = inputs.warnings + plan.warnings
        seams = tuple(
            (segment.model.start + window.start) / geometry.fps
            for segment in plan.segments
            for window in editor.windows(len(segment.model))[1:]
        )
        return DubResult(request.output, count, plan.dubbed_frames, clock.seconds, warnings, seams)

    def edit_crops(
        self,
        crops: np.ndarray,
        audio: np.ndarray | None = None,
        *,
        features: np.ndarray | None = None,
        start_frame: int = 0,
        seed: int = 0,
        num_steps: int | None = None,
        passes: int | None = None,
        reference_scale: float | None = None,
        audio_scale: float | None = None,
        advance: Advance | None = None,
    ) -> np.ndarray:
        """Edit face crops without any compositing; a full dub does just this between cutting and pasting.

        Args:
            crops: (N, S, S, 3) uint8 at the package's crop size and rate.
            audio: (samples,) float32 mono at 16 kHz; shorter than the crops means silence afterwards. Or
            features: (T, C) speech features at 50 Hz of the package's encoder.
            start_frame: position of the first crop on the clock of the speech, in frames.
            seed, num_steps, passes, reference_scale, audio_scale: as in a dub.
            advance: told how many frames were done since the last call.

        Returns:
            (N, S, S, 3) uint8.

        Raises:
            ValueError: the crops have another size, or not exactly one of audio and features is given.
        """
        geometry = self.package.info.geometry
        size = geometry.crop_size
        if crops.ndim != 4 or crops.shape[1:] != (size, size, 3) or crops.dtype != np.uint8:
            raise ValueError(f"crops must be uint8 (N, {size}, {size}, 3), got {crops.dtype} {crops.shape}")
        if (audio is None) == (features is None):
            raise ValueError("give either audio or features")
        if audio is not None:
            needed = int(np.ceil((start_frame + len(crops)) / geometry.fps * SPEECH_RATE))
            features = self.speech.encode(np.pad(audio, (0, max(0, needed - len(audio)))))
        assert features is not None
        sampling = self.sampling(num_steps, passes, reference_scale, audio_scale)
        editor = WindowEditor(self.package, sampling, seed, advance)
        edits = editor.stream(iter(crops), len(crops), features, start_frame)
        return np.stack([edit.image for edit in edits])

    def sampling(
        self,
        num_steps: int | None = None,
        passes: int | None = None,
        reference_scale: float | None = None,
        audio_scale: float | None = None,
    ) -> DiffusionConfig:
        """The package's sampler settings with what is given here in their place.

        Raises:
            UserError: a value makes no sense.
        """
        given = {
            "num_steps": num_steps,
            "passes": passes,
            "reference_scale": reference_scale,
            "audio_scale": audio_scale,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        return replace(self.package.info.diffusion, **changes)  # type: ignore[arg-type]


def choose_device(name: str | torch.device) -> torch.device:
    """The device that ``name`` means: "auto" is the GPU where there is one.

    Raises:
        UserError: there is no such device here.
    """
    if isinstance(name, str) and name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"There is no device '{name}': choose auto, cpu or cuda.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("The device 'cuda' is not there (no GPU, or a build without CUDA): use --device cpu.")
    return device


def choose_dtype(wanted: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype of the weights that ``wanted`` means: "auto" is bfloat16 on a GPU and on a CPU that computes
    in it, else float32.

    Raises:
        UserError: there is no such dtype.
    """
    if isinstance(wanted, torch.dtype):
        return wanted
    if wanted == "auto":
        return torch.bfloat16 if device.type == "cuda" or has_bf16(device.type) else torch.float32
    named = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if wanted not in named:
        raise UserError(f"There is no dtype '{wanted}' for weights: choose auto, {' or '.join(named)}.")
    return named[wanted]


class _Clock:
    """Wall-clock seconds per part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start


@contextmanager
def _memory_errors(device: torch.device) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"The memory of the device '{device}' is too small for this model: free some, use --device cpu "
            "or a smaller model."
        ) from error


def _path(value: str | PathLike[str] | None) -> Path | None:
    return None if value is None else Path(value)


def _say_nothing(stage: str, done: float, total: float | None) -> None:
    return None
