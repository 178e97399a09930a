"""``bootdub dub`` and ``bootdub info``."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from bootdub.cli import spoken
from bootdub.cli.dub_options import face as where
from bootdub.cli.dub_options import length as times
from bootdub.cli.dub_options import pictures, sampling
from bootdub.cli.dub_options import provenance as stated
from bootdub.cli.dub_options import speed as switch
from bootdub.cli.errors import clean_errors
from bootdub.cli.options import (
    Crops,
    Detector,
    Device,
    DeviceOption,
    Dtype,
    LimitOption,
    ModelOption,
    PresetOption,
    RefineOption,
    parse_box,
    use_limits,
)
from common.errors import UserError
from common.files import require_file
from common.own_mouths.config import Renderer
from stage2_dubber.dub.compositing.options import Compositing
from stage2_dubber.dub.length.options import Length, Outside
from stage2_dubber.dub.speaking.options import AudioRole


def dub(
    video: Annotated[Path, typer.Option(help="The clip to dub.")],
    output: Annotated[Path, typer.Option(help="The dubbed video to write (.mp4, .mov, .mkv, .webm).")],
    audio: Annotated[
        Path | None,
        typer.Option(
            help="The new speech: a sound file or a video with sound. With --cues it may be left away: the "
            "sound is then put together from the files of the cues. By --audio-role a sample of a voice."
        ),
    ] = None,
    audio_role: spoken.AudioRoleOption = AudioRole.speech,
    text: spoken.TextOption = None,
    language: spoken.LanguageOption = None,
    prompt_states: spoken.PromptStatesOption = None,
    model: ModelOption = None,
    device: DeviceOption = Device.auto,
    preset: PresetOption = None,
    dtype: Annotated[
        Dtype | None,
        typer.Option(
            help="Of the weights; auto: bfloat16 where the device computes in it natively. Default: the "
            "preset's, auto except for best."
        ),
    ] = None,
    seed: sampling.SeedOption = None,
    num_steps: sampling.NumStepsOption = None,
    passes: sampling.PassesOption = None,
    audio_scale: sampling.AudioScaleOption = None,
    shift: sampling.ShiftOption = None,
    reference_scale: sampling.ReferenceScaleOption = None,
    start_from: sampling.StartFromOption = None,
    inversion_strength: sampling.InversionStrengthOption = None,
    inversion_steps: sampling.InversionStepsOption = None,
    windows: sampling.WindowsOption = None,
    window_frames: sampling.WindowFramesOption = None,
    window_stride: sampling.WindowStrideOption = None,
    section_frames: sampling.SectionFramesOption = None,
    detector: where.DetectorOption = Detector.mediapipe,
    face: where.FaceOption = "auto",
    box: where.BoxOption = None,
    follow_box: where.FollowBoxOption = False,
    cues: where.CuesOption = None,
    track: where.TrackOption = None,
    length: times.LengthOption = Length.silence,
    start: times.StartOption = None,
    end: times.EndOption = None,
    offset: times.OffsetOption = 0.0,
    outside: times.OutsideOption = Outside.own,
    overwrite: Annotated[
        bool, typer.Option("--overwrite/--no-overwrite", help="Replace an output that exists.")
    ] = False,
    lossless: pictures.LosslessOption = False,
    codec: pictures.CodecOption = None,
    crf: pictures.CrfOption = None,
    pix_fmt: pictures.PixFmtOption = None,
    smart_render: pictures.SmartRenderOption = True,
    audio_track: Annotated[
        int | None,
        typer.Option(min=1, help="Number of AUDIO's sound track. Default: the one that players choose."),
    ] = None,
    compositing: Annotated[
        Compositing | None,
        typer.Option(
            help="How edits go back: residual adds their change to the source's own pixels, blend takes them "
            "near what they changed, fused does this where lips are new and that elsewhere, whole-crop takes "
            "all of the square. Default: what the model's package says (X-Dub, TBDub: whole-crop), or fused."
        ),
    ] = None,
    renderer: Annotated[
        Renderer | None,
        typer.Option(
            help="What draws the new mouths: own-mouths takes those that the clip itself shows at other "
            "moments, editor the model's pictures, auto the first where the clip shows the head as it is "
            "held and the second elsewhere. Default: what the model's package says."
        ),
    ] = None,
    crops: Annotated[
        Crops | None,
        typer.Option(
            help="Which squares the editor sees: head follows the head, release holds them as X-Dub does, "
            "tbdub as TBDub, frame is the whole picture (for LTX-2). Default: what the model's package says "
            "(docs/import.md)."
        ),
    ] = None,
    refine: RefineOption = None,
    contact_sheet: Annotated[
        Path | None, typer.Option(help="Also write a PNG with source and dubbed faces.")
    ] = None,
    side_by_side: Annotated[
        Path | None, typer.Option(help="Also write a video with source and result side by side.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Also write a JSON: frames left alone and why, who drew the others, losses."),
    ] = None,
    speed: switch.FilesOption = None,
    branches: switch.BranchesOption = None,
    guidance_interval: switch.IntervalOption = None,
    cache: switch.CacheOption = None,
    cache_threshold: switch.ThresholdOption = None,
    cache_interval: switch.CacheIntervalOption = None,
    short_windows: switch.ShortWindowsOption = None,
    compile: switch.CompileOption = None,
    attention: switch.AttentionOption = None,
    quantization: switch.QuantizationOption = None,
    offload: switch.OffloadOption = None,
    provenance: stated.ProvenanceOption = True,
    consent: stated.ConsentOption = None,
    c2pa_cert: stated.C2paCertOption = None,
    c2pa_key: stated.C2paKeyOption = None,
    limit: LimitOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and print the plan, but do not dub.")
    ] = False,
) -> None:
    """Dub a clip: its lips follow the speech of AUDIO; frame count, rate, size and time stamps stay."""
    given = locals().copy()
    with clean_errors():
        require_file(video, "video")
        if audio is not None:
            require_file(audio, "audio")
        from common.models.package_info import read_info

        if model is not None:
            read_info(model)
        use_limits(limit)
        from bootdub.messages import quieten_libraries, show_warnings
        from stage2_dubber.dub.inputs import check_request
        from stage2_dubber.dub.request import DubRequest

        quieten_libraries()
        show_warnings()
        given["box"] = parse_box(box)
        request = DubRequest.of(**{name: given[name] for name in DubRequest.option_names() & set(given)})
        inputs = check_request(request)
        from stage2_dubber.dub.joint_options import check_joint_options
        from stage2_dubber.dub.locate import default_model_path
        from stage2_dubber.dub.presets.choose import choose_preset
        from stage2_dubber.dub.speaking.checks import check_speaking

        folder = model or default_model_path()
        settings = choose_preset(preset, folder, device.value)
        request = settings.applied(request)
        check_joint_options(folder, read_info(folder), request.sampling)
        check_speaking(request, folder, read_info(folder))
        from bootdub.console import ConsoleProgress
        from stage2_dubber.dub.editing.ahead import Ahead
        from stage2_dubber.dub.faces.follow import follow_face

        # Libraries and weights take seconds to load; the face is followed meanwhile.
        with Ahead(active=not dry_run) as ahead:
            progress = ConsoleProgress()
            chosen = request.renderer or read_info(folder).renderer
            own = None if chosen is Renderer.editor else request.own_mouths
            followed = ahead.start(partial(follow_face, request, progress, ahead.stopping, own, inputs))
            from stage2_dubber.dub.device import choose_device, choose_dtype
            from stage2_dubber.dub.sampling_checks import check_sampling

            place = choose_device(device.value)
            switches = switch.read_speed(
                speed,
                settings.speed,
                guidance_branches=branches,
                guidance_interval=guidance_interval,
                step_cache=cache,
                cache_threshold=cache_threshold,
                cache_interval=cache_interval,
                short_windows=short_windows,
                compile=compile,
                attention_backend=attention,
                quantization=quantization,
                offload=offload,
            )
            check_sampling(request, inputs, read_info(folder), switches)
            weights = choose_dtype(settings.dtype if dtype is None else dtype.value, place)
            if dry_run:
                from stage2_dubber.dub.dry_run import plan_lines

                if switches.changes():
                    # The libraries of the switches take seconds to import, and none is on by default.
                    from common.models.switches import check_switches

                    check_switches(switches, place, weights)
                named = str(weights).removeprefix("torch.")
                for line in plan_lines(request, inputs, folder, switches, settings.described(), named):
                    print(line)
                return
            if settings.changes:
                print(f"preset {settings.described()}", file=sys.stderr)
            from stage2_dubber.dub.pipeline import DubPipeline

            pipeline = DubPipeline.from_pretrained(folder, place, weights, switches)
            with progress:
                result = pipeline.run(request, inputs=inputs, face=followed, progress=progress)
        _report(result)


def info(
    model: Annotated[
        Path, typer.Argument(help="Model package folder, or a folder of LTX-2 in diffusers' format.")
    ],
    lora: Annotated[
        Path | None, typer.Option(help="An in-context LoRA: does it fit this LTX-2?", metavar="FILE")
    ] = None,
) -> None:
    """Print what a model package says about itself, or what a folder of LTX-2 holds."""
    with clean_errors():
        import json

        from common.models.ltx2.index import is_joint_folder
        from stage2_dubber.dub.locate import read_metadata

        if is_joint_folder(model):
            from common.models.ltx2.described import describe_joint_folder

            found = describe_joint_folder(model, lora)
        elif lora is not None:
            raise UserError(f"{model} is no folder of LTX-2, to which alone --lora applies: leave it out.")
        else:
            found = read_metadata(model)
        print(json.dumps(found, indent=2, ensure_ascii=False))


def _report(result: Any) -> None:
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    seconds = sum(result.seconds.values())
    print(
        f"{result.output}: {result.dubbed_frames} of {result.frames} frames dubbed in {seconds:.1f} s "
        f"({result.frames / max(seconds, 1e-9):.2f} frames/s)"
    )
    if result.covered is not None:
        print(
            f"{result.own_mouth_frames} of them with the clip's own mouths, which cover "
            f"{result.covered:.0%} of what is said"
        )
    if result.report.copied_frames:
        print(f"{result.report.copied_frames} frames are copied as they are coded in the source")
    print(result.report.provenance)
