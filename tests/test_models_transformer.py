"""The transformer: its arithmetic against a plain re-computation, conditioning, gradients, initialisation."""

import math
from typing import Any

import pytest
import torch
from diffusers import FirstBlockCacheConfig
from model_toys import called, tiny_inputs, tiny_transformer
from torch.nn import functional as F

from common.models.config import ModelConfig
from common.models.load import narrowed
from common.models.rope import _rotate_complex, _rotate_real, apply_rotary, rotary_table
from common.models.transformer import DubbingTransformer, build_transformer


def per_token_forward(
    model: DubbingTransformer, inputs: dict[str, Any], timesteps: torch.Tensor
) -> torch.Tensor:
    """The same network written down naively: one timestep, one modulation row and one angle per token.

    timesteps is (B, reference + target tokens); spatial layout, no text.
    """
    weights = dict(model.named_parameters())
    config: Any = model.config
    dim, heads = config.dim, config.num_heads
    head_dim = dim // heads
    latents, reference = inputs["latents"], inputs["reference"]
    batch, _, frames, height, width = latents.shape
    h, w = height // 2, width // 2

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (dim,), eps=config.eps)

    def tokens(x: torch.Tensor) -> torch.Tensor:
        x = F.conv3d(x, weights["patch_embedding.weight"], weights["patch_embedding.bias"], stride=(1, 2, 2))
        return x.flatten(2).transpose(1, 2)

    x = torch.cat([tokens(reference), tokens(latents)], dim=1)
    places = [(i, j + h, k + w) for i in range(reference.shape[2]) for j in range(h) for k in range(w)]
    places += [(i, j, k) for i in range(frames) for j in range(h) for k in range(w)]
    space = 2 * (head_dim // 6)
    angles = torch.tensor(
        [
            [
                place * 10000.0 ** (-2 * pair / share)
                for place, share in zip(position, (head_dim - 2 * space, space, space), strict=True)
                for pair in range(share // 2)
            ]
            for position in places
        ]
    )

    def rotate(x: torch.Tensor) -> torch.Tensor:  # (B, tokens, heads, head_dim)
        even, odd = x[..., 0::2], x[..., 1::2]
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)

    def attend(x: torch.Tensor, source: torch.Tensor, name: str, rotary: bool) -> torch.Tensor:
        def heads_of(y: torch.Tensor, which: str) -> torch.Tensor:
            y = linear(y, f"{name}.to_{which}")
            if which != "v":
                y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + config.eps)
                y = y * weights[f"{name}.norm_{which}.weight"]
            y = y.unflatten(-1, (heads, head_dim))
            return (rotate(y) if rotary and which != "v" else y).transpose(1, 2)

        q, k, v = heads_of(x, "q"), heads_of(source, "k"), heads_of(source, "v")
        scores = (q @ k.transpose(-1, -2) / math.sqrt(head_dim)).softmax(-1)
        return linear((scores @ v).transpose(1, 2).flatten(2), f"{name}.to_out.0")

    half = config.freq_dim // 2
    phase = timesteps[..., None] * 10000.0 ** (-torch.arange(half) / half)
    embedded = torch.cat([phase.cos(), phase.sin()], dim=-1)
    embedded = linear(F.silu(linear(embedded, "time_embedding.linear_1")), "time_embedding.linear_2")
    projected = linear(F.silu(embedded), "time_projection").unflatten(-1, (6, dim))  # (B, tokens, 6, dim)
    audio = model.audio_embedding(inputs["audio_features"])
    begin = reference.shape[2] * h * w
    for index in range(config.num_layers):
        name = f"blocks.{index}"
        row = (projected + weights[f"{name}.modulation"][None]).unbind(2)
        y = norm(x) * (1 + row[1]) + row[0]
        x = x + row[2] * attend(y, y, f"{name}.self_attn", rotary=True)
        target = x[:, begin:]
        affine = weights[f"{name}.norm4.weight"], weights[f"{name}.norm4.bias"]
        y = F.layer_norm(target, (dim,), *affine, config.eps)
        heard = [
            attend(y[:, f * h * w : (f + 1) * h * w], audio[:, f], f"{name}.audio_attn", rotary=False)
            for f in range(frames)
        ]
        x = torch.cat([x[:, :begin], target + torch.cat(heard, dim=1)], dim=1)
        y = norm(x) * (1 + row[4]) + row[3]
        y = linear(F.gelu(linear(y, f"{name}.ffn.net.0.proj"), approximate="tanh"), f"{name}.ffn.net.2")
        x = x + row[5] * y
    row = (embedded[:, begin:, None] + weights["head.modulation"][None]).unbind(2)
    x = linear(norm(x[:, begin:]) * (1 + row[1]) + row[0], "head.head")
    x = x.view(batch, frames, h, w, 2, 2, -1)
    return x.permute(0, 6, 1, 2, 4, 3, 5).reshape_as(latents)


