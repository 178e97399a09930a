"""bootdub dub with a tiny LTX-2 of random weights: pictures for a sound that is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dub_clips import BOX, picture, steady, write_clip, write_speech
from ltx2_toys import write_joint_folder, write_lora, write_states
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.diffusion.options import SamplingOptions
from common.errors import UserError
from common.media import probe, read_frames
from common.models.ltx2.package import JointPackage, load_joint_package
from common.models.ltx2.roles import JointInputs, JointVelocity, Role
from common.speech.joint_mel import JointMelEncoder
from stage2_dubber.dub.editing.joint import JointEditor
from stage2_dubber.dub.editing.windowed import Watch
from stage2_dubber.dub.pipeline import DubPipeline

SIDE, FRAMES = 64, 17
PLACE = ",".join(str(round(value)) for value in BOX)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips and LTX-2."""
    made = tmp_path_factory.mktemp("ltx2")
    write_joint_folder(made / "ltx2")
    write_states(made / "states.safetensors")
    write_clip(made / "clip.mkv", steady(26, 30), lossless=True)
    write_speech(made / "speech.wav", 0.9)
    return made


def package_of(folder: Path, name: str, *words: object) -> Path:
    out = folder / name
    settings = (f"geometry.crop_size={SIDE}", f"geometry.clip_frames={FRAMES}", "joint.num_steps=2")
    given = ("--prompt-states", folder / "states.safetensors", "--output", out)
    result = CliRunner().invoke(app, [*map(str, ("import-ltx2", folder / "ltx2", *given, *settings, *words))])
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return package_of(folder, "package")


@pytest.fixture(scope="module")
def package(model: Path) -> JointPackage:
    return load_joint_package(model)


def dub(folder: Path, model: Path, output: Path, *words: object) -> Any:
    given = {"video": folder / "clip.mkv", "audio": folder / "speech.wav", "output": output, "model": model}
    options = [str(word) for name, value in given.items() for word in (f"--{name}", value)]
    return CliRunner().invoke(app, ["dub", *options, "--box", PLACE, *map(str, words)])


def test_a_dub_keeps_rate_size_and_all_that_lies_outside(folder: Path, model: Path, tmp_path: Path) -> None:
    result = dub(folder, model, tmp_path / "o.mkv", "--lossless")
    assert result.exit_code == 0, result.output
    before, after = probe(folder / "clip.mkv"), probe(tmp_path / "o.mkv")
    assert (after.frame_count, after.width, after.height) == (26, before.width, before.height)
    assert after.average_rate == before.average_rate == 30
    source, made = read_frames(folder / "clip.mkv"), read_frames(tmp_path / "o.mkv")
    np.testing.assert_array_equal(made[:, :, :20], source[:, :, :20])
    assert (made != source).any(axis=(1, 2, 3)).all(), "every frame has an edit"
    again = dub(folder, model, tmp_path / "again.mkv", "--lossless")
    assert again.exit_code == 0
    assert (tmp_path / "again.mkv").read_bytes() == (tmp_path / "o.mkv").read_bytes()


def test_the_plan_and_what_is_refused(folder: Path, model: Path, tmp_path: Path) -> None:
    planned = dub(folder, model, tmp_path / "o.mkv", "--dry-run")
    assert planned.exit_code == 0, planned.output
    # 26 frames at 30 per second are 22 at 25; 9 are given to the second window of 17.
    assert "22 model frames in 2 of at most 17 frames, 4 sampler steps" in planned.stdout
    assert "text scale 3" in planned.stdout
    distilled = package_of(folder, "distilled", "joint.distilled=true", "joint.text_scale=1", "--overwrite")
    for place, words, said in (
        (model, ("--shift", "2"), "--shift"),
        (model, ("--passes", "2"), "--passes"),
        (model, ("--reference-scale", "2"), "--reference-scale"),
        (model, ("--start-from", "inversion"), "--start-from"),
        (model, ("--windows", "multidiffusion"), "--windows"),
        (model, ("--preset", "draft"), "draft"),
        (model, ("--cache", "first-block"), "step_cache"),
        (distilled, ("--num-steps", "4"), "distilled"),
    ):
        for dry in ((), ("--dry-run",)):
            refused = dub(folder, place, tmp_path / "o.mkv", *words, *dry)
            assert refused.exit_code == 2, refused.output
            assert said in refused.stderr.splitlines()[-1]
    assert not (tmp_path / "o.mkv").exists()
    pipeline = DubPipeline.from_pretrained(distilled)
    with pytest.raises(UserError, match="--shift"):
        pipeline(folder / "clip.mkv", folder / "speech.wav", tmp_path / "o.mkv", box=BOX, shift=2.0)


