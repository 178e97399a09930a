"""What a dub's sound is, apart from the code that follows, so that the command line starts quickly."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from common.errors import UserError
from common.languages import language_name


class AudioRole(str, Enum):
    """What a dub's AUDIO is."""

    speech = "speech"
    """What is said: the lips follow it, and it is the output's sound."""
    voice = "voice"
    """A sample of the voice in which the model says a text."""


def sound_of(
    video: Path, audio: Path | None, role: AudioRole, text: str | None, states: Path | None
) -> tuple[Path | None, AudioRole]:
    """The audio of a dub and its role: with a text and no audio, the video's own sound is the voice."""
    if audio is None and (text is not None or states is not None):
        return video, AudioRole.voice
    return audio, role


def check_text(role: AudioRole, text: str | None, language: str | None, states: Path | None) -> None:
    """Refuse options about a text that is to be spoken which do not belong together.

    Raises:
        UserError: they say nothing, or contradict each other.
    """
    if states is not None and (text is not None or language is not None):
        raise UserError("--prompt-states says what is spoken: leave --text and --language away.")
    if (text is None) != (language is None):
        raise UserError("--text and --language belong together: give both.")
    if role is AudioRole.speech and (text is not None or states is not None):
        raise UserError(
            "--audio is what is said, and so is --text: give one of them, or --audio-role voice for AUDIO to "
            "be the voice in which the text is spoken."
        )
    if role is AudioRole.voice and text is None and states is None:
        raise UserError("--audio-role voice needs something to say: give --text and --language.")
    if language is not None:
        language_name(language)
    if text is not None and not text.strip():
        raise UserError("--text is empty: write what shall be said.")
