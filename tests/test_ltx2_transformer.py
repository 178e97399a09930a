"""The joint transformer: roles, masks and modulations, against diffusers and against what they mean."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from golden import GOLDEN, REASON
from ltx2_toys import NEWER, tiny_joint_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import parity

from common.diffusion.joint import JointGuidance, joint_sigmas, sample_joint
from common.errors import UserError
from common.models.ltx2.conventions import CrossMask, CrossModulation, JointConventions, ReferenceTime
from common.models.ltx2.folder import load_joint_transformer
from common.models.ltx2.positions import (
    JointClip,
    audio_positions,
    reference_audio_positions,
    video_positions,
)
from common.models.ltx2.roles import JointInputs, Modality, PromptStates, Role, TokenGroup
from common.models.ltx2.transformer import JointTransformer

CLIP = JointClip(9, 64, 32, 25.0)
VIDEO, AUDIO = 4, 9  # tokens of the clip


def group(model: JointTransformer, role: Role, kind: str, seed: int) -> TokenGroup:
    noise = torch.Generator().manual_seed(seed)
    if kind == "video":
        tokens, places = torch.randn(1, VIDEO, 128, generator=noise), video_positions(model.model.rope, CLIP)
    else:
        tokens = torch.randn(1, AUDIO, 16, generator=noise)
        time = ReferenceTime.same if role is not Role.reference else model.conventions.reference_time
        places = reference_audio_positions(model.model.audio_rope, AUDIO, time)
    return TokenGroup(role, tokens, places)


def given(
    model: JointTransformer, audio: Role = Role.target, references: bool = True, reference_seed: int = 3
) -> JointInputs:
    noise = torch.Generator().manual_seed(9)
    config = model.model.config
    plain = config.use_prompt_embeddings
    width, audio_width = (config.caption_channels,) * 2 if plain else (24, 8)
    videos = [group(model, Role.target, "video", 1)]
    audios = [group(model, audio, "audio", 2)]
    if references:
        videos.append(group(model, Role.reference, "video", reference_seed))
        audios.append(group(model, Role.reference, "audio", reference_seed + 1))
    level = torch.tensor([0.6])
    return JointInputs(
        Modality(tuple(videos), level),
        Modality(tuple(audios), level),
        PromptStates(
            torch.randn(1, 3, width, generator=noise), torch.randn(1, 3, audio_width, generator=noise)
        ),
    )


def joint(version: str = "2.0", **conventions: object) -> JointTransformer:
    return JointTransformer(tiny_joint_model(version), JointConventions(**conventions))  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["2.0", "2.3"])
@pytest.mark.parametrize("modulation", [CrossModulation.own_token, CrossModulation.other_modality])
@torch.no_grad()
def test_without_masks_it_is_the_model_of_diffusers(version: str, modulation: CrossModulation) -> None:
    """Of the three modulations diffusers has two."""
    plain, model = tiny_joint_model(version), joint(version, modulation=modulation)
    for audio in (Role.target, Role.frozen):
        inputs = given(model, audio)
        video_level, audio_level = inputs.video.noise_level * 1000, inputs.audio.noise_level * 1000
        expected = plain(
            hidden_states=inputs.video.tokens,
            audio_hidden_states=inputs.audio.tokens,
            encoder_hidden_states=inputs.prompt.video,
            audio_encoder_hidden_states=inputs.prompt.audio,
            timestep=inputs.video.timesteps * 1000,
            audio_timestep=inputs.audio.timesteps * 1000,
            sigma=video_level,
            audio_sigma=audio_level,
            video_coords=inputs.video.positions,
            audio_coords=inputs.audio.positions,
            use_cross_timestep=modulation is CrossModulation.other_modality,
            return_dict=False,
        )
        for ours, theirs in zip(model(inputs), expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_three_modulations_differ_at_references_and_agree_without() -> None:
    models = [joint(modulation=modulation) for modulation in CrossModulation]
    plain = [model(given(model, references=False)).video for model in models]
    referring = [model(given(model)).video for model in models]
    for index in (1, 2):
        torch.testing.assert_close(plain[index], plain[0], atol=1e-5, rtol=1e-4)
        assert (referring[index] - referring[0]).abs().max() > 1e-3


@torch.no_grad()
def test_the_mask_keeps_a_reference_out_of_the_other_modality() -> None:
    """With one block, a voice sample reaches the picture only across modalities: masked, it does not."""
    reached = {}
    for mask in CrossMask:
        model = JointTransformer(tiny_joint_model(num_layers=1), JointConventions(mask=mask))
        inputs, other = given(model), given(model, reference_seed=7)
        changed = replace(
            inputs, audio=replace(inputs.audio, groups=(inputs.audio.groups[0], other.audio.groups[1]))
        )
        reached[mask] = (model(inputs).video - model(changed).video).abs().max().item()
    # The target's audio attends to the reference before the modalities meet, so a trace remains.
    assert 10 * reached[CrossMask.targets] < reached[CrossMask.none]
    assert reached[CrossMask.targets] == reached[CrossMask.targets_and_given]


@torch.no_grad()
def test_masked_tokens_attend_to_nothing() -> None:
    """Their attention is exactly zero: nothing of the other modality changes what a reference gets."""
    model = JointTransformer(tiny_joint_model(num_layers=1), JointConventions(mask=CrossMask.targets))
    block = model.model.transformer_blocks[0]
    got: list[torch.Tensor] = []
    block.audio_to_video_attn.register_forward_hook(lambda module, args, result: got.append(result))
    model(given(model))
    bias = block.audio_to_video_attn.to_out[0].bias
    assert torch.equal(got[0][0, VIDEO:], bias.expand(VIDEO, -1))
    assert not torch.allclose(got[0][0, :VIDEO], bias.expand(VIDEO, -1))


def test_the_roles_decide_who_crosses() -> None:
    model = joint()
    target, reference = (given(model).video.groups[i] for i in (0, 1))
    first = TokenGroup(Role.first_frame, target.tokens[:, :2], target.positions[:, :, :2])
    rest = TokenGroup(Role.target, target.tokens[:, 2:], target.positions[:, :, 2:])
    video = Modality((reference, first, rest), torch.tensor([0.5]))
    assert video.crossing(CrossMask.none) is None
    assert video.crossing(CrossMask.targets).tolist() == [6, 7]  # type: ignore[union-attr]
    assert video.crossing(CrossMask.targets_and_given).tolist() == [4, 5, 6, 7]  # type: ignore[union-attr]
    assert video.timesteps.tolist() == [[0.0] * 6 + [0.5] * 2]
    frozen = Modality((replace(target, role=Role.frozen),), torch.tensor([0.5]))
    assert frozen.noise_level.item() == 0
    assert frozen.crossing(CrossMask.targets) is None


@pytest.mark.parametrize("version", ["2.0", "2.3"])
def test_gradients_are_the_same_under_checkpointing(version: str) -> None:
    """Another forward pass before the backward pass must not change what is computed again."""
    gradients = []
    for checkpointing in (False, True):
        model = joint(version, mask=CrossMask.targets, modulation=CrossModulation.other_gate)
        if checkpointing:
            model.model.enable_gradient_checkpointing()
        loss = model(given(model)).video.square().mean()
        model(given(model, references=False))
        loss.backward()
        gradients.append(model.model.transformer_blocks[0].audio_to_video_attn.to_k.weight.grad)
    assert gradients[0] is not None and gradients[1] is not None
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[0], gradients[1])


@torch.no_grad()
def test_sampling_moves_the_targets_alone() -> None:
    model = joint()
    inputs = given(model, Role.frozen)
    steps: list[JointInputs] = []
    assert joint_sigmas(1).tolist() == [1, 0]
    end = sample_joint(model, inputs, joint_sigmas(3).tolist(), told=steps.append)
    assert len(steps) == 3
    assert not torch.equal(end.video.groups[0].tokens, inputs.video.groups[0].tokens)
    assert torch.equal(end.video.groups[1].tokens, inputs.video.groups[1].tokens)
    assert torch.equal(end.audio.tokens, inputs.audio.tokens)


@torch.no_grad()
def test_guidance_of_scale_one_is_none_and_asks_for_what_it_needs() -> None:
    model = joint("2.3")
    inputs = given(model)
    off = JointGuidance()
    branches = off.branches(model, inputs, None)
    assert branches[1:] == (None, None, None)
    assert torch.equal(off.combine(branches).video, branches.positive.video)
    with pytest.raises(ValueError, match="negative"):
        JointGuidance(text_video=3).branches(model, inputs, None)
    with pytest.raises(ValueError, match="blocks"):
        JointGuidance(perturbed=1).branches(model, inputs, None)


def test_positions_say_where_and_when() -> None:
    model = joint().model
    half = JointClip(17, 128, 64, 30.0).downscaled(2)
    whole, reference = (
        video_positions(model.rope, JointClip(17, 128, 64, 30.0)),
        video_positions(model.rope, half, 2),
    )
    assert whole.shape == (1, 3, 3 * 4 * 2, 2)
    assert reference[..., -1].amax(2).tolist() == whole[..., -1].amax(2).tolist()
    before = reference_audio_positions(model.audio_rope, 10, ReferenceTime.before)
    assert before.max().item() == pytest.approx(-0.04)
    assert before.diff(dim=-1).equal(before.diff(dim=-1).abs())
    same = reference_audio_positions(model.audio_rope, 10, ReferenceTime.same)
    assert torch.equal(same, audio_positions(model.audio_rope, 10))
    assert JointClip(121, 544, 960, 25.0).audio_tokens == 121


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        ((16, 64, 64, 25.0), "16 frames"),
        ((0, 64, 64, 25.0), "0 frames"),
        ((17, 65, 64, 25.0), "64x65"),
        ((17, 64, 64, 48.0), "48 frames per second"),
        ((17, 64, 64, 120.0), "120 frames per second"),
        ((17, 64, 64, float("nan")), "nan frames per second"),
    ],
)
def test_clips_that_the_model_cannot_take(clip: tuple[int, int, int, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        JointClip(*clip)
    with pytest.raises(UserError, match="multiples of 32"):
        JointClip(17, 96, 96, 25.0).downscaled(2)


@pytest.mark.parametrize("version", ["2.0", "2.3"])
@torch.no_grad()
def test_saved_and_loaded(version: str, tmp_path: Path) -> None:
    model = joint(version, mask=CrossMask.targets)
    model.model.save_pretrained(tmp_path / "transformer")
    again = load_joint_transformer(tmp_path / "transformer", model.conventions)
    inputs = given(model)
    assert torch.equal(model(inputs).video, again(inputs).video)
    assert torch.equal(model(inputs).audio, again(inputs).audio)


@pytest.mark.parametrize(("version", "billions"), [("2.0", 18.88), ("2.3", 18.99)])
@torch.no_grad()
def test_the_real_geometry(version: str, billions: float) -> None:
    """A whole forward pass of the public sizes, without numbers: 960x544, 121 frames, with a reference."""
    newer = NEWER if version == "2.3" else {}
    with torch.device("meta"):
        plain = LTX2VideoTransformer3DModel(rope_type="split", num_layers=48, **newer)
        model = JointTransformer(plain, JointConventions(mask=CrossMask.targets))
        clip = JointClip(121, 544, 960, 25.0)
        count = 16 * 17 * 30
        assert (clip.grid, clip.audio_tokens) == ((16, 17, 30), 121)
        places, times = torch.empty(1, 3, count, 2), torch.empty(1, 1, 121, 2)
        video = [
            TokenGroup(role, torch.empty(1, count, 128), places) for role in (Role.target, Role.reference)
        ]
        audio = [TokenGroup(role, torch.empty(1, 121, 128), times) for role in (Role.target, Role.reference)]
        widths = (4096, 2048) if version == "2.3" else (3840, 3840)
        prompt = PromptStates(*(torch.empty(1, 1024, width) for width in widths))
        level = torch.empty(1)
    assert sum(p.numel() for p in plain.parameters()) / 1e9 == pytest.approx(billions, abs=0.005)
    inputs = JointInputs(Modality(tuple(video), level), Modality(tuple(audio), level), prompt)
    del plain.transformer_blocks[4:]  # all blocks are alike
    velocity = model(inputs)
    assert velocity.video.shape == (1, 2 * count, 128)
    assert velocity.audio.shape == (1, 242, 128)


@pytest.mark.parametrize("kind", ["ltx2_tiny", "ltx23_tiny"])
def test_the_public_arithmetic(kind: str) -> None:
    if not (GOLDEN / kind).is_dir():
        pytest.skip(REASON)
    assert parity.main([str(GOLDEN / kind)]) == 0
