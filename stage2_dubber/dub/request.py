"""What one dubbing job is asked to do, and the checks that need no model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from common.diffusion.options import SamplingOptions
from common.errors import UserError
from common.files import require_file, require_writable_dir
from common.media import SAMPLE_RATE, Encoding, VideoInfo, load_audio, probe
from common.media.following import WantedPictures, following
from common.media.patched import SoundPatch
from common.media.retiming import RetimedVideo, Retiming, retimed_info
from common.media.soundtrack import AT_START
from common.media.writer import Tracks
from common.models.conventions import CropRule
from common.output_path import require_name, same_file
from common.own_mouths.config import OwnMouthsConfig, Renderer
from common.speech.base import SilenceRule, SpeechEncoder, as_floats
from common.speech.silence import encode_until
from stage2_dubber.dub.compositing.options import DEFAULT_COMPOSITING, Compositing
from stage2_dubber.dub.faces.choice import AUTO, FaceChoice
from stage2_dubber.dub.faces.cues import Cue, SpokenCue, cue_sounds, cued_speech, spoken_cues
from stage2_dubber.dub.length.options import Length, Outside, Timing
from stage2_dubber.dub.length.place import SpeechPlace, speech_place
from stage2_dubber.dub.length.tracks import carried_tracks, made_sound_losses, sound_losses
from stage2_dubber.dub.length.video import length_warnings, shown_video
from stage2_dubber.dub.provenance.provenance import Provenance
from stage2_dubber.dub.resume.folder import has_published
from stage2_dubber.dub.speaking.options import AudioRole, check_text, heard

Choice = TypeVar("Choice", bound=Enum)

_CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
_PATHS = (
    *("track", "cues", "contact_sheet", "side_by_side", "report", "c2pa_cert", "c2pa_key"),
    "prompt_states",
)
_SPEECH_BEYOND = 30.0
"""Seconds of speech after the last picture that are encoded, too: encoders see so much at once."""
_ROOM = 1.0
"""Seconds by which the model's frames may end later than the video."""


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
        compositing: how edits go back into the frames.
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
    compositing: Compositing = DEFAULT_COMPOSITING
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
        known = {item.name for item in fields(cls)}
        changes = {name: options.pop(name) for name in SamplingOptions.types() if name in options}
        times = {name: options.pop(name) for name in Timing.types() if name in options}
        if "length" in times:
            times["length"] = choice(Length, times["length"], "length")
        if "outside" in times:
            times["outside"] = choice(Outside, times["outside"], "outside")
        unknown = sorted(set(options) - known)
        if unknown:
            raise TypeError(f"a dub has no option {unknown[0]!r}: known are {', '.join(sorted(known))}")
        for name in _PATHS:
            if options.get(name) is not None:
                options[name] = Path(options[name])
        for name, kind in (("compositing", Compositing), ("renderer", Renderer), ("crops", CropRule)):
            if options.get(name) is not None:
                options[name] = choice(kind, options[name], name)
        audio = audio if audio is not None else options.get("cues")
        role = choice(AudioRole, options.pop("audio_role", AudioRole.speech), "audio role")
        given = None if audio is None else Path(audio)
        audio, role = heard(Path(video), given, role, options.get("text"), options.get("prompt_states"))
        if audio is None:
            raise UserError("There is no audio: give it, or a table of cues that names files.")
        sampling = replace(options.pop("sampling", None) or SamplingOptions(), **changes)
        timing = replace(options.pop("timing", None) or Timing(), **times)
        options |= {"sampling": sampling, "timing": timing, "audio_role": role}
        return cls(Path(video), audio, Path(output), **options)

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


