"""`python -m stage1_generator.pack`: accepted companions and their originals -> shards of pairs for stage 2.

Source is the companion, target the real clip with its own sound: generator artefacts stay on the input side.
Retimed companions (`pairs.retimed`), those drawn with own mouths (`pairs.own_mouths`), other frames of the
same clip (`pairs.reference_frames`) and exact pairs of rendered characters, where a folder of them is given,
become sets of shards of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.autoencoder.codec import VideoCodec
from common.autoencoder.pixels import to_video
from common.data.prepared import LoadedClips
from common.data.schema import LIP_SHAPES, RELIABILITY, encode_sample
from common.data.writer import ShardWriter
from common.files import fingerprint, remove_partial
from common.media import SAMPLE_RATE, read_frames
from common.own_mouths.reliability import pooled_levels
from common.parallel import run_ahead
from common.progress import StepProgress
from common.speech.prepared import PreparedSpeech
from common.speech.windows import clip_features, feature_margin
from stage1_generator.companions.masks import clip_masks
from stage1_generator.companions.records import BLENDED, RELIABILITY_VIDEO
from stage1_generator.config import OwnMouths, ReferenceFrames, Stage1Config
from stage1_generator.generator.frozen import load_codec
from stage1_generator.pairs.augmented import Copy, Pictures, by_pair, changed, plan_copies
from stage1_generator.pairs.planned import (
    PlannedPair,
    accepted_pairs,
    own_mouths_pairs,
    reference_pairs,
    retimed_pairs,
)
from stage1_generator.pairs.reference_frames import chosen_frames
from stage1_generator.pairs.rendered import RenderedPairPlan, find_rendered_pairs, load_rendered_pair
from stage1_generator.work.command import run_command
from stage1_generator.work.paths import work_paths

_VERSION = 1


def main(argv: list[str] | None = None) -> int:
    return run_command("pack", __doc__ or "", run, dry_run, argv)


def dry_run(config: Stage1Config) -> None:
    paths = work_paths(config)
    pairs, copies = len(accepted_pairs(config)), 1 + config.pairs.augmented_copies
    shards = -(-pairs * copies // config.pack.samples_per_shard)
    print(
        f"pack: {_count(pairs, copies)} pairs of {config.pairs.clip_frames} frames, {shards} shards -> "
        f"{paths.pairs}"
    )
    if config.pairs.retimed:
        print(f"pack: {_count(len(retimed_pairs(config)), copies)} retimed pairs -> {paths.retimed_pairs}")
    if config.pairs.own_mouths is not OwnMouths.none:
        count = _count(len(own_mouths_pairs(config)), copies)
        print(f"pack: {count} own mouths' pairs -> {paths.own_mouths_pairs}")
    if config.pairs.reference_frames is not ReferenceFrames.none:
        pairs = len(reference_pairs(config))
        print(f"pack: {_count(pairs, copies)} pairs with reference frames -> {paths.reference_pairs}")
    if config.pack.rendered_pairs:
        clips = find_rendered_pairs(config)
        shards = -(-len(clips) * copies // config.pack.samples_per_shard)
        print(
            f"pack: {_count(len(clips), copies)} rendered pairs -> {shards} shards in {paths.rendered_pairs}"
        )


def _count(pairs: int, copies: int) -> str:
    return f"{pairs} x {copies}" if copies > 1 else str(pairs)


def run(config: Stage1Config) -> None:
    paths = work_paths(config)
    codec, speech = load_codec(config), PreparedSpeech(config.work, config.speech)
    packer = _Packer(config, codec, speech)
    own_mouths = config.pairs.own_mouths is not OwnMouths.none
    references = config.pairs.reference_frames is not ReferenceFrames.none
    others = config.pairs.retimed or own_mouths or references or config.pack.rendered_pairs
    if (paths.companions / "index.json").is_file() or not others:
        packer.write_filtered(paths.pairs, accepted_pairs(config), packer.load_generated)
    else:
        print(f"pack: no generated companions in {paths.companions}, only other pairs", file=sys.stderr)
    if config.pairs.retimed:
        pairs = retimed_pairs(config)
        keys, prints = [pair.plan.key for pair in pairs], [pair.made["fingerprint"] for pair in pairs]
        packer.write(paths.retimed_pairs, pairs, keys, prints, packer.load_retimed)
    if own_mouths:
        packer.write_filtered(paths.own_mouths_pairs, own_mouths_pairs(config), packer.load_own_mouths)
    if references:
        pairs = reference_pairs(config)
        keys, prints = [pair.plan.key for pair in pairs], [pair.made["fingerprint"] for pair in pairs]
        packer.write(paths.reference_pairs, pairs, keys, prints, packer.load_references)
    if config.pack.rendered_pairs:
        clips = find_rendered_pairs(config)
        keys = [clip.key for clip in clips]
        prints = [[clip.fingerprint, "source audio"] for clip in clips]
        packer.write(paths.rendered_pairs, clips, keys, prints, packer.load_rendered)


@dataclass(frozen=True)
class _Loaded:
    """One pair, read ahead of the networks. `features` is (2 * frames + margins, C), None without a cache."""

    key: str
    meta: dict[str, Any]
    target: NDArray[np.uint8]
    source: NDArray[np.uint8]
    audio: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    features: NDArray[np.float32] | None
    source_audio: NDArray[np.float32] | None = None
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


class _Packer:
    def __init__(self, config: Stage1Config, codec: VideoCodec, speech: PreparedSpeech) -> None:
        self._config, self._codec, self._speech = config, codec, speech
        self._entries = LoadedClips()
        self._margin = feature_margin(config.speech.extra_window)

    def write(
        self, folder: Path, items: Sequence[Any], keys: Sequence[str], contents: Iterable[Any], load: Any
    ) -> None:
        """Write one set of shards, keeping those of an earlier run that hold the same."""
        remove_partial(folder)
        config = self._config
        settings = [
            _VERSION,
            config.geometry,
            self._margin,
            config.synthesis.seed,
            config.pack.relight_fraction,
        ]
        copies = config.pairs.augmented_copies
        encoders = {"vae": self._codec.fingerprint, "speech": self._speech.fingerprint}
        meta = {
            "step": "pack",
            **(encoders if config.pack.cache else {}),
            # Sets without copies keep the mark that they had before there were any.
            "config": fingerprint([*settings, copies, config.augment] if copies else settings),
            "content": fingerprint(list(contents)),
        }
        planned = plan_copies(items, keys, copies)
        with ShardWriter(folder, "pairs", config.pack.samples_per_shard, meta) as writer:
            todo = planned[writer.resume([copy.key for copy in planned]) :]
            progress = StepProgress(f"pack {folder.name}", len(todo))
            for group, loaded in run_ahead(lambda group: (group, load(group[0].item)), by_pair(todo)):
                for copy in group:
                    writer.add(copy.key, self._encode(loaded, copy, meta))
                    progress.step(len(loaded.target))
        progress.finish(Path(config.work))
        print(f"pack: {len(planned)} pairs -> {folder}", file=sys.stderr)

    def write_filtered(self, folder: Path, pairs: Sequence[PlannedPair], load: Any) -> None:
        """Write pairs whose companions were filtered."""
        contents = [[pair.made["fingerprint"], pair.verdict["fingerprint"]] for pair in pairs]
        self.write(folder, pairs, [pair.plan.key for pair in pairs], contents, load)

    def load_generated(self, pair: PlannedPair) -> _Loaded:
        said = {
            "kind": "generated",
            "speech": pair.made["speech"],
            "generator": pair.made["generator"],
            "scores": pair.scores,
        }
        return self._load_pair(pair, work_paths(self._config).blended, said)

    def load_retimed(self, pair: PlannedPair) -> _Loaded:
        said = {"kind": "retimed", "scores": pair.made["scores"]}
        return self._load_pair(pair, work_paths(self._config).retimed, said)

    def load_own_mouths(self, pair: PlannedPair) -> _Loaded:
        made, companions = pair.made, work_paths(self._config).own_mouths
        said = {"kind": "own_mouths", "own_mouths": made["kind"], "covered": made["covered"]}
        loaded = self._load_pair(pair, companions, {**said, "scores": pair.scores})
        if made["kind"] != OwnMouths.rebuilt.value:
            return loaded
        levels = read_frames(companions / pair.plan.key / RELIABILITY_VIDEO)[..., 0]
        pooled = pooled_levels(levels, self._codec.stride[1])
        shapes = np.asarray(made["lip_shapes"], np.float32)
        return replace(loaded, arrays={RELIABILITY: pooled, LIP_SHAPES: shapes})

    def load_references(self, pair: PlannedPair) -> _Loaded:
        frames = chosen_frames(pair.plan, pair.entry, self._config)
        said = {"kind": "reference_frames", "choice": self._config.pairs.reference_frames.value}
        loaded = self._loaded(pair, self._entries.get(pair.entry).crops[frames], said)
        return replace(loaded, arrays={"reference_frames": frames})

    def _load_pair(self, pair: PlannedPair, companions: Path, said: dict[str, Any]) -> _Loaded:
        return self._loaded(pair, read_frames(companions / pair.plan.key / BLENDED), said)

    def _loaded(self, pair: PlannedPair, source: NDArray[np.uint8], said: dict[str, Any]) -> _Loaded:
        plan, entry = pair.plan, pair.entry
        rate = SAMPLE_RATE / self._config.geometry.fps
        span = slice(plan.start, plan.start + plan.length)
        samples = slice(round(span.start * rate), round(span.stop * rate))
        opened = self._entries.get(entry)
        meta = {
            "entry": entry.id,
            "start": plan.start,
            "speaker": entry.speaker,
            "video": entry.meta["video"],
            **said,
        }
        features = None
        if self._config.pack.cache:
            features = clip_features(self._speech.features(entry), plan.start, plan.length, self._margin)
        return _Loaded(
            key=plan.key,
            meta=meta,
            target=opened.crops[span],
            source=source,
            audio=opened.audio[samples],
            landmarks=opened.track.landmarks[span],
            features=features,
        )

    def load_rendered(self, clip: RenderedPairPlan) -> _Loaded:
        pair = load_rendered_pair(clip, self._config)
        features = None
        if self._config.pack.cache:
            features = clip_features(
                self._speech.encoder.encode(pair.audio), clip.start, clip.length, self._margin
            )
        rate = SAMPLE_RATE / self._config.geometry.fps
        samples = slice(round(clip.start * rate), round((clip.start + clip.length) * rate))
        return _Loaded(
            key=clip.key,
            meta={
                "kind": "rendered",
                "start": clip.start,
                "speaker": clip.speaker,
                "video": clip.target.name,
            },
            target=pair.target,
            source=pair.source,
            audio=pair.audio[samples],
            landmarks=pair.landmarks,
            features=features,
            source_audio=pair.source_audio[samples],
        )

    def _encode(self, loaded: _Loaded, copy: Copy, made_by: Mapping[str, Any]) -> dict[str, bytes]:
        geometry = self._config.geometry
        arrays = {"landmarks": loaded.landmarks, **loaded.arrays}
        pictures = Pictures(loaded.target, loaded.source, arrays, loaded.meta)
        pictures = changed(pictures, copy, self._config)
        target, source = pictures.target, pictures.source
        masks = clip_masks(pictures.arrays["landmarks"], geometry.crop_size)
        meta = {
            **pictures.meta,
            "frames": len(loaded.target),
            "fps": geometry.fps,
            "crop_size": geometry.crop_size,
        }
        return encode_sample(
            meta,
            target=target,
            source=source,
            audio=loaded.audio,
            source_audio=loaded.source_audio,
            arrays={**masks.pooled(self._codec.stride[1]), **pictures.arrays},
            cache=self._cache(target, source, loaded.features),
            cache_fingerprint=fingerprint(dict(made_by)),
        )

    def _cache(
        self, target: NDArray[np.uint8], source: NDArray[np.uint8], features: NDArray[np.float32] | None
    ) -> dict[str, Any] | None:
        """What the frozen encoders make of a pair; None where it is not to be stored."""
        if features is None:
            return None
        ours, theirs = (
            self._codec.encode(to_video(video[None]))[0].to(torch.bfloat16) for video in (target, source)
        )
        return {"target_latents": ours, "source_latents": theirs, "audio_features": features}


if __name__ == "__main__":
    sys.exit(main())
