"""What the checks of a dubbing job read of its inputs; no model is needed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from fractions import Fraction
from io import BufferedRandom
from pathlib import Path
from tempfile import TemporaryFile
from typing import cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from common.errors import UserError
from common.media import SAMPLE_RATE, Encoding, VideoInfo, frame_times, load_samples, probe
from common.media.following import following
from common.media.patched import SoundPatch
from common.media.retiming import RetimedVideo, Retiming, retimed_info
from common.media.soundtrack import AT_START
from common.media.writer import Tracks
from common.speech.base import Audio, SilenceRule, SpeechEncoder
from common.speech.silence import encode_until
from stage2_dubber.dub.faces.cues import Cue, SpokenCue, cue_sounds, cued_speech, require_cues, spoken_cues
from stage2_dubber.dub.length.options import Length, Outside
from stage2_dubber.dub.length.place import SpeechPlace, require_frames, speech_place
from stage2_dubber.dub.length.tracks import carried_tracks, made_sound_losses, sound_losses
from stage2_dubber.dub.length.video import length_warnings, shown_video
from stage2_dubber.dub.refining.checks import check_refiner
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.request_paths import check_paths
from stage2_dubber.dub.speaking.options import AudioRole, check_text

_SPEECH_BEYOND = 30.0
"""Seconds of speech after the last picture that are encoded, too: encoders see so much at once."""


class _StoredSamples:
    """Samples of a file that look like an array, (samples,) int16, with silence behind them.

    An encoder that goes through a recording part by part does not hold it then; others make an array of it.

    Args:
        file: the samples, native.
        stored: how many are read from it.
        count: with the silence.
    """

    ndim, dtype = 1, np.dtype(np.int16)

    def __init__(self, file: BufferedRandom, stored: int, count: int) -> None:
        self._file, self._stored, self.size = file, stored, count

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> NDArray[np.int16]:
        start, stop, _ = part.indices(self.size)
        found = np.zeros(max(0, stop - start), np.int16)
        self._file.seek(2 * start)
        self._file.readinto(found[: max(0, self._stored - start)].data)
        return found

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> NDArray:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)


class PlacedSpeech:
    """The speech on the video's clock, for as long as it is needed; of ten minutes it would take 19 MB.

    It lies in a temporary file: nothing asks for it while faces are followed and drawn.

    Args:
        samples: (samples,) int16 mono at 16 kHz.
    """

    def __init__(self, samples: NDArray[np.int16]) -> None:
        self._count = len(samples)
        self._file: BufferedRandom | None = TemporaryFile()  # noqa: SIM115 - closed by release
        self._file.write(np.ascontiguousarray(samples).data)

    def __len__(self) -> int:
        """Samples of the recording."""
        return self._count

    def part(self, last: int, rule: SilenceRule, until: int) -> Audio:
        """The recording, at most ``last`` samples of it; where an encoder is told of silence together with
        it, with silence to ``until``. What an encoder slices is read then.
        """
        assert self._file is not None, "the speech was released"
        end = min(self._count, last)
        samples = _StoredSamples(self._file, end, max(end, until) if rule is SilenceRule.together else end)
        return cast(Audio, samples)

    def whole(self) -> NDArray[np.int16]:
        """The recording."""
        return np.asarray(self.part(self._count, SilenceRule.own, 0), np.int16)

    def release(self) -> None:
        """Let go of it: drawing needs none of it."""
        if self._file is not None:
            self._file.close()
        self._file, self._count = None, 0


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
    speech: PlacedSpeech
    warnings: tuple[str, ...]
    lost: tuple[str, ...]
    video: Path | RetimedVideo
    place: SpeechPlace
    encoding: Encoding
    tracks: Tracks
    patches: tuple[SoundPatch, ...] = ()
    cues: tuple[SpokenCue, ...] = ()

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
            said: Audio = cued_speech(
                [spoken for spoken in self.cues if spoken.cue in cues], self.info.duration
            )
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
    if request.refine is not None:
        check_refiner(request.refine)
    detector, options = request.face_backend()
    info = probe(request.video)
    if detector == "box":
        # With libraries that a mistyped path need not wait for.
        from common.face.box_backend import BoxDetector

        BoxDetector(**{**options, "mesh": False}).check(info.width, info.height, info.frame_count)
    request.face_choice.check(info.width, info.height)
    mixes, rule = request.mixes_cues, request.timing.length
    speaks = request.audio_role is AudioRole.voice
    if request.voice_follows and not info.has_audio:
        raise UserError(
            f"The video '{request.video}' has no sound that could tell the voice: give a sample of it with "
            "--audio and --audio-role voice."
        )
    audio = None if mixes else load_samples(request.audio, SAMPLE_RATE, request.audio_track)
    seconds = info.duration if audio is None or speaks else len(audio) / SAMPLE_RATE
    place = speech_place(request.timing, info.duration, seconds, request.cues is not None, mixes)
    if place.is_part:
        end = info.duration if place.end is None else place.end
        require_frames(frame_times(request.video), place.begin, end, "The part of --start and --end")
    video = shown_video(request.video, rule, place.zero + seconds)
    retiming = video.retiming if isinstance(video, RetimedVideo) else None
    warnings = length_warnings(rule, info, place, seconds, retiming)
    if request.cues is not None:
        cues, warnings = spoken_cues(request.cues, audio, info.duration), []
        samples = np.concatenate([spoken.samples for spoken in cues])
        times = frame_times(request.video)

        def check(cue: Cue) -> None:
            cue.face.check(info.width, info.height)
            require_frames(times, cue.start, cue.end, "the cue")

        require_cues([spoken.cue for spoken in cues], request.cues, check)
    else:
        assert audio is not None
        cues, samples = (), place.placed(audio)
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
        PlacedSpeech(samples),
        (*warnings, *lost),
        lost,
        video,
        place,
        encoding,
        tracks,
        patches,
        cues,
    )