@dataclass
class HeardSpeech:
    """What is said, for as long as it is needed.

    Attributes:
        samples: (samples,) int16 mono at 16 kHz, with silence to the end of the video at least.
        count: how many of them are of the recording.
    """

    samples: np.ndarray
    count: int

    @classmethod
    def of(cls, samples: np.ndarray, seconds: float) -> HeardSpeech:
        """Of a recording, for a video that lasts so many ``seconds``."""
        count = len(samples)
        longer = np.zeros(max(count, round((seconds + _ROOM) * SAMPLE_RATE)), np.int16)
        longer[:count] = samples
        return cls(longer, count)

    def part(self, last: int, rule: SilenceRule, until: int) -> np.ndarray:
        """The recording, at most ``last`` samples of it; where an encoder is told of silence together with
        it, with silence to ``until``.
        """
        end = min(self.count, last)
        return self.samples[: max(end, until) if rule is SilenceRule.together else end]

    def forget(self) -> None:
        """Let go of it: of ten minutes it takes 19 MB, and drawing needs none of it."""
        self.samples, self.count = np.zeros(0, np.int16), 0


@dataclass(frozen=True)
class DubInputs:
    """What the checks have read.

    Attributes:
        info: of the video that is dubbed.
        speech: what the face says on the video's clock; never the output's sound. Where there are cues, what
            is said in all of them, one after the other.
        warnings: sentences for the user.
        lost: those of them that say what the output cannot keep of the video.
        video: what is dubbed, the source or its frames at other times.
        place: where the speech lies.
        encoding: how the output's pictures are written.
        tracks: what goes beside the pictures.
        patches: where the sound is put together, what is heard instead of the video's own.
        cues: what the faces of a cue file say.
    """

    info: VideoInfo
    speech: HeardSpeech
    warnings: tuple[str, ...]
    lost: tuple[str, ...]
    video: Path | RetimedVideo
    place: SpeechPlace
    encoding: Encoding
    tracks: Tracks
    patches: tuple[SoundPatch, ...] = ()
    cues: tuple[SpokenCue, ...] = ()

    @property
    def audio(self) -> np.ndarray:
        """(samples,) float32 of -1 to 1: the samples of the speech, which were 16 bits, exactly."""
        return as_floats(self.speech.samples[: self.speech.count])

    @property
    def retiming(self) -> Retiming | None:
        """At which other times the source's frames are shown; None: as in the source."""
        return self.video.retiming if isinstance(self.video, RetimedVideo) else None

    def features(self, encoder: SpeechEncoder, seconds: float, cues: Collection[Cue] = ()) -> np.ndarray:
        """(T, C) features of the audio for pictures that last ``seconds``: with silence to at least that, and
        without what comes so much later that no picture can be changed by it. ``cues``: of the face that is
        meant, where there are any.
        """
        last, until = (int(np.ceil(end * SAMPLE_RATE)) for end in (seconds + _SPEECH_BEYOND, seconds))
        if self.cues:
            said = cued_speech([spoken for spoken in self.cues if spoken.cue in cues], self.info.duration)
        else:
            said = self.speech.part(last, encoder.silence, until)
        return encode_until(encoder, said, until)


