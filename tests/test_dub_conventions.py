"""How windows are cut, started and joined, against a plain account that holds the whole clip at once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dub_clips import picture, steady, write_clip, write_package, write_speech
from model_toys import LATENT_CHANNELS, tiny_codec, tiny_transformer
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.autoencoder.codec import VideoCodec
from common.diffusion.config import DiffusionConfig
from common.diffusion.options import SamplingOptions
from common.diffusion.sampler import build_sampler
from common.diffusion.windows import WindowRule
from common.errors import UserError
from common.geometry import GeometryConfig
from common.media import read_frames
from common.models.conditions import ModelConditions
from common.models.conventions import (
    RELEASE,
    TBDUB_STUDENT,
    TBDUB_TEACHER,
    ColourRule,
    Conventions,
    CropRule,
    MotionRule,
    NoiseRule,
    SeamRule,
)
from common.models.package import ModelPackage
from common.models.package_info import PackageInfo, read_info, write_info
from common.speech.config import SpeechConfig
from common.speech.windows import audio_windows
from stage2_dubber.dub.editing.colour import COLOUR_RULES, match_lab
from stage2_dubber.dub.editing.editor import WindowEditor
from stage2_dubber.dub.request import DubRequest

CLIP, SHARED = 13, 5
CHANNELS = 6


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    info = PackageInfo(
        stage=2,
        phase="",
        geometry=GeometryConfig(crop_size=32, clip_frames=CLIP),
        speech=SpeechConfig(encoder="mel", channels=CHANNELS),
        diffusion=DiffusionConfig(num_steps=2, reference_scale=1.5, audio_scale=3.0, border_at_end=True),
    )
    model = tiny_transformer(num_layers=1, audio_channels=CHANNELS)
    return ModelPackage(info, model, tiny_codec(), None, tmp_path_factory.mktemp("none"))


def _mirrored(count: int, before: int, length: int) -> np.ndarray:
    """Frame indices: copies of frame 0, then the clip back and forth."""
    there = [*range(count), *range(count - 2, 0, -1)] or [0]
    return np.array([0] * before + [there[i % len(there)] for i in range(length)])


@torch.no_grad()
def _by_hand(package: ModelPackage, crops: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The release's way: all latents first, one decoding of the whole, one colour correction of the whole."""
    rules, codec = package.info.conventions, package.codec
    match = COLOUR_RULES[rules.colours]
    before = SHARED if rules.windows is WindowRule.pre_rolled else 0
    step = CLIP - SHARED
    count = max(-(-(len(crops) + before - SHARED) // step), 1)
    frames = crops[_mirrored(len(crops), before, CLIP + step * count)]
    sampler = build_sampler(package.info.diffusion)
    pieces: list[torch.Tensor] = []
    motion = codec.encode_frames(frames[None, :SHARED]) if before else None
    for number in range(count):
        part = frames[number * step : number * step + CLIP]
        reference = codec.encode_frames(part[None])
        seed = rules.seed + (number if rules.noise is NoiseRule.window else 0)
        noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(seed))
        heard = audio_windows(features, number * step - before, reference.shape[2])
        given = ModelConditions(torch.from_numpy(heard)[None], reference, motion=motion)
        latents = sampler.sample(package.transformer, noise, given)
        if number == 0:
            pieces.append(latents)
        elif rules.seams is SeamRule.average:
            mean = (pieces[-1][:, :, -1:] + latents[:, :, 1:2]) / 2
            pieces[-1] = pieces[-1][:, :, :-1]
            pieces.append(torch.cat([mean, latents[:, :, 2:]], dim=2))
        else:
            pieces.append(latents[:, :, 2:])
        if rules.motion is MotionRule.latents:
            motion = latents[:, :, -2:]
        else:
            motion = codec.encode_frames(match(codec.decode_frames(latents)[0], part)[None, -SHARED:])
    images = codec.decode_frames(torch.cat(pieces, dim=2))[0]
    return match(images, frames[: len(images)])[before : before + len(crops)]


@pytest.mark.parametrize(
    "rules", [RELEASE, TBDUB_TEACHER, TBDUB_STUDENT], ids=["x-dub", "teacher", "student"]
)
@pytest.mark.parametrize("count", [1, 3, 13, 21, 26])
def test_a_run_is_that_of_the_release(package: ModelPackage, rules: Conventions, count: int) -> None:
    made = replace(package, info=replace(package.info, conventions=rules))
    crops = np.stack([picture(index, 32, 32) for index in range(count)])
    features = np.random.default_rng(0).normal(size=(90, CHANNELS)).astype(np.float32)
    wanted = _by_hand(made, crops, features)
    edits = list(WindowEditor(made, changes=count == 21).stream(iter(crops), count, features, 0))
    images = np.stack([edit.image for edit in edits])
    assert images.shape == wanted.shape == crops.shape
    assert np.abs(images.astype(int) - wanted).max() <= 1
    assert (images != wanted).mean() < 1e-3
    if count == 21:
        assert all(edit.change is not None and edit.change.shape == (32, 32, 3) for edit in edits)


@pytest.mark.parametrize(
    "rules", [RELEASE, TBDUB_TEACHER, TBDUB_STUDENT], ids=["x-dub", "teacher", "student"]
)
def test_imported_models_start_from_inversions_and_average_windows_too(
    package: ModelPackage, rules: Conventions
) -> None:
    made = replace(package, info=replace(package.info, conventions=rules))
    crops = np.stack([picture(index, 32, 32) for index in range(30)])
    features, own = np.random.default_rng(0).normal(size=(2, 90, CHANNELS)).astype(np.float32)

    def edited(speech: np.ndarray = own, **options: Any) -> np.ndarray:
        editor = WindowEditor(made, SamplingOptions(**options), own_speech=speech)
        return np.stack([edit.image for edit in editor.stream(iter(crops), len(crops), features, 0)])

    plain, inversion = edited(), edited(start_from="inversion")
    assert plain.shape == inversion.shape == crops.shape and (plain != inversion).any()
    assert (edited(features, start_from="inversion") != inversion).any(), "its own speech is heard"
    # Without strength it is the noise, but for roundings, which processors differ in.
    weak = edited(start_from="inversion", inversion_strength=0.0)
    apart = np.abs(weak.astype(int) - plain)
    assert apart.max() <= 2 and (apart > 1).mean() < 1e-3
    assert np.array_equal(edited(windows="multidiffusion", section_frames=CLIP), plain)
    sections = edited(windows="multidiffusion", section_frames=21)
    assert sections.shape == crops.shape and (sections != plain).any()


def test_what_the_autoencoder_loses_is_no_change(
    package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that gives back what it was shown; from pixels it would go on from what is lost already."""
    monkeypatch.setattr(
        "common.diffusion.sampler.EulerSampler.sample",
        lambda sampler, model, noise, given, progress: given.reference,
    )
    crops = np.stack([picture(5 * index, 32, 32) for index in range(26)])
    features = np.zeros((90, CHANNELS), np.float32)
    for rules in (RELEASE, TBDUB_TEACHER, TBDUB_STUDENT):
        made = replace(package, info=replace(package.info, conventions=rules))
        edits = list(WindowEditor(made, changes=True).stream(iter(crops), 26, features, 0))
        changes = np.stack([edit.change for edit in edits if edit.change is not None])
        assert len(changes) == 26 and np.abs(changes).max() <= 1
        assert np.abs(np.stack([edit.image for edit in edits]).astype(int) - crops).mean() > 5


@pytest.mark.parametrize(
    ("rules", "count", "decoded"),
    [
        (RELEASE, 13, [4]),  # one window
        (RELEASE, 21, [3, 1, 3]),  # the second latent frame that both have waits for its mean
        (RELEASE, 29, [3, 1, 2, 4, 3]),  # only what lies between is decoded by itself
        (TBDUB_TEACHER, 21, [4, 2]),
        (TBDUB_STUDENT, 24, [4, 2, 2]),
    ],
)
def test_nothing_is_decoded_twice_that_need_not_be(
    package: ModelPackage,
    monkeypatch: pytest.MonkeyPatch,
    rules: Conventions,
    count: int,
    decoded: list[int],
) -> None:
    seen: list[int] = []
    decode = VideoCodec.decode_frames

    def counted(codec: VideoCodec, latents: torch.Tensor, *given: Any) -> Any:
        seen.append(latents.shape[2])
        return decode(codec, latents, *given)

    monkeypatch.setattr(VideoCodec, "decode_frames", counted)
    editor = WindowEditor(replace(package, info=replace(package.info, conventions=rules)))
    crops = np.stack([picture(index, 32, 32) for index in range(count)])
    features = np.zeros((2 * count, CHANNELS), np.float32)
    assert len(list(editor.stream(iter(crops), count, features, 0))) == count
    assert seen == decoded


def test_latents_in_parts_are_decoded_as_at_once() -> None:
    codec = tiny_codec()
    latents = torch.randn(1, LATENT_CHANNELS, 7, 4, 4, generator=torch.Generator().manual_seed(0))
    decoder = codec.decoder()
    parts = [codec.decode_frames(latents[:, :, first:end], decoder) for first, end in pairwise([0, 1, 4, 7])]
    assert [part.shape[1] for part in parts] == [1, 12, 12]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), codec.decode_frames(latents))


def test_the_crops_of_a_package_can_be_replaced(tmp_path: Path) -> None:
    """A box at the picture's edge: the release's squares stay inside, those that follow the head do not."""
    video = write_clip(tmp_path / "v.mkv", steady(9, 25), lossless=True)
    audio = write_speech(tmp_path / "a.wav", 0.36)

    def dubbed(name: str, rules: Conventions, *words: str) -> np.ndarray:
        model = write_package(tmp_path / name)
        write_info(model, replace(read_info(model), conventions=rules))
        output = tmp_path / f"{name}.mkv"
        given = ["--video", video, "--audio", audio, "--output", output, "--model", model, "--lossless"]
        done = CliRunner().invoke(app, ["dub", *map(str, given), "--box", "0,0,60,60", *words])
        assert done.exit_code == 0, done.stderr
        return read_frames(output)

    released = dubbed("released", RELEASE)
    following = dubbed("following", RELEASE, "--crops", "head")
    assert not np.array_equal(released, following)
    assert np.array_equal(following, dubbed("head", replace(RELEASE, crops=CropRule.head)))
    with pytest.raises(UserError, match="no crops 'square'"):
        DubRequest.of("v", "a", "o.mp4", crops="square")


def test_a_package_tells_its_conventions(tmp_path: object, package: ModelPackage) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    for rules in (Conventions(), TBDUB_STUDENT):
        write_info(folder, replace(package.info, conventions=rules))
        assert read_info(folder).conventions == rules
    with pytest.raises(ValueError, match="one video"):
        Conventions(motion=MotionRule.latents)


def test_colours_are_matched_in_lab_over_the_whole_frame() -> None:
    random = np.random.default_rng(0)
    source = random.integers(60, 200, (1, 24, 24, 3)).astype(np.uint8)
    np.testing.assert_allclose(match_lab(source, source), source, atol=1)
    darker = np.clip(source * 0.8 + 5, 0, 255).astype(np.uint8)
    back = match_lab(darker, source).astype(int)
    assert np.abs(back - source).mean() < 2 < np.abs(darker.astype(int) - source).mean()
    flat = np.full_like(source, 90)
    np.testing.assert_allclose(match_lab(flat, flat + 20), flat + 20, atol=1)
    with pytest.raises(ValueError, match="must both be"):
        match_lab(source, source[:, :8])
    assert COLOUR_RULES[ColourRule.lab] is match_lab
