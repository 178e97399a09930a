"""The stage-1 generator as a dubber: mask the lower face, fill it, blend it back.

This is what the paper compares the editor with, and what masked dubbers do: occluders are not known to it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.data.summary import spread
from common.face.types import FloatArray
from common.files import fingerprint
from common.models.package import load_package
from common.speech.build import build_speech_encoder
from evaluation.manifest import Case
from evaluation.systems.base import DubbedFile
from evaluation.systems.editor import package_digest, speech_file
from stage1_generator.companions.masks import clip_masks
from stage1_generator.companions.paste import put_back
from stage1_generator.generator.sampling import CompanionGenerator, GenerationJob
from stage2_dubber.dub.device import choose_device
from stage2_dubber.dub.editing.edit import Edit
from stage2_dubber.dub.inputs import check_request
from stage2_dubber.dub.job import FacePlan, composited_frames, plan_face
from stage2_dubber.dub.outputs import write_outputs
from stage2_dubber.dub.request import DubRequest

FEATHER = 0.05  # of the crop: the blend that stage 1 uses for its companions


class Inpainter:
    """A stage-1 package that gives crops other lips."""

    def __init__(self, package: Path, device: str = "cpu") -> None:
        self.package = load_package(package, device=device, stage=1)
        info = self.package.info
        self.speech = build_speech_encoder(info.speech)
        self.geometry = info.geometry
        self._stills = int(info.training["references"])
        self._generator = CompanionGenerator(
            self.package.transformer,
            self.package.codec,
            info.diffusion,
            info.geometry,
            extra_window=info.speech.extra_window,
            seed=0,
            feather=FEATHER,
            text=self.package.context,
        )

    def __call__(
        self,
        name: str,
        crops: NDArray[np.uint8],
        landmarks: FloatArray,
        audio_features: NDArray[np.float32],
        start_frame: int = 0,
    ) -> NDArray[np.uint8]:
        """Crops (N, S, S, 3) with landmarks (N, 68, 3) in, as many with other lips out, blended."""
        size = self.geometry.crop_size
        inpaint = clip_masks(landmarks, size).inpaint
        stills = crops[spread(len(crops), self._stills)]
        job = GenerationJob(name, crops, inpaint, stills, audio_features, start_frame)
        (made,) = self._generator.generate([job])
        return put_back(crops, made, inpaint, FEATHER * size)


class GeneratorSystem:
    """Dubs with a stage-1 package through the same cutting and pasting as the editor."""

    def __init__(self, name: str, package: Path, device: str = "cpu") -> None:
        self.name = name
        self.package = package
        self.device = device
        self.fingerprint = fingerprint({"package": package_digest(package), "feather": FEATHER})
        self._inpainter: Inpainter | None = None

    def dub(self, case: Case, video: Path, output: Path) -> DubbedFile:
        """A whole dub."""
        self._inpainter = self._inpainter or Inpainter(self.package, str(choose_device(self.device)))
        geometry, started = self._inpainter.geometry, time.monotonic()
        with speech_file(case, video) as audio:
            request = DubRequest(video, audio, output, track=case.track, overwrite=True)
            inputs = check_request(request)
            plan = plan_face(request, geometry.crop_scale, geometry.fps, _say_nothing)
            audio_features = inputs.features(self._inpainter.speech, plan.timeline.duration)
            frames = composited_frames(video, plan, _PlannedEditor(self._inpainter, plan), audio_features)
            write_outputs(request, inputs, plan, frames)
        return DubbedFile(output, time.monotonic() - started)


class _PlannedEditor:
    """The generator where the dubber expects an editor; whole runs at once, since it needs the landmarks."""

    def __init__(self, inpainter: Inpainter, plan: FacePlan) -> None:
        self._inpainter, self._plan = inpainter, plan
        self.crop_size, self.fps = inpainter.geometry.crop_size, inpainter.geometry.fps

    def stream(
        self, crops: Iterator[np.ndarray], count: int, audio_features: np.ndarray, start_frame: int
    ) -> Iterator[Edit]:
        shown = self._plan.timeline.shown[start_frame : start_frame + count]
        points = [
            self._plan.crops.landmarks(self._plan.track.landmarks[i], int(i), self.crop_size) for i in shown
        ]
        frames = np.stack([next(crops) for _ in range(count)])
        made = self._inpainter(str(start_frame), frames, np.stack(points), audio_features, start_frame)
        yield from map(Edit, made)


def _say_nothing(stage: str, done: float, total: float | None) -> None:
    return None