@pytest.mark.parametrize("motion", [0, 1, 2])
def test_two_rows_per_sample_equal_one_row_per_token(motion: int) -> None:
    model, inputs = tiny_transformer(), tiny_inputs()
    per_frame = 2 * 3
    timesteps = inputs["timestep"][:, None].repeat(1, 6 * per_frame)
    timesteps[:, : (3 + motion) * per_frame] = 0
    with torch.no_grad():
        expected = per_token_forward(model, inputs, timesteps)
        torch.testing.assert_close(
            model(**called(inputs, motion_frames=motion)), expected, atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("reference_frames", [0, 3])
def test_inference_computes_what_training_computes(reference_frames: int) -> None:
    """Without gradients it works in place and leaves out what nobody reads; no input is written over."""
    model, inputs = tiny_transformer(text_tokens=5), tiny_inputs()
    inputs["text"] = torch.randn(1, 5, 10)
    if not reference_frames:
        inputs["reference"] = None  # type: ignore[assignment]
    trained = model(**called(inputs, motion_frames=1)).detach()
    kept = {name: None if value is None else value.clone() for name, value in inputs.items()}
    entered: list[tuple[torch.Tensor, torch.Tensor]] = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _, given: entered.append((given[0], given[0].clone())))
    with torch.inference_mode():
        torch.testing.assert_close(model(**called(inputs, motion_frames=1)), trained, atol=1e-5, rtol=1e-5)
    for name, value in inputs.items():
        assert value is kept[name] or torch.equal(value, kept[name]), name
    assert len(entered) == 2 and all(torch.equal(now, then) for now, then in entered)
    # What inference has left in caches must still do for training.
    model(**called(inputs, motion_frames=1)).mean().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_real_and_complex_rotation_agree(dtype: torch.dtype) -> None:
    table = rotary_table(12, (2, 3, 2), 2, "spatial", torch.device("cpu"))
    x = torch.randn(2, 24, 3, 12).to(dtype)
    expected = _rotate_complex(x.clone().requires_grad_(), table).detach()
    torch.testing.assert_close(_rotate_real(x, table), expected)
    with torch.no_grad():
        torch.testing.assert_close(apply_rotary(x.clone(), table), expected)


def test_in_bfloat16_a_model_is_told_the_whole_timestep() -> None:
    """bfloat16 knows 700 and 704: rounded to it, as the release does, a timestep says something else."""
    model, inputs = tiny_transformer(), tiny_inputs(1)
    told: list[torch.Tensor] = []
    model.time_projection.register_forward_hook(lambda _, given, made: told.append(made))
    exact = torch.tensor([701.9])
    with torch.no_grad():
        model(**called(inputs, timestep=exact))
        model.load_state_dict(narrowed(model, model.state_dict(), torch.bfloat16), assign=True)
        model(**called(inputs, timestep=exact))
        model(**called(inputs, timestep=exact.bfloat16().float()))
    wide, narrow, cut = told
    assert narrow.dtype == torch.float32 and torch.equal(narrow, wide)
    assert not torch.allclose(cut, wide, rtol=1e-3)


def test_samples_of_one_batch_may_differ_in_having_motion_frames() -> None:
    model, inputs = tiny_transformer(), tiny_inputs()
    mixed = model(**called(inputs, motion_frames=1, motion_mask=torch.tensor([True, False])))
    torch.testing.assert_close(mixed[0], model(**called(inputs, motion_frames=1))[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mixed[1], model(**called(inputs))[1], atol=1e-5, rtol=1e-5)


def test_speech_of_a_frame_reaches_other_frames_only_through_self_attention() -> None:
    model, inputs = tiny_transformer(num_layers=1), tiny_inputs()
    changed = dict(inputs, audio_features=inputs["audio_features"].clone())
    changed["audio_features"][:, 1] += 1
    with torch.no_grad():
        moved = (model(**called(inputs)) - model(**called(changed))).abs().amax(dim=(0, 1, 3, 4)) > 1e-6
    assert moved.tolist() == [False, True, False]  # one block hears after its self-attention


def test_temporal_layout_takes_still_references_of_any_number_and_extra_channels() -> None:
    model = tiny_transformer(reference_layout="temporal", condition_channels=5)
    inputs = tiny_inputs(reference_frames=2)
    masked = torch.randn(2, 5, 3, 4, 6)
    with torch.no_grad():
        out = model(**called(inputs, condition_planes=masked))
        assert out.shape == inputs["latents"].shape
        assert not torch.allclose(out, model(**called(inputs, condition_planes=masked + 1)))
        with_none = model(**called(inputs, reference=None, condition_planes=masked))
        assert not torch.allclose(out, with_none)
    with pytest.raises(ValueError, match="condition"):
        model(**called(inputs))


def test_layouts_place_the_reference_differently() -> None:
    inputs = tiny_inputs()
    spatial, temporal = (tiny_transformer(reference_layout=layout) for layout in ("spatial", "temporal"))
    assert all(torch.equal(a, b) for a, b in zip(spatial.parameters(), temporal.parameters(), strict=True))
    with torch.no_grad():
        assert not torch.allclose(spatial(**called(inputs)), temporal(**called(inputs)), atol=1e-4)
        alone = dict(inputs, reference=None)
        torch.testing.assert_close(spatial(**called(alone)), temporal(**called(alone)))


def test_text_is_there_exactly_when_configured() -> None:
    plain, worded = tiny_transformer(), tiny_transformer(text_tokens=5)
    assert not any("cross_attn" in name or "text" in name for name, _ in plain.named_parameters())
    inputs, text = tiny_inputs(), torch.randn(1, 5, 10)
    with torch.no_grad():
        shared = worded(**called(inputs, text=text))
        each = worded(**called(inputs, text=text.expand(2, -1, -1)))
        torch.testing.assert_close(shared, each)
        assert not torch.allclose(shared, worded(**called(inputs, text=-text)))
    with pytest.raises(ValueError, match="text"):
        worded(**called(inputs))
    with pytest.raises(ValueError, match="text"):
        plain(**called(inputs, text=text))


@pytest.mark.parametrize("text_tokens", [0, 5])
def test_gradients_reach_every_parameter(text_tokens: int) -> None:
    model = tiny_transformer(text_tokens=text_tokens, condition_channels=2)
    inputs = tiny_inputs() | {"condition_planes": torch.randn(2, 2, 3, 4, 6)}
    if text_tokens:
        inputs["text"] = torch.randn(1, 5, 10)
    model(**called(inputs, motion_frames=1)).square().mean().backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead


def test_gradient_checkpointing_changes_nothing() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = tiny_transformer(gradient_checkpointing=checkpointing).train()
        model(**called(tiny_inputs(), motion_frames=1)).square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, saved in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, saved)


