"""What a dubbing job would do, without doing it."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from pathlib import Path

from common.diffusion.config import DiffusionConfig
from common.diffusion.inversion import Inversion
from common.diffusion.multidiffusion import MultiDiffusion
from common.diffusion.options import resolve_sampling
from common.diffusion.windows import check_short_windows, plan_windows, saved_by_short_windows
from common.errors import UserError
from common.geometry import latents_to_frames
from common.languages import language_name
from common.media import SAMPLE_RATE, model_frame_count
from common.media.retiming import open_video
from common.models.package_info import PackageInfo, read_info
from common.models.speed import SpeedConfig
from common.own_mouths.config import Renderer
from stage2_dubber.dub.compositing.pasting import chosen_compositing
from stage2_dubber.dub.inputs import DubInputs
from stage2_dubber.dub.joint_options import check_joint_options
from stage2_dubber.dub.length.options import Timing
from stage2_dubber.dub.refining.checks import check_drawn, check_editor, check_refiner
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.sampling_checks import check_sampling
from stage2_dubber.dub.speaking.checks import check_speaking
from stage2_dubber.dub.speaking.options import AudioRole


def plan_lines(
    request: DubRequest, inputs: DubInputs, model: Path, speed: SpeedConfig, preset: str, dtype: str
) -> list[str]:
    """Lines that describe the job; the model's metadata are read, its weights are not.

    Args:
        request: the job, already checked.
        inputs: the results of the checks.
        model: the package's folder.
        speed: switches; those that are on are listed.
        preset: what was resolved of it, for people.
        dtype: of the weights.

    Raises:
        UserError: the model is no package of the second stage, or a setting makes no sense.
    """
    info = read_info(model)
    check_editor(model, info)
    check_joint_options(model, info, request.sampling, speed)
    check_speaking(request, model, info)
    check_short_windows(speed.short_windows, info.conventions.windows)
    if info.stage != 2:
        raise UserError(
            f"{model}: the model is of stage {info.stage}, but stage 2 is needed; choose another."
        )
    check_sampling(request, inputs, info, speed)
    settings = resolve_sampling(request.sampling, info.diffusion)
    inversion = Inversion.of(settings)
    geometry, video = info.geometry, inputs.info
    frames = _model_frames(inputs, geometry.fps)
    overlap = latents_to_frames(geometry.motion_latents, info.frame_stride)
    averages = MultiDiffusion.of(settings, geometry)
    longest = geometry.clip_frames if averages is None else averages.section
    cut = (frames, longest, overlap, info.conventions.windows)
    windows = plan_windows(*cut, speed.short_windows, info.frame_stride)
    known = speed.short_windows or info.joint is not None
    saved = 0.0 if known else saved_by_short_windows(*cut)
    detector, options = request.face_backend()
    given = "".join(f", {name} {value}" for name, value in options.items())
    steps = len(windows) * (settings.passes * settings.num_steps + (inversion.steps if inversion else 0))
    renderer = request.renderer or info.renderer
    check_drawn(request, renderer)
    sampler = "none: own mouths are drawn without the model"
    cuts = ""
    if renderer is not Renderer.own_mouths:
        sampler = (
            f"{settings.passes} x {settings.num_steps} steps, {_scales(info, settings)}{_start(inversion)}, "
            f"seed {info.conventions.seed if request.sampling.seed is None else request.sampling.seed}"
        )
        cuts = (
            f" in {len(windows)} of at most {windows[0].length} frames, {steps} sampler steps (if every "
            f"frame shows the face){_averaged(averages, windows[0].latent_frames)}"
            + (f"; short windows save {saved:.0%} of the frames that the model sees" if saved > 0 else "")
        )
    lines = [
        f"video     {request.video}: {video.width}x{video.height}, {video.frame_count} frames at "
        f"{float(video.average_rate):.3f} frames/s, {video.duration:.2f} s",
        f"speech    {_speech(request, inputs)}",
        f"face      {detector}{given}",
        f"model     {model}: phase {info.phase}, {geometry.crop_size} px crops at {geometry.fps:g} frames/s",
        f"preset    {preset}",
        f"dtype     {dtype}",
        f"sampler   {sampler}",
        f"crops     {(request.crops or info.conventions.crops).value}",
        f"pasting   {chosen_compositing(request.compositing, info.conventions).value}",
        f"renderer  {renderer.value}",
        f"speed     {', '.join(f'{name} {value}' for name, value in speed.changes().items()) or 'exact'}",
        f"windows   {frames} model frames{cuts}",
        f"output    {request.output}" + (" (lossless)" if request.lossless else ""),
    ]
    lines += [] if request.refine is None else [_refined(request.refine)]
    lines += [
        f"also      {path}" for path in (request.contact_sheet, request.side_by_side) if path is not None
    ]
    lines.append(f"says      {request.stated.sentence}")
    return lines + [f"warning   {warning}" for warning in inputs.warnings]


def _speech(request: DubRequest, inputs: DubInputs) -> str:
    seconds = len(inputs.speech) / SAMPLE_RATE
    if request.audio_role is AudioRole.speech:
        return f"{request.audio}: {seconds:.2f} s{_timed(request.timing)}"
    what = f"the text of {request.prompt_states}"
    if request.language is not None:
        what = f"{len(request.text or '')} letters of {language_name(request.language)}"
    whose = (
        "the video's own voice" if request.voice_follows else f"the voice of {request.audio}, {seconds:.2f} s"
    )
    return f"made by the model: {what} in {whose}"


def _scales(info: PackageInfo, settings: DiffusionConfig) -> str:
    if info.joint is not None:
        schedule = "distilled" if info.joint.distilled else "shifted"
        return f"{schedule}, text scale {info.joint.text_scale:g}, audio scale {settings.audio_scale:g}"
    return (
        f"shift {settings.shift:g}, reference scale {settings.reference_scale:g}, "
        f"audio scale {settings.audio_scale:g}"
    )


def _refined(folder: Path) -> str:
    info = check_refiner(folder)
    geometry, sides = info.geometry, info.lip_resolution
    what = "frames of own mouths" if sides is None else f"lips of {sides[1]} px"
    return (
        f"refine    {folder}: {what} in {geometry.crop_size} px crops at {geometry.fps:g} "
        f"frames/s, {info.diffusion.passes} x {info.diffusion.num_steps} steps"
    )


def _averaged(averages: MultiDiffusion | None, latents: int) -> str:
    if averages is None:
        return ""
    calls, size = len(averages.starts(latents)), latents_to_frames(averages.size)
    return f"; a step averages {calls} windows of {size} frames in a section of {latents_to_frames(latents)}"


def _start(inversion: Inversion | None) -> str:
    if inversion is None:
        return ""
    return f", from {inversion.steps} steps of inversion of strength {inversion.strength:g}"


def _model_frames(inputs: DubInputs, rate: float) -> int:
    """Frames at the model's rate of the part that is dubbed."""
    with open_video(inputs.video) as reader:
        times = reader.times()
    part = inputs.place.frames(times)
    return model_frame_count(times[part.start : part.stop], rate) if part else 0


def _timed(timing: Timing) -> str:
    """What is not as usual about times."""
    usual = Timing()
    changes = [
        f"{item.name} {value.value if isinstance(value, Enum) else value}"
        for item in fields(Timing)
        if (value := getattr(timing, item.name)) != getattr(usual, item.name)
    ]
    return f", {', '.join(changes)}" if changes else ""
