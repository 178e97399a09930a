"""`python -m stage1_generator.synthesize`: give every clip a companion, the same clip with other lips.

The generator speaks another stretch of the same speaker's speech, or silence, over each clip. Results are the
generator's raw crops; blending and filtering are steps of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from common.data.prepared import LoadedClips, PreparedClip, load_prepared
from common.data.summary import spread
from common.files import atomic_dir, fingerprint, remove_partial, write_json
from common.media import LOSSLESS, write_video
from common.models.package import ModelPackage
from common.parallel import run_ahead
from common.progress import StepProgress
from common.speech.prepared import PreparedSpeech
from stage1_generator.companions.masks import clip_masks
from stage1_generator.companions.plan import PairPlan, Speakable, Unpaired, plan_pairs
from stage1_generator.companions.records import GENERATED, PlanIndex, made_by, write_plan
from stage1_generator.config import Stage1Config
from stage1_generator.encode import reference_stills
from stage1_generator.footage.voice import voiced_from_levels
from stage1_generator.generator.frozen import pick_device, pick_dtype
from stage1_generator.generator.package import load_generator
from stage1_generator.generator.sampling import CompanionGenerator, GenerationJob, in_precision
from stage1_generator.work.command import run_command
from stage1_generator.work.paths import work_paths

_VERSION = 1


def main(argv: list[str] | None = None) -> int:
    return run_command("synthesize", __doc__ or "", run, dry_run, argv)


def dry_run(config: Stage1Config) -> None:
    plans, unpaired = _plan(load_prepared(work_paths(config).prepared), config)
    silent = sum(plan.speech is None for plan in plans)
    frames = len(plans) * config.pairs.clip_frames
    print(f"synthesize: {len(plans)} companions ({silent} silent), {frames} frames")
    print(f"synthesize: {len(unpaired)} clips without a companion")
    print(f"synthesize: {config.diffusion.num_steps} steps, {config.synthesis.batch_clips} clips at once")


def run(config: Stage1Config) -> None:
    paths = work_paths(config)
    remove_partial(paths.companions)
    entries = {entry.id: entry for entry in load_prepared(paths.prepared)}
    plans, unpaired = _plan(list(entries.values()), config)
    speech = PreparedSpeech(config.work, config.speech)
    package, generator_mark = load_generator(config, speech)
    shared = {
        "version": _VERSION,
        "generator": generator_mark,
        "vae": package.codec.fingerprint,
        "speech": speech.fingerprint,
        "diffusion": config.diffusion.identity(),
        "geometry": asdict(config.geometry),
        "references": asdict(config.references),
        "synthesis": [config.synthesis.seed, config.masks.occluder_grow, config.blend.feather],
    }
    batches = _unfinished(plans, shared, config)
    progress = StepProgress("synthesize", sum(plan.length for batch in batches for plan in batch))
    generator = _generator(package, config)
    loader = _Loader(entries, speech, config)
    for batch, jobs in zip(batches, run_ahead(loader.load, batches, ahead=1), strict=True):
        videos = generator.generate(jobs, progress=lambda frames: progress.step(frames, items=frames))
        for plan, video in zip(batch, videos, strict=True):
            with atomic_dir(paths.companions / plan.key) as folder:
                write_video(folder / GENERATED, video, rate=config.geometry.fps, encoding=LOSSLESS)
                write_json(folder / "meta.json", _meta(plan, shared))
    progress.finish(paths.root)
    # Last: the index says that the run was finished.
    write_plan(paths.companions, PlanIndex(plans, unpaired))
    print(f"synthesize: {len(plans)} companions, {len(unpaired)} clips without", file=sys.stderr)


def _plan(entries: Sequence[PreparedClip], config: Stage1Config) -> tuple[list[PairPlan], list[Unpaired]]:
    pairs = config.pairs
    speakable = [
        Speakable(
            entry.id,
            entry.speaker,
            str(entry.meta["source_sha256"]),
            int(entry.meta["offset"]),
            voiced_from_levels(entry.levels(), pairs.voice_db),
        )
        for entry in entries
    ]
    return plan_pairs(
        speakable,
        length=pairs.clip_frames,
        stride=pairs.stride,
        seed=config.synthesis.seed,
        silence_fraction=pairs.silence_fraction,
        voiced_min=pairs.voiced_min,
        other_speakers=pairs.other_speakers,
        per_speaker=pairs.per_speaker,
    )


def _mark(plan: PairPlan, shared: dict[str, Any]) -> str:
    return fingerprint([shared, asdict(plan)])


def _meta(plan: PairPlan, shared: dict[str, Any]) -> dict[str, Any]:
    return {
        "fingerprint": _mark(plan, shared),
        "generator": shared["generator"],
        "vae": shared["vae"],
        "speech": None if plan.speech is None else asdict(plan.speech),
    }


def _unfinished(
    plans: Sequence[PairPlan], shared: dict[str, Any], config: Stage1Config
) -> list[list[PairPlan]]:
    """Batches with at least one clip to make.

    Batches are a function of the plan alone and are made again as a whole: matrix products round differently
    in batches of another size, and an interrupted run must end with the bytes of an uninterrupted one.
    """
    size, folder = config.synthesis.batch_clips, work_paths(config).companions
    batches = [list(plans[i : i + size]) for i in range(0, len(plans), size)]
    return [
        batch
        for batch in batches
        if any(made_by(folder / plan.key / "meta.json") != _mark(plan, shared) for plan in batch)
    ]


def _generator(package: ModelPackage, config: Stage1Config) -> CompanionGenerator:
    device = pick_device(config.device)
    return CompanionGenerator(
        in_precision(package.transformer, pick_dtype(config.dtype, device), device),
        package.codec,
        config.diffusion,
        config.geometry,
        extra_window=config.speech.extra_window,
        seed=config.synthesis.seed,
        feather=config.blend.feather,
        text=package.context,
    )


class _Loader:
    def __init__(
        self, entries: dict[str, PreparedClip], speech: PreparedSpeech, config: Stage1Config
    ) -> None:
        self._entries, self._speech, self._config = entries, speech, config
        self._opened = LoadedClips()
        # A second more than the clip, so that no window needs to be clamped.
        self._silence = speech.silence(config.pairs.clip_frames + 25, config.geometry.fps)

    def load(self, batch: Sequence[PairPlan]) -> list[GenerationJob]:
        return [self._job(plan) for plan in batch]

    def _job(self, plan: PairPlan) -> GenerationJob:
        config = self._config
        opened = self._opened.get(self._entries[plan.entry])
        span = slice(plan.start, plan.start + plan.length)
        landmarks = opened.track.landmarks[span]
        occluder = None if opened.track.occluder is None else opened.track.occluder[span]
        frames = opened.crops[span]
        masks = clip_masks(landmarks, frames.shape[1], occluder, config.masks.occluder_grow)
        # The target segment itself shows the person at inference (P section 3).
        chosen = spread(plan.length, config.references.count)
        stills = reference_stills(frames[chosen], landmarks[chosen], config.references.background)
        if plan.speech is None:
            features, start = self._silence, 0
        else:
            features = self._speech.features(self._entries[plan.speech.entry])
            start = plan.speech.start
        return GenerationJob(plan.key, np.ascontiguousarray(frames), masks.inpaint, stills, features, start)


if __name__ == "__main__":
    sys.exit(main())
