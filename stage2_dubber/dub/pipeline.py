"""Dubbing from Python: a clip and speech in, a dubbed clip out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from common.diffusion.options import SamplingOptions, resolve_sampling
from common.errors import UserError
from common.media import SAMPLE_RATE
from common.memory import give_back_freed
from common.models.package_info import BASE_PHASE, read_info
from common.models.speed import SpeedConfig
from common.own_mouths.config import Renderer
from common.own_mouths.painting.shipped import painter_folder
from common.progress import ProgressCallback, say_nothing
from common.speech.base import SpeechEncoder
from common.speech.build import build_speech_encoder
from common.speech.registry import LIP_SHAPES
from common.speech.silence import encode_until
from stage2_dubber.dub.compositing.pasting import chosen_compositing
from stage2_dubber.dub.deferred import STAGE, DeferredPackage
from stage2_dubber.dub.device import choose_device, choose_dtype, memory_errors
from stage2_dubber.dub.drawing import Drawing, draw_faces
from stage2_dubber.dub.dubbed import DubbedFace, DubbedFaces, Planned, plan_faces
from stage2_dubber.dub.faces.follow import FollowedFace, follow_face
from stage2_dubber.dub.inputs import DubInputs, check_request
from stage2_dubber.dub.job import DUBBING
from stage2_dubber.dub.joint_options import check_joint_options
from stage2_dubber.dub.locate import default_model_path
from stage2_dubber.dub.models import DubModels
from stage2_dubber.dub.outputs import JobOutputs
from stage2_dubber.dub.own_mouths import divide
from stage2_dubber.dub.own_speech import own_features
from stage2_dubber.dub.presets.choose import choose_preset
from stage2_dubber.dub.presets.names import AUTO_PRESET, Preset
from stage2_dubber.dub.presets.table import PresetSettings
from stage2_dubber.dub.refining.checks import check_drawn, check_editor
from stage2_dubber.dub.report import DubReport
from stage2_dubber.dub.request import DubRequest, choice
from stage2_dubber.dub.request_paths import check_paths
from stage2_dubber.dub.result import DubResult
from stage2_dubber.dub.resume.folder import JobFolder, job_folder
from stage2_dubber.dub.resume.key import job_key
from stage2_dubber.dub.sampling_checks import check_sampling
from stage2_dubber.dub.speaking.checks import check_speaking
from stage2_dubber.dub.speaking.options import AudioRole

if TYPE_CHECKING:
    from common.models.ltx2.package import JointPackage
    from common.models.package import ModelPackage
    from stage2_dubber.dub.editing.speaking import SpokenWindows
    from stage2_dubber.dub.editing.windowed import Advance, Watch, WindowedEditor

# The model and its editor, with the libraries that they stand on, are imported where they are first needed:
# that takes seconds, and most clips are dubbed with their own mouths alone.


class DubPipeline:
    """The mask-free editor and all that is around it.

    Make one with :meth:`from_pretrained`, then call it once per clip::

        pipeline = DubPipeline.from_pretrained()
        pipeline(video="clip.mp4", audio="speech.wav", output="dubbed.mp4")
    """

    def __init__(
        self,
        package: ModelPackage | JointPackage | DeferredPackage,
        speech: SpeechEncoder,
        preset: PresetSettings | None = None,
    ) -> None:
        self.info = package.info
        self.speech = speech
        self.preset = preset
        self._models = DubModels(package, speech)

    @property
    def package(self) -> ModelPackage | JointPackage:
        """The model; where the clip's own mouths are drawn first, it is loaded when it is asked for.

        Raises:
            UserError: it cannot be loaded.
        """
        return self._models.package

    @classmethod
    def from_pretrained(
        cls,
        path: str | PathLike[str] | None = None,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "auto",
        speed: SpeedConfig | None = None,
        preset: Preset | str | None = None,
    ) -> DubPipeline:
        """Load a model package.

        Args:
            path: the package's folder; None: the one that ``bootdub dub`` takes without ``--model``.
            device: "cpu", "cuda", or "auto" for the GPU where there is one.
            dtype: of the weights: a torch.dtype or its name, or "auto" for bfloat16 on a GPU and on a CPU
                that computes in it, else float32.
            speed: switches that trade pictures or memory for time (docs/speed.md), for example
                ``SpeedConfig(step_cache="first-block", offload=True)``; None: exact.
            preset: "draft", "standard" or "best" (docs/speed.md), or "auto" for what suits the model and
                the free memory of the device. Dtype, switches and a job's own options come before it.
                None: as the package says.

        Raises:
            UserError: there is no package of the second stage at ``path``, its parts do not fit each other,
                the device is not there, a switch needs what is not there, or there is no such preset.
        """
        folder = default_model_path() if path is None else Path(path)
        chosen = choose_device(device)
        settings = None
        if preset is not None:
            named = None if preset == AUTO_PRESET else choice(Preset, preset, "preset")
            settings = choose_preset(named, folder, chosen)
            speed = settings.with_speed(speed)
            dtype = settings.dtype if dtype == "auto" else dtype
        weights = choose_dtype(dtype, chosen)
        info = read_info(folder)
        if info.phase == BASE_PHASE:
            raise UserError(
                f"{folder}: the model is a starting point for training and knows no speech yet; "
                "train it first (train.init_from)."
            )
        check_editor(folder, info)
        check_joint_options(folder, info, SamplingOptions(), speed)
        deferred = DeferredPackage(folder, info, chosen, weights, speed)
        own = info.stage == STAGE and info.renderer is not Renderer.editor
        return cls(deferred if own else deferred.load(), build_speech_encoder(info.speech, chosen), settings)

    def __call__(
        self,
        video: str | PathLike[str],
        audio: str | PathLike[str] | None,
        output: str | PathLike[str],
        *,
        progress: ProgressCallback | None = None,
        **options: Any,
    ) -> DubResult:
        """Dub one clip.

        The output has the source's frame count, time stamps, rate and size; its sound is the audio stream of
        ``audio``, untouched where the container takes it. Frames without a face are the source's.

        Args:
            video: the clip.
            audio: a sound file, or a video whose sound is meant; None with ``cues`` that name files, or
                with a ``text`` that the model says in the voice of the video.
            output: the video to write; it appears when it is whole.
            progress: called with stage, frames done, frames in all.
            options: how the clip is dubbed, by name: all fields of
                :class:`stage2_dubber.dub.request.DubRequest` (``box``, ``track``, ``overwrite``,
                ``renderer`` ...) and of :class:`common.diffusion.options.SamplingOptions` (``seed``,
                ``num_steps``, ``audio_scale`` ...), or the latter together as ``sampling``.

        Raises:
            TypeError: there is no such option.
            UserError: bad input; nothing is written then.
        """
        return self.run(DubRequest.of(video, audio, output, **options), progress=progress)

    def run(
        self,
        request: DubRequest,
        *,
        inputs: DubInputs | None = None,
        face: Callable[[], FollowedFace] | None = None,
        work: JobFolder | None = None,
        progress: ProgressCallback | None = None,
    ) -> DubResult:
        """Dub what ``request`` says.

        Args:
            request: the job.
            inputs: the results of its checks, where these were made already; their speech is forgotten when
                it is needed no more.
            face: gives where the face is, where it is being followed already.
            work: the job's folder, where the caller holds it already.
            progress: as in a call.

        Raises:
            UserError: bad input; nothing is written then.
        """
        clock = _Clock()
        with clock.part("checks"):
            request, inputs = self.checked(request, inputs)
        with job_folder(request.output) if work is None else nullcontext(work) as work:
            self.begin(request, inputs, work)
            return self._run(request, inputs, work, face, progress or say_nothing, clock)

    def checked(self, request: DubRequest, inputs: DubInputs | None = None) -> tuple[DubRequest, DubInputs]:
        """A job as this pipeline's preset has it, and what its checks have read; arguments as of :meth:`run`.

        Raises:
            UserError: bad input.
        """
        if self.preset is not None:
            request = self.preset.applied(request)
        compositing = chosen_compositing(request.compositing, self.info.conventions)
        request = replace(request, compositing=compositing)
        check_joint_options(self._models.folder, self.info, request.sampling)
        check_speaking(request, self._models.folder, self.info)
        check_drawn(request, self._renderer(request))
        inputs = inputs or check_request(request)
        check_sampling(request, inputs, self.info, self._models.speed)
        return request, inputs

    def begin(self, request: DubRequest, inputs: DubInputs, work: JobFolder) -> None:
        """Go on with the work of a job like this, or begin it.

        Raises:
            UserError: an output stands already, of a job that is not like this.
        """
        if not work.begin(self.key(request, inputs)):
            check_paths(request)

    def key(self, request: DubRequest, inputs: DubInputs) -> str:
        """What the pieces of a checked job depend on (:func:`stage2_dubber.dub.resume.key.job_key`)."""
        paints = request.renderer is not Renderer.editor and request.own_mouths.paint
        painter = painter_folder(self._models.folder) if paints else None
        return job_key(request, inputs.speech.whole(), self._models.identity, painter)

    def _run(
        self,
        request: DubRequest,
        inputs: DubInputs,
        work: JobFolder,
        face: Callable[[], FollowedFace] | None,
        tell: ProgressCallback,
        clock: _Clock,
    ) -> DubResult:
        with clock.part("face"):
            followed = face() if face is not None else self.followed(request, inputs, tell)
            # Before as well: what is saved is copied for it.
            give_back_freed()
            followed.keep(work)
            give_back_freed()
        with clock.part("speech"):
            faces = self.planned(request, inputs, followed)
        spoken = None
        if request.audio_role is AudioRole.voice:
            with clock.part("speaking"), memory_errors():
                spoken, inputs = self._spoken(request, inputs, work, faces.faces[0], tell)
        with clock.part("dubbing"), memory_errors():
            outputs = JobOutputs(request, inputs, work, faces.frames, faces.damaged)
            drawing = self.drawing(request, faces, outputs, tell, spoken)
            count = outputs.write(drawing.frames)
            tell(DUBBING, drawing.total, drawing.total)
        refined_by = "" if request.refine is None else str(request.refine)
        report = DubReport.of(faces, count, inputs, request.stated, outputs, refined_by)
        if request.report is not None:
            report.save(request.report)
        return DubResult(
            request.output,
            count,
            report.dubbed_frames,
            clock.seconds,
            report.warnings,
            drawing.seams,
            faces.own_frames,
            faces.covered,
            report,
        )

    def followed(self, request: DubRequest, inputs: DubInputs, tell: ProgressCallback) -> FollowedFace:
        """The face of a checked job, and the clip's own mouths where they may be drawn.

        Raises:
            UserError: no face, or not the one that was chosen.
        """
        own = None if self._renderer(request) is Renderer.editor else request.own_mouths
        return follow_face(request, tell, own_mouths=own, inputs=inputs)

    def planned(self, request: DubRequest, inputs: DubInputs, followed: FollowedFace) -> DubbedFaces:
        """Who draws which frames of a checked job; the speech of ``inputs`` is let go of then.

        Raises:
            UserError: the face does not stay for long enough, or shows no mouth where one is needed.
        """
        geometry, rule = self.info.geometry, request.crops or self.info.conventions.crops
        plans = plan_faces(request.video, followed, geometry.crop_scale, geometry.fps, rule)
        faces = DubbedFaces(tuple(self._dubbed(request, inputs, one) for one in plans))
        inputs.speech.release()
        give_back_freed()
        return faces

    def drawing(
        self,
        request: DubRequest,
        faces: DubbedFaces,
        outputs: JobOutputs,
        tell: ProgressCallback,
        spoken: SpokenWindows | None = None,
    ) -> Drawing:
        """The frames of a job that ``outputs`` misses; ``spoken``: windows whose speech the model makes."""
        build = partial(self._editor, request, outputs.inputs, spoken)
        refiner = None if request.refine is None else self._models.refiner(request.refine)
        return draw_faces(request, faces, outputs, build, tell, refiner)

    def _renderer(self, request: DubRequest) -> Renderer:
        return request.renderer or self.info.renderer

    def _dubbed(self, request: DubRequest, inputs: DubInputs, planned: Planned) -> DubbedFace:
        followed, plan = planned
        seconds = plan.timeline.duration
        if request.audio_role is AudioRole.voice and not request.voice_follows:
            seconds = min(seconds, len(inputs.speech) / SAMPLE_RATE)  # of a sample of a voice all is speech
        encode = partial(inputs.features, seconds=seconds, cues=followed.cues)
        lips = None if followed.mouths is None else encode(self._models.lip_encoder)
        paints = lips is not None and request.own_mouths.paint
        painter = self._models.painter if paints else None
        hearing = None if request.refine is None else self._models.refiner_speech(request.refine)
        told = hearing is not None
        if told and lips is None:
            raise UserError(
                f"'{request.video}' shows too few mouths for own mouths to draw with, so that "
                f"{request.refine} has nothing to refine: leave --refine out."
            )
        division = divide(request, self._renderer(request), followed, plan, lips, painter, told)
        # Where the package's own features are lip shapes, they are there already.
        audio_features = lips if self.speech.name == LIP_SHAPES else None
        if division.editor is not None and audio_features is None:
            audio_features = encode(self.speech)
        refined = None
        if hearing is not None:
            refined = lips if hearing is self._models.lip_encoder else encode(hearing)
        return DubbedFace(followed, plan, division, audio_features, refined)

    def _spoken(
        self,
        request: DubRequest,
        inputs: DubInputs,
        work: JobFolder,
        face: DubbedFace,
        tell: ProgressCallback,
    ) -> tuple[SpokenWindows, DubInputs]:
        from common.models.ltx2.package import JointPackage
        from stage2_dubber.dub.speaking.prompts import spoken_windows
        from stage2_dubber.dub.speaking.speak import speak

        package = self.package
        assert isinstance(package, JointPackage)  # check_speaking has seen to it
        runs = [segment.model for segment in face.plan.segments]
        spoken = spoken_windows(request, package, runs, work)
        return spoken, speak(request, inputs, work, face, package, spoken, tell)

    def _editor(
        self, request: DubRequest, inputs: DubInputs, spoken: SpokenWindows | None, watch: Watch
    ) -> WindowedEditor:
        from stage2_dubber.dub.editing.build import build_editor

        own = None
        if resolve_sampling(request.sampling, self.info.diffusion).inverts:
            own = own_features(request.video, self.speech, inputs.info.duration)
        return build_editor(self.package, request.sampling, watch, own, spoken)

    def edit_crops(
        self,
        crops: np.ndarray,
        audio: np.ndarray | None = None,
        *,
        audio_features: np.ndarray | None = None,
        start_frame: int = 0,
        sampling: SamplingOptions | None = None,
        advance: Advance | None = None,
        own_audio: np.ndarray | None = None,
    ) -> np.ndarray:
        """Edit face crops without any compositing; a full dub does just this between cutting and pasting.

        Args:
            crops: (N, S, S, 3) uint8 at the package's crop size and rate.
            audio: (samples,) float32 mono at 16 kHz; shorter than the crops means silence afterwards. Or
            audio_features: (T, C) speech features at 50 Hz of the package's encoder.
            start_frame: position of the first crop on the clock of the speech, in frames.
            sampling: as in a dub.
            advance: told how many frames were done since the last call.
            own_audio: like ``audio``, what the crops say themselves, from the same moment on; for a start
                from their inversion.

        Returns:
            (N, S, S, 3) uint8.

        Raises:
            ValueError: the crops have another size, not exactly one of audio and audio_features is given, or
                an inversion is asked for without ``own_audio``.
        """
        geometry = self.info.geometry
        size = geometry.crop_size
        if crops.ndim != 4 or crops.shape[1:] != (size, size, 3) or crops.dtype != np.uint8:
            raise ValueError(f"crops must be uint8 (N, {size}, {size}, 3), got {crops.dtype} {crops.shape}")
        if (audio is None) == (audio_features is None):
            raise ValueError("give either audio or audio_features")
        needed = int(np.ceil((start_frame + len(crops)) / geometry.fps * SAMPLE_RATE))
        if audio is not None:
            audio_features = encode_until(self.speech, audio, needed)
        own = None if own_audio is None else encode_until(self.speech, own_audio, needed)
        assert audio_features is not None
        from stage2_dubber.dub.editing.build import build_editor
        from stage2_dubber.dub.editing.windowed import Watch

        if self.preset is not None:
            sampling = self.preset.sampled(sampling or SamplingOptions())
        check_joint_options(self._models.folder, self.info, sampling or SamplingOptions())
        editor = build_editor(self.package, sampling, Watch(advance), own)
        edits = editor.stream(iter(crops), len(crops), audio_features, start_frame)
        return np.stack([edit.image for edit in edits])


class _Clock:
    """Wall-clock seconds per part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start
