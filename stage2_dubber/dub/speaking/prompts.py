"""What each window of a dub says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from common.media import model_frame_count
from common.media.retiming import open_video
from common.models.ltx2.package import JointPackage
from common.models.ltx2.spoken import SpokenPrompts, spoken_prompts
from common.models.package_info import PackageInfo
from stage2_dubber.dub.editing.joint import joint_windows
from stage2_dubber.dub.editing.speaking import SpokenWindows
from stage2_dubber.dub.editing.windowed import window_name
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.resume.folder import JobFolder


def window_prompts(info: PackageInfo, text: str, language: str, runs: Sequence[range]) -> dict[str, str]:
    """The prompt of each window of ``runs`` of frames at the model's rate, by the window's name.

    Raises:
        UserError: there is no text, or no such language.
    """
    lengths = _lengths(info, runs)
    return dict(zip(lengths, spoken_prompts(text, language, list(lengths.values())), strict=True))


def clip_prompts(info: PackageInfo, text: str, language: str, video: Path) -> list[str]:
    """The prompts for a dub of ``video`` whose face is seen in every frame.

    Raises:
        UserError: the video cannot be read, there is no text, or no such language.
    """
    with open_video(video) as reader:
        frames = model_frame_count(reader.times(), info.geometry.fps)
    return list(window_prompts(info, text, language, [range(frames)]).values())


def spoken_windows(
    request: DubRequest, package: JointPackage, runs: Sequence[range], work: JobFolder
) -> SpokenWindows:
    """What a job says.

    Args:
        request: the job.
        package: the model.
        runs: of frames at the model's rate, in which a face is dubbed.
        work: keeps the states of prompts that are encoded.

    Raises:
        UserError: stored states are for another number of windows, or the text encoder cannot be loaded.
    """
    config, model = package.transformer.model.config, Path(package.settings.model)
    names = list(_lengths(package.info, runs))
    if request.prompt_states is not None:
        found = SpokenPrompts.read(request.prompt_states, config)
        if len(found.texts) != len(names):
            raise UserError(
                f"{request.prompt_states}: holds {len(found.texts)} prompts, and this dub has {len(names)} "
                "windows (the face is not seen in all frames, or it was made for another video or package); "
                "give --text where the text encoder is, or a clip that shows the face throughout."
            )
    else:
        assert request.text is not None and request.language is not None
        kept = work.path / "prompts.safetensors"
        if not kept.is_file():
            texts = window_prompts(package.info, request.text, request.language, runs)
            SpokenPrompts.encode(model, list(texts.values())).save(kept)
        found = SpokenPrompts.read(kept, config)
    return SpokenWindows(dict(zip(names, found.states, strict=True)), request.voice_follows)


def _lengths(info: PackageInfo, runs: Sequence[range]) -> dict[str, int]:
    """New frames of each window, by its name."""
    return {
        window_name(run.start, number): window.valid - window.new_from
        for run in runs
        for number, window in enumerate(joint_windows(info, len(run)))
    }