def test_the_whole_picture_may_be_the_crop(folder: Path, tmp_path: Path) -> None:
    model = package_of(folder, "whole", "joint.crops=frame", "geometry.crop_size=96", "--overwrite")
    result = dub(folder, model, tmp_path / "o.mkv", "--lossless", "--compositing", "whole-crop")
    assert result.exit_code == 0, result.output
    source, made = read_frames(folder / "clip.mkv"), read_frames(tmp_path / "o.mkv")
    assert made.shape == source.shape
    changed = (made != source).any(axis=(0, 3))
    # To the upper and the lower edge; at the left and the right one lies the border of the square.
    assert changed[0, 60:100].all() and changed[-1, 60:100].all()
    assert not changed[:, 0].any() and changed[:, 20].any()
    heads = package_of(folder, "heads", "geometry.crop_size=96")
    same = dub(
        folder, heads, tmp_path / "same.mkv", "--lossless", "--compositing", "whole-crop", "--crops", "frame"
    )
    assert same.exit_code == 0, same.output
    np.testing.assert_array_equal(read_frames(tmp_path / "same.mkv"), made)


class _Copies:
    """Predicts that the clean target is the reference; remembers what it was given."""

    def __init__(self, package: JointPackage) -> None:
        self.model, self.conventions = package.transformer.model, package.transformer.conventions
        self.seen: list[JointInputs] = []

    def __call__(self, inputs: JointInputs, **_: object) -> JointVelocity:
        self.seen.append(inputs)
        groups = {group.role: group.tokens for group in inputs.video.groups}
        clean = groups[Role.reference]
        level = inputs.video.sigma
        target = (groups[Role.target] - clean[:, -groups[Role.target].shape[1] :]) / level
        given = [torch.zeros_like(groups[Role.first_frame])] if Role.first_frame in groups else []
        return JointVelocity(
            torch.cat([*given, target, torch.zeros_like(clean)], dim=1), torch.zeros_like(inputs.audio.tokens)
        )


def edited(package: JointPackage, count: int, seconds: float = 2.0, watch: Watch | None = None) -> np.ndarray:
    speech = np.random.default_rng(0).normal(0, 0.1, round(16000 * seconds)).astype(np.float32)
    features = JointMelEncoder().encode(speech)
    crops = (picture(index, SIDE, SIDE) for index in range(count))
    editor = JointEditor(package, SamplingOptions(), watch or Watch())
    return np.stack([edit.image for edit in editor.stream(crops, count, features, 5)])