def check_request(request: DubRequest) -> DubInputs:
    """Find what is wrong with a job before any work is done.

    Raises:
        UserError: an input is missing or of the wrong kind, or an output cannot or must not be written.
    """
    check_paths(request)
    check_text(request.audio_role, request.text, request.language, request.prompt_states)
    request.stated.check(request.output)
    detector, options = request.face_backend()
    info = probe(request.video)
    if detector == "box":
        # With libraries that a mistyped path need not wait for.
        from common.face.box_backend import BoxDetector

        BoxDetector(**{**options, "mesh": False}).check(info.width, info.height, info.frame_count)
    mixes, rule = request.mixes_cues, request.timing.length
    speaks = request.audio_role is AudioRole.voice
    if request.voice_follows and not info.has_audio:
        raise UserError(
            f"The video '{request.video}' has no sound that could tell the voice: give a sample of it with "
            "--audio and --audio-role voice."
        )
    audio = None if mixes else load_audio(request.audio, SAMPLE_RATE, request.audio_track)
    seconds = info.duration if audio is None or speaks else len(audio) / SAMPLE_RATE
    place = speech_place(request.timing, info.duration, seconds, request.cues is not None, mixes)
    video = shown_video(request.video, rule, place.zero + seconds)
    retiming = video.retiming if isinstance(video, RetimedVideo) else None
    warnings = length_warnings(rule, info, place, seconds, retiming)
    if request.cues is not None:
        cues, warnings = spoken_cues(request.cues, audio, info.duration), []
        samples = np.concatenate([spoken.samples for spoken in cues])
    else:
        assert audio is not None
        cues, samples = (), (place.placed(audio) * 32768).astype(np.int16)
    suffix = request.output.suffix.lower()
    shown = info if retiming is None else retimed_info(info, retiming)
    encoding, lost = following(shown, suffix, request.pictures)
    further, left_out = carried_tracks(request.video, suffix, rule, retiming)
    own = request.timing.outside is Outside.own and info.has_audio
    patches: tuple[SoundPatch, ...] = ()
    if mixes:
        patches = cue_sounds(request.audio)
    elif place.is_part and own:
        patches = (SoundPatch(request.audio, place.sound, request.audio_track),)
    if speaks:
        lost += left_out + made_sound_losses(suffix)
    else:
        lost += left_out + sound_losses(request.audio, request.audio_track, suffix, bool(patches), mixes)
    sound = AT_START if patches else place.sound
    if rule is Length.cut_off:
        sound = replace(sound, end=Fraction(shown.duration).limit_denominator(1_000_000))
    tracks = Tracks(None if patches or speaks else request.audio_track, further, sound)
    return DubInputs(
        shown,
        HeardSpeech.of(samples, shown.duration),
        (*warnings, *lost),
        lost,
        video,
        place,
        encoding,
        tracks,
        patches,
        cues,
    )


def check_paths(request: DubRequest) -> None:
    """Find what is wrong with the paths of a job; no file is opened.

    Raises:
        UserError: an input is missing, or an output cannot or must not be written.
    """
    require_file(request.video, "video")
    require_file(request.audio, "audio")
    if request.prompt_states is not None:
        require_file(request.prompt_states, "prompt states")
    _check_outputs(request)


def _check_outputs(request: DubRequest) -> None:
    outputs = [request.output, request.contact_sheet, request.side_by_side, request.report]
    wanted = [Path(path) for path in outputs if path is not None]
    given = (
        *(request.video, request.audio, request.track, request.face_choice.file, request.cues),
        request.prompt_states,
    )
    inputs = [Path(path) for path in given if path is not None]
    for position, path in enumerate(wanted):
        require_name(path)
        if any(same_file(path, other) for other in inputs):
            raise UserError(f"The output '{path}' is also an input: give it another name.")
        if any(same_file(path, other) for other in wanted[:position]):
            raise UserError(f"The output '{path}' is named twice: give every output its own name.")
        if path.is_dir():
            raise UserError(f"The output '{path}' is a folder: give the name of a file to write.")
        if path.exists() and not request.overwrite and not has_published(request.output, path):
            raise UserError(f"The output '{path}' exists already: give --overwrite to replace it.")
    for video in (request.output, request.side_by_side):
        if video is not None and Path(video).suffix.lower() not in _CONTAINERS:
            raise UserError(
                f"The output '{video}' does not end like a video file: use one of {', '.join(_CONTAINERS)}."
            )
    if request.lossless and request.codec not in (None, "ffv1"):
        raise UserError(f"--lossless means FFV1, not {request.codec}: give one of them.")
    if request.lossless and Path(request.output).suffix.lower() != ".mkv":
        raise UserError(f"The lossless output '{request.output}' must end in .mkv: give it that ending.")
    if request.contact_sheet is not None and Path(request.contact_sheet).suffix.lower() != ".png":
        raise UserError(f"The contact sheet '{request.contact_sheet}' must end in .png: give it that ending.")
    if request.report is not None and Path(request.report).suffix.lower() != ".json":
        raise UserError(f"The report '{request.report}' must end in .json: give it that ending.")
    for path in wanted:
        require_writable_dir(path.parent)


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
