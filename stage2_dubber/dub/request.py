"""What one dubbing job is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import Enum
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from common.diffusion.options import SamplingOptions
from common.errors import UserError
from common.files import require_file
from common.media.following import WantedPictures
from common.models.conventions import CropRule
from common.output_path import same_file
from common.own_mouths.config import OwnMouthsConfig, Renderer
from stage2_dubber.dub.compositing.options import Compositing
from stage2_dubber.dub.faces.choice import AUTO, FaceChoice
from stage2_dubber.dub.length.options import Length, Outside, Timing
from stage2_dubber.dub.provenance.provenance import Provenance
from stage2_dubber.dub.speaking.options import AudioRole, sound_of

Choice = TypeVar("Choice", bound=Enum)

_CHOICES: dict[str, type[Enum]] = {
    "audio_role": AudioRole,
    "compositing": Compositing,
    "crops": CropRule,
    "length": Length,
    "outside": Outside,
    "renderer": Renderer,
}
_PATHS = (
    *("track", "cues", "contact_sheet", "side_by_side", "report", "c2pa_cert", "c2pa_key"),
    *("prompt_states", "refine"),
)


@dataclass(frozen=True)
class DubRequest:
    """One job.

    Attributes:
        video: the clip to dub.
        audio: a sound file, or a video whose sound is meant; or the table ``cues``: the sound is then put
            together from those that it names. By ``audio_role`` what is said, or a voice.
        output: the video to write; whole or absent.
        sampling: seed, steps and guidance, where they are not the package's own.
        timing: which part is dubbed, when the speech begins, and what is done about different lengths.
        detector: "mediapipe", "insightface" or "box".
        face: which face is dubbed: "auto" (who speaks), "largest", a number or the file of ``bootdub faces``,
            or a place "x,y" in pixels of the upright picture.
        box: x0, y0, x1, y1 of the face in pixels of the upright picture, for every frame; implies "box".
        follow_box: the box is that of the first frame and is carried along by optical flow, until a cut.
        track: a file with a box or landmarks per frame; implies "box".
        cues: a table of who says what when (:mod:`stage2_dubber.dub.faces.cues`); an ``audio`` file stays the
            sound.
        overwrite: replace files that exist.
        lossless: write FFV1 (``output`` must end in .mkv).
        codec: of the output's pictures, a name of :data:`common.media.codecs.OUTPUT_CODECS`; None: the
            source's, where it can be encoded here and the output's container takes it.
        crf: constant quality of H.264, HEVC, VP9 and AV1, smaller is better; None: the default.
        pix_fmt: FFmpeg's name of the output's pixel format; None: the source's.
        smart_render: copy groups of pictures in which nothing is dubbed as they are coded, where that is
            possible (:mod:`common.media.gops`).
        audio_track: number of the sound track of ``audio``, from 1; None: the one that players choose.
        compositing: how edits go back into the frames; None: as the model's package says.
        renderer: what draws the new mouths; None: what the model's package says.
        crops: which squares the model sees; None: those that the package says.
        own_mouths: how the clip's own mouths are used, where they are.
        contact_sheet: a PNG of source and dubbed faces to write too.
        side_by_side: a comparison video to write too.
        report: a JSON to write too, :class:`stage2_dubber.dub.report.DubReport`.
        provenance: say in the outputs' metadata that a model changed the mouths.
        consent: words about who has agreed, which are said there, too.
        c2pa_cert, c2pa_key: certificate and key (PEM) with which this is also signed, as a C2PA manifest.
        audio_role: whether ``audio`` is what is said, or the voice in which the model says ``text``; the
            video's own sound is a voice that speaks meanwhile.
        text, language: what the model says, and the language's code.
        prompt_states: a file of ``bootdub prompts`` instead of both.
        refine: the package of a model that refines the new lips, or the frames of own mouths; None: none.
    """

    video: Path
    audio: Path
    output: Path
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    timing: Timing = field(default_factory=Timing)
    detector: str = "mediapipe"
    face: str = AUTO
    box: tuple[float, float, float, float] | None = None
    follow_box: bool = False
    track: Path | None = None
    cues: Path | None = None
    overwrite: bool = False
    lossless: bool = False
    codec: str | None = None
    crf: int | None = None
    pix_fmt: str | None = None
    smart_render: bool = True
    audio_track: int | None = None
    compositing: Compositing | None = None
    renderer: Renderer | None = None
    crops: CropRule | None = None
    own_mouths: OwnMouthsConfig = field(default_factory=OwnMouthsConfig)
    contact_sheet: Path | None = None
    side_by_side: Path | None = None
    report: Path | None = None
    provenance: bool = True
    consent: str | None = None
    c2pa_cert: Path | None = None
    c2pa_key: Path | None = None
    audio_role: AudioRole = AudioRole.speech
    text: str | None = None
    language: str | None = None
    prompt_states: Path | None = None
    refine: Path | None = None

    @classmethod
    def of(
        cls,
        video: str | PathLike[str],
        audio: str | PathLike[str] | None,
        output: str | PathLike[str],
        **options: Any,
    ) -> DubRequest:
        """A request from what callers write by hand.

        Args:
            video, audio, output: as above; no audio means the table of cues, or, with a text, the video's
                own sound as its voice.
            options: fields of this class, paths and choices also as text, and fields of
                :class:`common.diffusion.options.SamplingOptions` and
                :class:`stage2_dubber.dub.length.options.Timing`, which change ``sampling`` and ``timing``.

        Raises:
            TypeError: there is no such option.
            UserError: a value makes no sense.
        """
        known = cls.option_names()
        unknown = sorted(set(options) - known)
        if unknown:
            raise TypeError(f"a dub has no option {unknown[0]!r}: known are {', '.join(sorted(known))}")
        given = {name: _read(name, value) for name, value in options.items()}
        changes = {name: given.pop(name) for name in SamplingOptions.types() if name in given}
        times = {name: given.pop(name) for name in Timing.types() if name in given}
        voice = audio if audio is not None else given.get("cues")
        sound, given["audio_role"] = sound_of(
            Path(video),
            None if voice is None else Path(voice),
            given.get("audio_role", AudioRole.speech),
            given.get("text"),
            given.get("prompt_states"),
        )
        if sound is None:
            raise UserError(
                "There is no speech: give --audio, --cues with a file for every cue, or --text for a model "
                "that speaks."
            )
        given["sampling"] = replace(given.get("sampling") or SamplingOptions(), **changes)
        given["timing"] = replace(given.get("timing") or Timing(), **times)
        return cls(Path(video), sound, Path(output), **given)

    @classmethod
    def option_names(cls) -> set[str]:
        """Names of what :meth:`of` takes."""
        return {item.name for item in fields(cls)} | set(SamplingOptions.types()) | set(Timing.types())

    @property
    def face_choice(self) -> FaceChoice:
        """What ``face`` says.

        Raises:
            UserError: nothing that is understood.
        """
        return FaceChoice.parse(str(self.face))

    @property
    def mixes_cues(self) -> bool:
        """Whether the sound is put together from those that the table of cues names."""
        return self.cues is not None and same_file(self.audio, self.cues)

    @property
    def voice_follows(self) -> bool:
        """Whether the voice in which the model speaks is that of the video itself."""
        return self.audio_role is AudioRole.voice and same_file(self.audio, self.video)

    @property
    def stated(self) -> Provenance:
        """What the outputs say about themselves.

        Raises:
            UserError: the options contradict each other.
        """
        speaks = self.audio_role is AudioRole.voice
        return Provenance.of(self.video, self.provenance, self.consent, self.c2pa_cert, self.c2pa_key, speaks)

    @property
    def pictures(self) -> WantedPictures:
        """What is said about the output's pictures."""
        return WantedPictures(self.codec, self.crf, self.pix_fmt, self.lossless)

    def face_backend(self) -> tuple[str, dict[str, Any]]:
        """Name and options of the face detector.

        Raises:
            UserError: more than one of box, track and face say where it is, or "box" with none of them.
        """
        choice = self.face_choice
        if self.face != AUTO and (self.box is not None or self.track is not None):
            raise UserError("--box and --track say where the face is, and so does --face: give one of them.")
        if self.follow_box and self.box is None:
            raise UserError(
                "--follow-box needs a box to follow: give --box, the face's place in the first frame."
            )
        if self.cues is not None and (self.face != AUTO or self.box is not None or self.track is not None):
            raise UserError("--cues says whose face is dubbed: leave --face, --box and --track away.")
        if choice.file is not None:
            return "box", {"track_file": str(require_file(choice.file, "faces file")), "mesh": True}
        if self.box is not None and self.track is not None:
            raise UserError("Both a box and a track were given: give one of them.")
        if self.box is not None:
            return "box", {"box": self.box, **({"follow": True} if self.follow_box else {})}
        if self.track is not None:
            return "box", {"track_file": str(require_file(self.track, "track file"))}
        if self.detector == "box":
            raise UserError("The detector 'box' needs to be told where the face is: give --box or --track.")
        return self.detector, {}


def _read(name: str, value: Any) -> Any:
    """An option that may be given as text, or as a member of a command line's enumeration."""
    if value is None:
        return None
    if name in _PATHS:
        return Path(value)
    plain = value.value if isinstance(value, Enum) else value
    return choice(_CHOICES[name], plain, name.replace("_", " ")) if name in _CHOICES else plain


def choice(kind: type[Choice], value: Choice | str, what: str) -> Choice:
    """The member of ``kind`` that ``value`` names; ``what`` it is, for the message.

    Raises:
        UserError: none; the known ones are listed.
    """
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(choice.value for choice in kind)
        raise UserError(f"There is no {what} '{value}': choose one of {known}.") from error
