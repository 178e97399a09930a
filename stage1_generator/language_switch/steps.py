"""The steps of the recipe: prompts, clips, companions, verdicts, shards. Each goes on from what it finds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from common.data.schema import encode_sample
from common.data.writer import ShardWriter
from common.files import fingerprint, remove_partial, write_json
from common.media import load_audio, read_frames
from common.models.ltx2.package import JointPackage, load_joint_package, load_joint_vocoder
from common.models.ltx2.prompts import encode_prompts, require_text_parts
from common.models.ltx2.roles import PromptStates
from common.models.ltx2.spoken import SpokenPrompts
from common.progress import StepProgress
from stage1_generator.companions.masks import clip_masks
from stage1_generator.companions.quality import CompanionScorer, Lips, reasons
from stage1_generator.companions.records import VERDICT, load_meta, made_by
from stage1_generator.generator.frozen import pick_device, pick_dtype
from stage1_generator.language_switch.clips import (
    META,
    SOUND,
    SwitchClip,
    halves,
    landmarks_of,
    load_recorded,
    sound_of,
)
from stage1_generator.language_switch.companions import COMPANION, CompanionMaker, Half
from stage1_generator.language_switch.config import SwitchConfig
from stage1_generator.language_switch.model import JointClipMaker
from stage1_generator.language_switch.plan import SwitchPlan
from stage1_generator.language_switch.tables import ScriptedClip, SwitchRecording

PAIRS = "pairs_language_switch"
COMMAND = "switch"


class SwitchSteps:
    """All steps of one work folder.

    Args:
        config: settings.
        plan: of it.
    """

    def __init__(self, config: SwitchConfig, plan: SwitchPlan) -> None:
        self._config, self._plan, self._root = config, plan, Path(config.work)
        self._clip_marks = plan.clip_marks(config)
        self._half_marks = plan.half_marks(config, self._clip_marks)

    def run(self) -> None:
        """All that is missing.

        Raises:
            UserError: a part of the model is missing, or a file cannot be written.
        """
        self._encode_prompts()
        config = self._config
        device = pick_device(config.device)
        package = load_joint_package(Path(config.package), device, pick_dtype(config.dtype, device))
        vocoder = load_joint_vocoder(self._plan.opened.model, device)
        maker = JointClipMaker(package, config.seed)
        self._make_clips(maker, vocoder, package)
        self._make_companions(maker, vocoder, package)
        self._judge()
        self._pack()

    def _prompt_file(self, text: str) -> Path:
        return (
            self._root
            / "prompts"
            / f"{fingerprint([self._plan.opened.settings.fingerprint, text])}.safetensors"
        )

    def missing_prompts(self) -> list[str]:
        """Texts whose states are not stored yet."""
        return [text for text in self._plan.texts(self._config) if not self._prompt_file(text).is_file()]

    def _encode_prompts(self) -> None:
        missing, model = self.missing_prompts(), self._plan.opened.model
        if not missing:
            return
        require_text_parts(model)
        progress = StepProgress("encode prompts", len(missing))
        for text, states in zip(missing, encode_prompts(model, missing), strict=True):
            self._prompt_file(text).parent.mkdir(parents=True, exist_ok=True)
            SpokenPrompts((text,), (states,)).save(self._prompt_file(text))
            progress.step(1)

    def _states(self, text: str, package: JointPackage) -> PromptStates | None:
        if not text:
            return None
        (states,) = SpokenPrompts.read(self._prompt_file(text), package.transformer.model.config).states
        return states

    def _clip_folder(self, clip: str) -> Path:
        return self._root / "clips" / clip

    def _make_clips(self, maker: JointClipMaker, vocoder: Any, package: JointPackage) -> None:
        clips, info = self._plan.clips, package.info
        progress = StepProgress("clips", len(clips))
        for clip in clips:
            folder, mark = self._clip_folder(clip.id), self._clip_marks[clip.id]
            if made_by(folder / META) == mark:
                progress.step(0)
                continue
            remove_partial(folder.parent)
            made = (
                load_recorded(clip, info, self._config.face)
                if isinstance(clip, SwitchRecording)
                else self._made(clip, maker, vocoder, package)
            )
            if made is None:
                folder.mkdir(parents=True, exist_ok=True)
                write_json(folder / META, {"fingerprint": mark, "failed": "a frame shows no face"})
            else:
                made.save(folder, {"fingerprint": mark}, info.geometry.fps)
            progress.step(info.geometry.clip_frames)
        progress.finish(self._root)

    def _made(
        self, clip: ScriptedClip, maker: JointClipMaker, vocoder: Any, package: JointPackage
    ) -> SwitchClip | None:
        states = self._states(clip.prompt, package)
        assert states is not None
        made = maker.make(clip.id, states)
        landmarks = landmarks_of(made.frames, self._config.face)
        return None if landmarks is None else SwitchClip(made.frames, sound_of(made.mel, vocoder), landmarks)

    def _companion_folder(self, half: Half) -> Path:
        return self._root / "companions" / half.key

    def _make_companions(self, maker: JointClipMaker, vocoder: Any, package: JointPackage) -> None:
        config = self._config
        companions = CompanionMaker(config, maker, vocoder)
        progress = StepProgress("companions", len(self._plan.halves))
        for half in self._plan.halves:
            folder, mark = self._companion_folder(half), self._half_marks[half.key]
            if made_by(folder / META) == mark or self._failed(half):
                progress.step(0)
                continue
            remove_partial(folder.parent)
            clip = SwitchClip.load(self._clip_folder(half.clip))
            companions.make(half, clip, self._states(half.prompt(config), package), folder, mark)
            progress.step(len(clip.frames))
        progress.finish(self._root)

    def _judge(self) -> None:
        config = self._config
        scorer = CompanionScorer(config.filters, config.face, Lips.different)
        if scorer.why_no_identity:
            print(f"switch: identity is not measured: {scorer.why_no_identity}", file=sys.stderr)
        # Of a face that a track file gives, nobody knows whether a detector sees it.
        tracked = {
            clip.id
            for clip in self._plan.clips
            if isinstance(clip, SwitchRecording) and clip.track is not None
        }
        for half in self._plan.halves:
            if self._failed(half):
                continue
            folder = self._companion_folder(half)
            identity = scorer.identity is not None
            mark = fingerprint([self._half_marks[half.key], config.filters, config.face, identity])
            if made_by(folder / VERDICT) == mark:
                continue
            clip = SwitchClip.load(self._clip_folder(half.clip))
            span = halves(len(clip.frames))[half.number]
            landmarks = clip.landmarks[span]
            scores = scorer.scores(
                clip.frames[span],
                read_frames(folder / COMPANION),
                landmarks,
                clip_masks(landmarks, clip.frames.shape[1]),
                config.face.detector != "box" and half.clip not in tracked,
            )
            why = reasons(scores)
            verdict = {"fingerprint": mark, "accepted": not why, "reasons": why, "scores": scores}
            write_json(folder / VERDICT, verdict)

    def _failed(self, half: Half) -> str:
        return str(load_meta(self._clip_folder(half.clip) / META, COMMAND).get("failed", ""))

    def _pack(self) -> None:
        verdicts = {
            half.key: load_meta(self._companion_folder(half) / VERDICT, COMMAND)
            for half in self._plan.halves
            if not self._failed(half)
        }
        kept = [half for half in self._plan.halves if verdicts.get(half.key, {}).get("accepted")]
        meta = {"step": COMMAND, "content": fingerprint([self._half_marks[half.key] for half in kept])}
        folder = self._root / PAIRS
        remove_partial(folder)
        with ShardWriter(folder, "pairs", self._config.samples_per_shard, meta) as writer:
            for half in kept[writer.resume([half.key for half in kept]) :]:
                writer.add(half.key, self._sample(half, verdicts[half.key]))
        faceless = len({half.clip for half in self._plan.halves if self._failed(half)})
        print(
            f"switch: {len(kept)} pairs -> {folder}; {len(verdicts) - len(kept)} companions rejected, "
            f"{faceless} clips without a face",
            file=sys.stderr,
        )

    def _sample(self, half: Half, verdict: dict[str, Any]) -> dict[str, bytes]:
        clip, folder = SwitchClip.load(self._clip_folder(half.clip)), self._companion_folder(half)
        geometry = self._plan.opened.info.geometry
        span = halves(len(clip.frames))[half.number]
        meta = {
            "kind": "language_switch",
            "frames": span.stop - span.start,
            "fps": geometry.fps,
            "crop_size": geometry.crop_size,
            "speaker": half.clip,
            "video": half.clip,
            "start": span.start,
            "language": half.language,
            "source_language": half.other,
            **({"caption": half.caption} if half.caption else {}),
            "exaggerated": load_meta(folder / META, COMMAND)["exaggerated"],
            "scores": {name: score["value"] for name, score in verdict["scores"].items()},
        }
        return encode_sample(
            meta,
            target=clip.frames[span],
            source=read_frames(folder / COMPANION),
            audio=clip.samples(span, geometry.fps),
            source_audio=load_audio(folder / SOUND),
            arrays={"landmarks": torch.from_numpy(clip.landmarks[span])},
        )
