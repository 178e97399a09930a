"""Making the speech of a dub: all windows are sampled first, then their sound is put together.

Pictures and sound of a window are sampled together, and an output is written with its sound beside the
pictures. So the windows are made once, kept in the folder of the job, and read again when the pictures are
drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch

from common.media.patched import SoundPatch
from common.media.soundtrack import SoundPlace
from common.models.ltx2.package import JointPackage, load_joint_vocoder
from common.models.ltx2.vocoding import write_sound
from common.progress import ProgressCallback
from stage2_dubber.dub.compositing.options import Compositing
from stage2_dubber.dub.dubbed import DubbedFace
from stage2_dubber.dub.editing.joint import joint_windows
from stage2_dubber.dub.editing.speaking import MadeSound, SpeakingEditor, SpokenWindows, sound_name
from stage2_dubber.dub.editing.windowed import Watch, window_name
from stage2_dubber.dub.inputs import DubInputs
from stage2_dubber.dub.job import composited_frames
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.resume.folder import JobFolder
from stage2_dubber.dub.telling import FramesDone


def speak(
    request: DubRequest,
    inputs: DubInputs,
    work: JobFolder,
    face: DubbedFace,
    package: JointPackage,
    speech: SpokenWindows,
    tell: ProgressCallback,
) -> DubInputs:
    """Make all windows of a job that are missing; the inputs are returned with the sound.

    Where no face is dubbed, the video's own sound stays.

    Args:
        request, inputs: the job.
        work: keeps windows and sound.
        face: that speaks.
        package: the model.
        speech: what is said.
        tell: told about progress.
    """
    assert face.audio_features is not None
    runs = [segment.model for segment in face.plan.segments]
    advance = FramesDone(face.plan.model_frames, tell)
    editor = SpeakingEditor(package, request.sampling, Watch(advance, kept=work.window), speech)
    advance(sum(editor.kept_frames(run) for run in runs))
    frames = composited_frames(inputs.video, face.plan, editor, face.audio_features, Compositing.whole_crop)
    for _ in frames:
        pass  # what is made is kept; the frames are drawn later
    vocoder = load_joint_vocoder(Path(package.settings.model), package.codec.device)
    patches = []
    for segment in face.plan.segments:
        run = segment.model
        path = work.path / f"speech-{run.start}.wav"
        if not path.is_file():
            write_sound(path, _spectrogram(package, run, work), vocoder)
        begin = Fraction(run.start) / Fraction(editor.fps)
        last = segment.source.stop == inputs.info.frame_count
        end = inputs.info.duration if last else float(face.plan.timeline.times[segment.source.stop])
        place = SoundPlace(begin, begin, Fraction(end).limit_denominator(1_000_000))
        patches.append(SoundPatch(path, place))
    return replace(inputs, patches=tuple(patches))


def _spectrogram(package: JointPackage, run: range, work: JobFolder) -> Iterator[torch.Tensor]:
    """(2, T, 64) after (2, T, 64) of a run: of each window what is new, up to where the next one begins."""
    waiting: MadeSound | None = None
    done = 0
    for number in range(len(joint_windows(package.info, len(run)))):
        made = MadeSound.read(work.window(sound_name(window_name(run.start, number))))
        if waiting is not None:
            stop = made.first + made.given
            yield waiting.mel[:, done - waiting.first : stop - waiting.first]
            done = min(stop, waiting.first + waiting.mel.shape[1])
        waiting = made
    if waiting is not None:
        yield waiting.mel[:, done - waiting.first :]
