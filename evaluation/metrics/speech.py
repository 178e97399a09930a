"""Is generated speech like the speech that it takes the place of?

The metrics of audio-visual dubbing in JUST-DUB-IT: Dur-Err, Int-Corr, V-SIM, WER. What is public of it names
them without formulas; those here are ours. Visual dubbers are not measured: their sound is the source's or
the one that they were given (:func:`is_generated`).

All sounds are (samples,) float32 mono at 16 kHz.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from common.files import fingerprint
from common.media import SAMPLE_RATE
from evaluation.dubbed_clip import RATE, DubbedClip
from evaluation.metrics.base import Better, Metric, Values
from evaluation.metrics.sound import FAINTEST, is_generated, same_recording
from evaluation.metrics.voices import SpeakerEncoder, Transcriber
from evaluation.metrics.words import word_error_rate
from stage1_generator.footage.voice import frame_levels

Sound = NDArray[np.float32]

_SPAN_RATE = 100.0  # levels a second, from which ends of speech are found

TRIM_DB = 40.0
"""Silence at the ends is what stays so far below the loudest 10 ms."""

FLOOR_DB = 60.0
"""Intensity is held so far below the loudest moment: what lies beneath is the recording's noise."""

SHORTEST = SAMPLE_RATE // 2
"""Samples of speech below which a voice is not compared."""


def speech_span(sound: Sound) -> tuple[int, int]:
    """First sample of the speech and the one behind its last; (0, 0) for silence."""
    if not len(sound) or np.abs(sound).max() < FAINTEST:
        return 0, 0
    levels = frame_levels(sound, SAMPLE_RATE, _SPAN_RATE)
    if not len(levels):
        return 0, 0
    loud = np.flatnonzero(levels > levels.max() - TRIM_DB)
    step = round(SAMPLE_RATE / _SPAN_RATE)
    return int(loud[0]) * step, int(loud[-1] + 1) * step


def duration_error(made: Sound, source: Sound) -> float | None:
    """|d_made - d_source| / d_source of the spans of speech; None where the source says nothing."""
    spans = [speech_span(sound) for sound in (made, source)]
    made_length, source_length = (end - first for first, end in spans)
    return abs(made_length - source_length) / source_length if source_length else None


def intensity(sound: Sound) -> NDArray[np.float64]:
    """(N,) RMS level in dB of every video frame's 40 ms, at least ``FLOOR_DB`` below the loudest."""
    decibels = frame_levels(sound, SAMPLE_RATE, RATE).astype(np.float64)
    return np.asarray(np.maximum(decibels, decibels.max() - FLOOR_DB))


def intensity_correlation(made: Sound, source: Sound) -> float | None:
    """Pearson r of the two intensity curves over their common length, -1 to 1.

    None where one is silent, shorter than half a second, or of one level throughout.
    """
    length = min(len(made), len(source))
    parts = made[:length], source[:length]
    if length < SAMPLE_RATE // 2 or any(np.abs(part).max() < FAINTEST for part in parts):
        return None
    a, b = (intensity(part) for part in parts)
    if min(a.std(), b.std()) < 1e-3:
        return None
    return float(np.corrcoef(a, b)[0, 1])


_NAMED = "JUST-DUB-IT, Evaluation, names it; formula ours"

DUR_ERR = Metric(
    "dur_err", "Dur-Err", "", Better.lower,
    f"|d_made - d_source| / d_source, d: span of speech without the ends {TRIM_DB:.0f} dB below its peak",
    _NAMED, "speech",
)  # fmt: skip
INT_CORR = Metric(
    "int_corr", "Int-Corr", "", Better.higher,
    f"Pearson r of the RMS levels in dB (every 40 ms, floor {FLOOR_DB:.0f} dB below the peak) of made and "
    "source sound",
    _NAMED, "speech",
)  # fmt: skip
V_SIM = Metric(
    "v_sim", "V-SIM", "", Better.higher,
    "cosine of the speaker embeddings of the spans of speech of made and source sound",
    _NAMED, "speech",
)  # fmt: skip
WER = Metric(
    "wer", "WER", "%", Better.lower,
    "100 (S + D + I) / N of the made sound's transcript against the manifest's text, else against the "
    "transcript of the given speech where that is not the source's own",
    _NAMED, "speech",
)  # fmt: skip


class GeneratedSpeech:
    """Dur-Err, Int-Corr and, with their networks, V-SIM and WER of a clip whose sound was generated.

    Nothing is measured where made or source has no sound, or where the made sound is the source's or the
    given speech again.

    Args:
        speaker: for V-SIM.
        transcriber: for WER.
    """

    def __init__(self, speaker: SpeakerEncoder | None = None, transcriber: Transcriber | None = None) -> None:
        self.speaker, self.transcriber = speaker, transcriber
        metrics, marks = [DUR_ERR, INT_CORR], ["generated speech 1"]
        for metric, judge in ((V_SIM, speaker), (WER, transcriber)):
            if judge is not None:
                metrics.append(replace(metric, title=f"{metric.title} ({judge.name})"))
                marks.append(judge.fingerprint)
        self.metrics = tuple(metrics)
        self.fingerprint = fingerprint(marks)

    def __call__(self, clip: DubbedClip) -> Values:
        if not is_generated(clip):
            return {}
        made, source = clip.made.sound, clip.source.sound
        assert made is not None and source is not None
        values = {
            "dur_err": duration_error(made, source),
            "int_corr": intensity_correlation(made, source),
            "v_sim": self._voice_similarity(made, source),
            "wer": self._word_errors(clip, made, source),
        }
        return {key: value for key, value in values.items() if value is not None}

    def _voice_similarity(self, made: Sound, source: Sound) -> float | None:
        spans = [sound[slice(*speech_span(sound))] for sound in (made, source)]
        if self.speaker is None or min(map(len, spans)) < SHORTEST:
            return None
        a, b = (np.asarray(self.speaker.embed(span), np.float64) for span in spans)
        return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))

    def _word_errors(self, clip: DubbedClip, made: Sound, source: Sound) -> float | None:
        if self.transcriber is None:
            return None
        if clip.text is not None:
            reference = clip.text
        elif same_recording(clip.speech, source):
            return None  # a translation has other words than the source
        else:
            reference = self.transcriber.transcribe(clip.speech)
        rate = word_error_rate(reference, self.transcriber.transcribe(made))
        return None if rate is None else 100 * rate