def test_a_fresh_model_predicts_zero_and_is_well_scaled_inside() -> None:
    torch.manual_seed(0)
    model = build_transformer(
        ModelConfig(
            dim=64, num_heads=4, num_layers=6, ffn_dim=128, latent_channels=4, audio_channels=6, audio_dim=32,
            audio_heads=2, audio_layers=1, text_tokens=0,
        )
    )  # fmt: skip
    inputs = tiny_inputs()
    assert model(**called(inputs)).abs().max() == 0
    seen: list[torch.Tensor] = []
    model.blocks[-1].register_forward_hook(lambda module, args, out: seen.append(out))
    model(**called(inputs))
    assert 0.1 < seen[0].std() < 10
    assert all(block.audio_attn.to_out[0].weight.abs().max() > 0 for block in model.blocks)
    model.init_weights(silent_audio=True)
    assert all(block.audio_attn.to_out[0].weight.abs().max() == 0 for block in model.blocks)


def test_a_few_steps_of_training_from_scratch_lower_the_loss() -> None:
    model = tiny_transformer(num_layers=1).train()
    torch.nn.init.zeros_(model.head.head.weight)
    inputs = tiny_inputs()
    target = inputs["latents"] - inputs["reference"]
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        loss = F.mse_loss(model(**called(inputs)), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_bfloat16_autocast_stays_close_and_keeps_the_dtype_of_the_weights() -> None:
    model, inputs = tiny_transformer(), tiny_inputs()
    with torch.no_grad():
        exact = model(**called(inputs))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            narrow = model(**called(inputs))
    assert (narrow.float() - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_attention_backend_is_a_choice_of_one_model() -> None:
    one, other = tiny_transformer(), tiny_transformer()
    one.set_attention_backend("_native_math")
    inputs = tiny_inputs()
    with torch.no_grad():
        torch.testing.assert_close(one(**called(inputs)), other(**called(inputs)), atol=1e-5, rtol=1e-5)
    backends = [model.blocks[0].self_attn.processor._attention_backend for model in (one, other)]
    assert [backend.value for backend in backends] == ["_native_math", "native"]
    with pytest.raises(ValueError, match="nonsense"):
        one.set_attention_backend("nonsense")


def test_offloading_of_blocks_and_step_caches_of_diffusers_apply() -> None:
    inputs = tiny_inputs()
    with torch.no_grad():
        plain = tiny_transformer()(**called(inputs))
        offloaded, cached = tiny_transformer(), tiny_transformer()
        cpu = torch.device("cpu")
        offloaded.enable_group_offload(cpu, cpu, offload_type="block_level", num_blocks_per_group=1)
        torch.testing.assert_close(offloaded(**called(inputs)), plain)
        cached.enable_cache(FirstBlockCacheConfig(threshold=1e9))
        with cached.cache_context("some branch"):
            torch.testing.assert_close(cached(**called(inputs)), plain)
            later = dict(inputs, timestep=inputs["timestep"] * 0.9)
            assert not torch.allclose(
                cached(**called(later)), tiny_transformer()(**called(later))
            )  # blocks were skipped


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents": torch.zeros(2, 5, 3, 4, 6)}, "channels"),
        ({"latents": torch.zeros(2, 4, 3, 5, 6)}, "divide"),
        ({"reference": torch.zeros(2, 4, 3, 4, 4)}, "reference"),
        ({"audio_features": torch.zeros(2, 4, 8, 6)}, "audio_features"),
        ({"motion_frames": 4}, "motion_frames"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_transformer()(**called(tiny_inputs() | change))
