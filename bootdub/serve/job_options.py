"""From a request to what the store keeps of it: checked, plain, and with every file judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bootdub.serve.places import file_under, require_url
from bootdub.serve.schemas import (
    ActiveSpeaker,
    AudioSource,
    GenerateRequest,
    GenerationOptions,
    GenerationSegment,
    GenerationSettings,
    VideoSource,
)
from bootdub.serve.settings import ServeSettings
from common.errors import UserError
from stage2_dubber.dub.length.options import Length
from stage2_dubber.dub.request import DubRequest

_OWN = ("sync_mode", "active_speaker_detection", "output_format", "contact_sheet", "preset")


def options_of(request: GenerateRequest, settings: ServeSettings) -> dict[str, Any]:
    """What the store keeps of a request that names its inputs.

    Raises:
        UserError: inputs or options make no sense, or may not be used.
    """
    videos = [source for source in request.input if isinstance(source, VideoSource)]
    audios = [source for source in request.input if isinstance(source, AudioSource)]
    if len(videos) != 1:
        raise UserError(f"There are {len(videos)} inputs of the type video: give one.")
    names = [audio.ref_id or "" for audio in audios]
    if len(set(names)) < len(names) or not names:
        raise UserError("The inputs of the type audio need names of their own: give each another refId.")
    video = _place(videos[0], settings)
    return _options(
        request, settings, video, {n: _place(a, settings) for n, a in zip(names, audios, strict=True)}
    )


def options_of_upload(
    wanted: GenerationSettings, settings: ServeSettings, video: str, audio: str
) -> dict[str, Any]:
    """The same where both inputs are uploaded; their names in the job's folder are given.

    Raises:
        UserError: options make no sense.
    """
    return _options(wanted, settings, {"file": video}, {"": {"file": audio}})


def _options(
    wanted: GenerationSettings,
    settings: ServeSettings,
    video: dict[str, str],
    audios: dict[str, dict[str, str]],
) -> dict[str, Any]:
    if wanted.model not in (None, settings.model.name):
        raise UserError(
            f"There is no model '{wanted.model}' here: leave it out, or name '{settings.model.name}'."
        )
    if wanted.webhook_url is not None:
        require_url(wanted.webhook_url, settings.hosts)
    options = wanted.options
    dub = options.model_dump(mode="json", exclude_none=True, exclude=set(_OWN))
    dub["length"] = Length(options.sync_mode.replace("_", "-")).value
    boxes = None
    if options.active_speaker_detection is not None:
        if {"face", "box"} & set(dub):
            raise UserError("active_speaker_detection says whose face is dubbed: leave face and box away.")
        dub |= _face(options.active_speaker_detection)
        boxes = options.active_speaker_detection.bounding_boxes
    segments = _segments(wanted.segments, options, set(audios))
    if not segments and len(audios) > 1:
        raise UserError(
            "There are several inputs of the type audio: give segments that name them, or one input."
        )
    request = DubRequest.of("video", "audio", f"output.{options.output_format}", **dub)
    if boxes is None:
        request.face_backend()
    return {
        "video": video,
        "audios": audios,
        "options": options.model_dump(mode="json", exclude_none=True),
        "dub": dub,
        "preset": None if options.preset is None else options.preset.value,
        "boxes": boxes,
        "segments": segments,
        "format": options.output_format,
        "name": wanted.output_file_name,
        "contact_sheet": options.contact_sheet,
    }


def _place(source: VideoSource | AudioSource, settings: ServeSettings) -> dict[str, str]:
    if source.path is not None:
        file_under(settings.root, source.path)
        return {"path": source.path}
    require_url(str(source.url), settings.hosts)
    return {"url": str(source.url)}


def _face(speaker: ActiveSpeaker) -> dict[str, Any]:
    if speaker.coordinates is None:
        return {}
    return {"face": ",".join(f"{value:g}" for value in speaker.coordinates)}


def _segments(
    segments: Sequence[GenerationSegment], options: GenerationOptions, audios: set[str]
) -> list[dict[str, Any]]:
    """Start, end, audio, zero (where its beginning lies) and face of each; seconds, in order of time."""
    if segments and (options.start is not None or options.end is not None or options.offset is not None):
        raise UserError("Segments say what is dubbed when: leave start, end and offset away.")
    found: list[dict[str, Any]] = []
    for segment in sorted(segments, key=lambda segment: segment.start_time):
        sound = segment.audio_input
        if sound.ref_id not in audios:
            raise UserError(f"A segment names the audio '{sound.ref_id}', but no input has this refId.")
        begin = sound.start_time or 0.0
        end = segment.end_time
        if sound.end_time is not None:
            end = min(end, segment.start_time + sound.end_time - begin)
        if end <= segment.start_time:
            raise UserError(f"The segment from {segment.start_time:g} s on has no length: give a later end.")
        if found and found[-1]["end"] > segment.start_time:
            raise UserError(f"Two segments are at {segment.start_time:g} s: give each a time of its own.")
        face = (
            {}
            if segment.options_override is None
            else _face(segment.options_override.active_speaker_detection)
        )
        found.append(
            {
                "start": segment.start_time,
                "end": end,
                "audio": sound.ref_id,
                "zero": segment.start_time - begin,
                **face,
            }
        )
    if len(found) > 1 and not all("face" in segment for segment in found):
        raise UserError(
            "Several segments need to say whose face each is about: give every one an optionsOverride with "
            "the coordinates of active_speaker_detection."
        )
    return found
