"""What requests and answers look like: names of sync.so where it has one, else those of ``DubRequest``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from common.own_mouths.config import Renderer
from stage2_dubber.dub.compositing.options import Compositing
from stage2_dubber.dub.length.options import Outside
from stage2_dubber.dub.presets.names import Preset

Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,200}$")]
Seconds = Annotated[float, Field(ge=0, le=1e6)]
Pixel = Annotated[float, Field(ge=-1e5, le=1e5)]
Box = Annotated[list[Pixel], Field(min_length=4, max_length=4)]
MOST_BOXES = 1_000_000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)


class _Source(_Strict):
    url: Text | None = Field(default=None, description="Of a host that the service may ask.")
    path: Text | None = Field(default=None, description="Of a file in the service's folder, relative to it.")

    @model_validator(mode="after")
    def _one(self) -> _Source:
        if (self.url is None) == (self.path is None):
            raise ValueError("an input has either a url or a path")
        return self


class VideoSource(_Source):
    """The clip to dub."""

    type: Literal["video"]


class AudioSource(_Source):
    """New speech: a sound file, or a video whose sound is meant."""

    type: Literal["audio"]
    ref_id: Name | None = Field(default=None, alias="refId", description="Segments name it by this.")


Source = Annotated[VideoSource | AudioSource, Field(discriminator="type")]


class ActiveSpeaker(_Strict):
    """Whose face is dubbed."""

    auto_detect: bool | None = Field(default=None, description="The face whose lips agree with the sound.")
    coordinates: Annotated[list[Pixel], Field(min_length=2, max_length=2)] | None = Field(
        default=None, description="A place x, y on the face, in pixels of the upright picture, in any frame."
    )
    bounding_boxes: Annotated[list[Box | None], Field(min_length=1, max_length=MOST_BOXES)] | None = Field(
        default=None, description="Per frame x0, y0, x1, y1 of the face, or null."
    )

    @model_validator(mode="after")
    def _one(self) -> ActiveSpeaker:
        if sum((bool(self.auto_detect), self.coordinates is not None, self.bounding_boxes is not None)) > 1:
            raise ValueError("give one of auto_detect, coordinates and bounding_boxes")
        return self


class GenerationOptions(_Strict):
    """How the clip is dubbed; what is not given is as in ``bootdub dub``."""

    sync_mode: Literal["silence", "cut_off", "bounce", "loop", "remap"] = "silence"
    active_speaker_detection: ActiveSpeaker | None = None
    output_format: Literal["mp4", "mov", "mkv", "webm"] = "mp4"
    preset: Preset | None = Field(default=None, description="Quality; default: the service's.")
    contact_sheet: bool = Field(default=False, description="Also make a picture of source and dubbed faces.")
    face: Annotated[str, StringConstraints(pattern=r"^(auto|largest|[1-9][0-9]{0,3})$")] | None = Field(
        default=None, description="auto, largest, or a number of `bootdub faces`."
    )
    box: Box | None = Field(default=None, description="Of the face in every frame.")
    follow_box: bool | None = Field(default=None, description="The box is that of the first frame.")
    detector: Literal["mediapipe", "insightface"] | None = None
    start: Seconds | None = None
    end: Seconds | None = None
    offset: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    outside: Outside | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    num_steps: Annotated[int, Field(ge=1, le=100)] | None = None
    passes: Annotated[int, Field(ge=1, le=4)] | None = None
    audio_scale: Annotated[float, Field(ge=0, le=100)] | None = None
    reference_scale: Annotated[float, Field(ge=0, le=100)] | None = None
    shift: Annotated[float, Field(gt=0, le=100)] | None = None
    codec: Literal["h264", "hevc", "vp9", "av1", "prores", "dnxhd", "ffv1"] | None = None
    crf: Annotated[int, Field(ge=0, le=63)] | None = None
    compositing: Compositing | None = None
    renderer: Renderer | None = None
    consent: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None


class SegmentAudio(_Strict):
    """Which speech a segment takes, or a part of it."""

    ref_id: Name = Field(alias="refId")
    start_time: Seconds | None = Field(default=None, alias="startTime")
    end_time: Seconds | None = Field(default=None, alias="endTime")


class SegmentOptions(_Strict):
    """What is different in a segment."""

    active_speaker_detection: ActiveSpeaker


class GenerationSegment(_Strict):
    """A part of the video with speech of its own."""

    start_time: Seconds = Field(alias="startTime")
    end_time: Seconds = Field(alias="endTime")
    audio_input: SegmentAudio = Field(alias="audioInput")
    options_override: SegmentOptions | None = Field(default=None, alias="optionsOverride")


class GenerationSettings(_Strict):
    """All of a request but its inputs."""

    model: Text | None = Field(default=None, description="Name of the service's model; there is one.")
    options: GenerationOptions = GenerationOptions()
    segments: Annotated[list[GenerationSegment], Field(max_length=1000)] = []
    webhook_url: Text | None = Field(default=None, alias="webhookUrl")
    output_file_name: Name | None = Field(
        default=None, alias="outputFileName", description="Without its ending."
    )


_EXAMPLE: dict[str, JsonValue] = {
    "input": [{"type": "video", "path": "clips/anna.mp4"}, {"type": "audio", "path": "speech/anna-de.wav"}],
    "options": {"sync_mode": "bounce", "seed": 1},
    "outputFileName": "anna-de",
}


class GenerateRequest(GenerationSettings):
    """A job."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    input: Annotated[list[Source], Field(min_length=2, max_length=101)]


class Generation(BaseModel):
    """A job as the service shows it."""

    id: str
    created_at: datetime = Field(serialization_alias="createdAt")
    status: Literal["PENDING", "PROCESSING", "COMPLETED", "FAILED", "REJECTED", "CANCELED"]
    model: str
    input: list[dict[str, str | None]]
    options: dict[str, object]
    webhook_url: str | None = Field(default=None, serialization_alias="webhookUrl")
    output_url: str | None = Field(default=None, serialization_alias="outputUrl")
    output_duration: float | None = Field(default=None, serialization_alias="outputDuration")
    contact_sheet_url: str | None = Field(default=None, serialization_alias="contactSheetUrl")
    report_url: str | None = Field(default=None, serialization_alias="reportUrl")
    error: str | None = None
    error_code: str | None = None
    stage: str | None = Field(default=None, description="What is being done.")
    progress: float | None = Field(default=None, description="How much of the stage is done, 0 to 1.")
    warnings: list[str] = Field(default_factory=list)


class Refusal(BaseModel):
    """Why a request is not done."""

    error: str
    error_code: str
