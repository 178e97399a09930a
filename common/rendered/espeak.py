"""Speech synthesis with a phoneme timeline, through the C interface of espeak-ng."""

from __future__ import annotations

import ctypes
import os
import threading
from dataclasses import dataclass

import numpy as np

from common.errors import UserError

_SYNCHRONOUS = 2
_PHONEME_EVENTS_AS_IPA = 1 | 2
_UTF8 = 1
_EVENT_END = 0
_EVENT_PHONEME = 7
_RATE, _PITCH, _RANGE = 1, 3, 4

# The library has one global synthesiser, so calls from several threads must take turns.
_LOCK = threading.Lock()


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class Voice:
    """A way of speaking: espeak language and variant, pitch and range 0..100, rate in words per minute."""

    language: str = "en-us"
    variant: str = "m1"
    pitch: int = 50
    pitch_range: int = 50
    rate: int = 160

    @property
    def name(self) -> str:
        return f"{self.language}+{self.variant}"


class Synthesizer:
    """A freshly loaded synthesiser, used as a context manager.

    espeak-ng keeps the phase of its pitch wobble and of its noise in static variables, so the same text
    sounds a little different (and lasts a little longer or shorter) each time, even after its own
    re-initialisation. Loading the library anew (some 10 ms) makes speech a function of text and voice alone.
    """

    def __enter__(self) -> Synthesizer:
        import espeakng_loader

        _LOCK.acquire()

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = os.fsencode(espeakng_loader.get_data_path())
        self.sample_rate = int(self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS_AS_IPA))
        if self.sample_rate <= 0:
            self.__exit__()
            raise UserError(
                f"espeak-ng could not read its data in {os.fsdecode(data)}: reinstall espeakng-loader"
            )
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._chunks: list[bytes] = []
        self._marks: list[tuple[str, float]] = []
        self._callback = _CALLBACK(self._receive)  # kept alive: the library holds only a raw pointer
        self._library.espeak_SetSynthCallback(self._callback)
        return self

    def __exit__(self, *_: object) -> None:
        self._library.espeak_Terminate()
        ctypes.CDLL(None).dlclose(ctypes.c_void_p(self._library._handle))
        _LOCK.release()

    def _receive(self, samples, count: int, events) -> int:
        if count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while events[index].type != _EVENT_END:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                raw = bytes(event.id.string).split(b"\0")[0]
                self._marks.append((raw.decode("utf-8", errors="ignore"), event.audio_position / 1000.0))
            index += 1
        return 0

    def __call__(self, text: str, voice: Voice) -> tuple[np.ndarray, list[tuple[str, float]]]:
        """Speak `text`.

        Returns: samples (n,) float32 in [-1, 1] at `sample_rate` Hz, and (IPA label, start in seconds) in
        order of time; an empty label is a pause.
        Raises: UserError if the voice does not exist.
        """
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise UserError(f"espeak-ng has no voice {voice.name!r}: name an installed language and variant")
        for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
            self._library.espeak_SetParameter(parameter, int(value), 0)
        self._chunks.clear()
        self._marks.clear()
        encoded = text.encode() + b"\0"
        self._library.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        samples = np.frombuffer(b"".join(self._chunks), dtype="<i2").astype(np.float32) / 32768.0
        return samples, list(self._marks)
