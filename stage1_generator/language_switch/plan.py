"""What pairs of two languages are to be made, and what each part of the work depends on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from common.data.writer import safe_key
from common.files import fingerprint, sampled_digest
from common.models.ltx2.package import OpenedPackage, open_joint_package
from stage1_generator.language_switch.clips import halves, recorded_span
from stage1_generator.language_switch.companions import Half
from stage1_generator.language_switch.config import SwitchConfig
from stage1_generator.language_switch.tables import (
    ScriptedClip,
    SwitchRecording,
    read_recordings,
    read_script,
)

_VERSION = 1


@dataclass(frozen=True)
class SwitchPlan:
    """Attributes: the package; the clips, in the order of their table; two halves of each."""

    opened: OpenedPackage
    clips: list[ScriptedClip] | list[SwitchRecording]
    halves: list[Half]

    @classmethod
    def of(cls, config: SwitchConfig) -> SwitchPlan:
        """Read table and package; no weights are loaded.

        Raises:
            UserError: a file is missing or says too little, or a recording is too short.
        """
        opened = open_joint_package(Path(config.package))
        halves(opened.info.geometry.clip_frames)
        if config.script:
            scripted = read_script(Path(config.script))
            return cls(opened, scripted, [half for clip in scripted for half in _scripted_halves(clip)])
        recordings = read_recordings(Path(config.recordings))
        for recording in recordings:
            recorded_span(recording, opened.info)
        return cls(opened, recordings, [half for clip in recordings for half in _recorded_halves(clip)])

    def texts(self, config: SwitchConfig) -> list[str]:
        """All prompts, each once."""
        said = [clip.prompt for clip in self.clips if isinstance(clip, ScriptedClip)]
        said += [half.prompt(config) for half in self.halves if half.remade]
        return list(dict.fromkeys(said))

    def clip_marks(self, config: SwitchConfig) -> dict[str, str]:
        """What each clip depends on, by its id."""
        model = self.opened.settings.fingerprint
        package = sampled_digest(path for path in sorted(Path(config.package).iterdir()) if path.is_file())
        shared = [_VERSION, model, package, config.seed, config.face]
        return {clip.id: fingerprint([*shared, _content(clip)]) for clip in self.clips}

    def half_marks(self, config: SwitchConfig, clips: dict[str, str]) -> dict[str, str]:
        """What each companion depends on, by its key."""
        made = [config.masks, config.lips, config.reference]
        return {half.key: fingerprint([clips[half.clip], asdict(half), *made]) for half in self.halves}


def _content(clip: ScriptedClip | SwitchRecording) -> list[Any]:
    values = [str(getattr(clip, item.name)) for item in fields(clip)]
    if isinstance(clip, ScriptedClip):
        return values
    return [*values, sampled_digest([clip.video, *([clip.track] if clip.track is not None else [])])]


def _scripted_halves(clip: ScriptedClip) -> list[Half]:
    captions, remade = clip.captions, clip.inpainted
    languages = clip.first_language, clip.second_language
    return [
        Half(_key(clip.id, 0), clip.id, 0, *languages, captions[0], remade[0]),
        Half(_key(clip.id, 1), clip.id, 1, *languages[::-1], captions[1], remade[1]),
    ]


def _recorded_halves(clip: SwitchRecording) -> list[Half]:
    languages = clip.first_language, clip.second_language
    return [
        Half(_key(clip.id, 0), clip.id, 0, *languages, "", ""),
        Half(_key(clip.id, 1), clip.id, 1, *languages[::-1], "", ""),
    ]


def _key(clip: str, number: int) -> str:
    return safe_key(f"{clip}-{'ab'[number]}")