def test_windows_are_conditioned_by_roles(package: JointPackage) -> None:
    copies = _Copies(package)
    edits = edited(replace(package, transformer=copies), 25)  # type: ignore[arg-type]
    first, second = copies.seen[0], copies.seen[-1]
    assert [group.role for group in first.video.groups] == [Role.target, Role.reference]
    assert [group.role for group in second.video.groups] == [Role.first_frame, Role.target, Role.reference]
    # 17 frames of 64 x 64 pixels: 3 x 2 x 2 latents; 9 frames are two of them.
    assert [group.tokens.shape[1] for group in second.video.groups] == [8, 4, 12]
    whole = torch.cat([group.positions for group in second.video.groups[:2]], dim=2)
    torch.testing.assert_close(whole, second.video.groups[2].positions)
    (sound,) = second.audio.groups
    assert sound.role is Role.frozen and second.audio.noise_level.item() == 0
    # Window 2 begins at frame 5 + 8 of the speech's clock, 0.52 s.
    speech = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)
    mel = JointMelEncoder().encode(speech).reshape(-1, 64)[52 : 52 + 4 * 16 + 1]
    tokens = package.audio_codec.encode(torch.from_numpy(mel).expand(1, 2, -1, -1))
    torch.testing.assert_close(sound.tokens, tokens)
    # What a model that copies its reference makes is what the autoencoder makes of the source.
    source = np.stack([picture(index, SIDE, SIDE) for index in range(25)])
    plain = package.codec.decode_frames(package.codec.encode_frames(source[None, :17]))[0]
    assert len(edits) == 25
    assert np.abs(edits[:8].astype(int) - plain[:8]).max() <= 1


def test_the_speech_is_heard_and_guidance_by_it_acts(
    folder: Path, package: JointPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stage2_dubber.dub.editing import joint

    made: list[torch.Tensor] = []
    sample = joint.sample_joint

    def kept(*args: Any) -> JointInputs:
        result = sample(*args)
        made.append(result.video.groups[0].tokens)
        return result

    monkeypatch.setattr(joint, "sample_joint", kept)
    edited(package, 9, seconds=2.0)
    edited(package, 9, seconds=0.1)  # silence where the window lies
    edited(package, 9, seconds=2.0)
    assert torch.equal(made[0], made[2])
    assert (made[0] - made[1]).abs().max() > 1e-4
    scaled = replace(
        package, info=replace(package.info, diffusion=replace(package.info.diffusion, audio_scale=3.0))
    )
    edited(scaled, 9, seconds=2.0)
    assert (made[0] - made[3]).abs().max() > 1e-4


def test_a_reference_may_be_smaller(folder: Path, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "lora.safetensors", {"reference_downscale_factor": "2"})
    package = load_joint_package(package_of(folder, "halved", "--lora", lora, "--overwrite"))
    seen: list[JointInputs] = []
    package.transformer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    assert edited(package, 9).shape == (9, SIDE, SIDE, 3)
    target, reference = seen[0].video.groups
    assert (target.tokens.shape[1], reference.tokens.shape[1]) == (8, 2)
    assert torch.equal(reference.positions[0, 1, 0], torch.tensor([0.0, 64.0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_newer_version_dubs_too(folder: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    newer = write_joint_folder(tmp_path / "newer", "2.3")
    states = write_states(tmp_path / "states.safetensors", 24)
    words = ("--prompt-states", states, "--output", tmp_path / "package", "geometry.crop_size=64")
    more = ("geometry.clip_frames=17", "joint.distilled=true", "joint.text_scale=1", "joint.mask=none")
    result = CliRunner().invoke(
        app, [*map(str, ("import-ltx2", newer, *words, *more, "joint.modulation=other_gate"))]
    )
    assert result.exit_code == 0 and "LTX-2.3" in result.stdout, result.output
    package = load_joint_package(tmp_path / "package", dtype=dtype)
    done: list[float] = []
    edits = edited(package, 25, watch=Watch(advance=done.append, changes=True))
    assert edits.shape == (25, SIDE, SIDE, 3)
    # Eight distilled steps for each of two windows.
    assert len(done) == 16 and sum(done) == pytest.approx(25)


def test_windows_that_were_sampled_are_kept(
    package: JointPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Watch(kept=lambda name: tmp_path / f"{name}.safetensors")
    first = edited(package, 25, watch=kept)
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(JointEditor, "_sampled", None)
    np.testing.assert_array_equal(edited(package, 25, watch=kept), first)
