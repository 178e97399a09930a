"""The switches of the speed section: exact when off, and what each changes when it is on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry
from hypothesis import given, settings
from hypothesis import strategies as st
from model_toys import called, tiny_inputs, tiny_transformer

from common.diffusion import branches
from common.diffusion.branches import batch_branches, forward_bytes
from common.diffusion.config import DiffusionConfig
from common.diffusion.guidance import CONDITIONAL, Guidance
from common.diffusion.sampler import EulerSampler, build_sampler
from common.errors import UserError
from common.models import switches
from common.models.adapters import Adapter, AdapterSwitch, add_adapter
from common.models.conditions import ModelConditions
from common.models.quantize import is_quantized_layer
from common.models.speed import SpeedConfig
from common.models.switches import check_switches, compile_blocks, offload_blocks, place_transformer
from common.models.transformer import DubbingTransformer

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SHAPE = (1, 4, 3, 4, 6)
STEPS = 8
DIFFUSION = DiffusionConfig(num_steps=STEPS, reference_scale=2.0, audio_scale=4.0)


def placed(layers: int = 3, **switches: Any) -> DubbingTransformer:
    model = tiny_transformer(num_layers=layers).requires_grad_(False)
    place_transformer(model, CPU, SpeedConfig(**switches))
    return model


def sampled(model: Any, sampler: EulerSampler | None = None, seed: int = 3) -> torch.Tensor:
    inputs = tiny_inputs(1, seed=seed)
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
    conditions = ModelConditions(inputs["audio_features"], inputs["reference"])
    return (sampler or build_sampler(DIFFUSION)).sample(model, noise, conditions)


def counted(model: DubbingTransformer) -> Callable[[], int]:
    """How often the last block has really computed."""
    calls: list[None] = []
    model.blocks[-1].ffn.net[2].register_forward_hook(lambda *_: calls.append(None))
    return lambda: len(calls)


@pytest.fixture(scope="module")
def exact() -> torch.Tensor:
    return sampled(tiny_transformer(num_layers=3))


def test_everything_off_is_the_bare_model(exact: torch.Tensor) -> None:
    model = placed()
    assert torch.equal(sampled(model, build_sampler(DIFFUSION, SpeedConfig())), exact)
    assert not model.is_cache_enabled
    assert not any(hasattr(module, "_diffusers_hook") for module in model.modules())
    assert not any("forward" in vars(module) for module in model.modules())
    assert build_sampler(DIFFUSION, SpeedConfig()) == build_sampler(DIFFUSION)
    assert SpeedConfig().changes() == {}


def test_branches_in_one_batch_agree(exact: torch.Tensor) -> None:
    together = sampled(placed(), build_sampler(DIFFUSION, batch_branches=True))
    torch.testing.assert_close(together, exact, atol=1e-5, rtol=1e-5)


def test_auto_batches_where_the_memory_is_and_never_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    model = placed()
    assert batch_branches("batched", model, SHAPE, 3, CPU)
    assert not batch_branches("sequential", model, SHAPE, 3, GPU)
    assert not batch_branches("auto", model, SHAPE, 3, CPU)
    need = 3 * forward_bytes(model, SHAPE, 3) / branches.SHARE_OF_FREE_MEMORY
    for free, expected in [(1.01 * need, True), (0.99 * need, False)]:
        monkeypatch.setattr(branches, "free_bytes", lambda device, free=free: int(free))
        assert batch_branches("auto", model, SHAPE, 3, GPU) is expected


def test_the_memory_of_a_forward_grows_with_tokens_and_width() -> None:
    small = forward_bytes(placed(), SHAPE, 3)
    assert forward_bytes(placed(), SHAPE, 0) == small / 2
    assert forward_bytes(placed(), (2, *SHAPE[1:]), 3) == 2 * small
    assert forward_bytes(tiny_transformer(dim=48, ffn_dim=80), SHAPE, 3) == 2 * small
    assert forward_bytes(placed().to(torch.bfloat16), SHAPE, 3) < small


def test_an_interval_that_covers_everything_is_exact(exact: torch.Tensor) -> None:
    speed = SpeedConfig(guidance_interval=[0.0, 1.0])
    assert torch.equal(sampled(placed(), build_sampler(DIFFUSION, speed)), exact)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 1))
def test_outside_the_interval_one_branch_stands_alone(one: float, other: float, t: float) -> None:
    low, high = sorted((one, other))
    weights = Guidance(2.0, 4.0, interval=(low, high)).weights(t)
    if low <= t <= high:
        assert weights == Guidance(2.0, 4.0).weights(t)
    else:
        assert weights == {CONDITIONAL: 1.0}


@pytest.mark.parametrize("batched", [False, True])
def test_an_interval_saves_calls_and_changes_the_result(batched: bool, exact: torch.Tensor) -> None:
    speed = SpeedConfig(guidance_interval=[0.6, 0.95])
    sampler = build_sampler(DIFFUSION, speed, batch_branches=batched)
    model = placed()
    calls = counted(model)
    result = sampled(model, sampler)
    inside = sum(0.6 <= t <= 0.95 for t in sampler.flow.sigmas(STEPS)[:-1].tolist())
    assert 0 < inside < STEPS
    assert calls() == STEPS + (0 if batched else 2 * inside)
    assert not torch.allclose(result, exact, atol=1e-3)


@pytest.mark.parametrize(
    "cache",
    [
        {"step_cache": "first-block", "cache_threshold": 0.0},
        {"step_cache": "taylorseer", "cache_interval": 1},
        {"step_cache": "taylorseer-lite", "cache_interval": 1},
    ],
    ids=lambda cache: cache["step_cache"],
)
@pytest.mark.parametrize("batched", [False, True])
def test_a_cache_that_never_applies_is_exact(cache: dict[str, Any], batched: bool) -> None:
    sampler = build_sampler(DIFFUSION, batch_branches=batched)
    assert torch.equal(sampled(placed(**cache), sampler), sampled(placed(), sampler))


CACHES: list[dict[str, Any]] = [
    {"step_cache": "first-block", "cache_threshold": 0.3},
    {"step_cache": "taylorseer"},
    {"step_cache": "taylorseer-lite"},
]


@pytest.mark.parametrize("cache", CACHES, ids=lambda cache: cache["step_cache"])
def test_a_cache_skips_work_and_stays_near(cache: dict[str, Any], exact: torch.Tensor) -> None:
    model = placed(**cache)
    calls = counted(model)
    result = sampled(model)
    if cache["step_cache"] != "first-block":
        # Steps 0 to 2 and every third from step 4 on, in each of the three branches.
        assert calls() == 3 * len([0, 1, 2, 4, 7])
    assert 3 <= calls() < 3 * STEPS
    error, size = (result - exact).square().mean().sqrt(), exact.square().mean().sqrt()
    assert 0 < error < 0.2 * size


@pytest.mark.parametrize("cache", CACHES, ids=lambda cache: cache["step_cache"])
def test_windows_do_not_hear_of_each_other(cache: dict[str, Any]) -> None:
    model = placed(**cache)
    first = sampled(model)
    sampled(model, seed=4)
    assert torch.equal(sampled(model), first)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("cache", CACHES, ids=lambda cache: cache["step_cache"])
def test_a_cache_begins_anew_where_the_branches_change(cache: dict[str, Any], batched: bool) -> None:
    speed = SpeedConfig(guidance_interval=[0.8, 0.95], **cache)
    sampler = build_sampler(DIFFUSION, speed, batch_branches=batched)
    model = placed(**cache)
    calls = counted(model)
    levels = sampler.flow.sigmas(STEPS)[:-1].tolist()
    # Steps 0 and 1 are unguided, 2 to 4 guided, 5 to 7 unguided: no stretch is longer than the warm-up.
    assert [0.8 <= t <= 0.95 for t in levels] == [False] * 2 + [True] * 3 + [False] * 3
    result = sampled(model, sampler)
    if cache["step_cache"] != "first-block":
        assert torch.equal(result, sampled(placed(), sampler))
        assert calls() == 5 + (3 if batched else 9)
    assert calls() >= (3 if batched else 5)


def test_a_cache_begins_anew_where_the_adapters_change() -> None:
    def adapted(cache: str) -> tuple[DubbingTransformer, EulerSampler]:
        model = tiny_transformer(num_layers=3)
        add_adapter(model, "lip", 2, 2.0, ["ffn.net.2"])
        torch.manual_seed(5)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
        place_transformer(model, CPU, SpeedConfig(step_cache=cache))
        switch = AdapterSwitch(model, [Adapter("lip", (0.8, 0.95))])
        return model, build_sampler(replace(DIFFUSION, num_steps=STEPS), before_step=switch)

    # Every stretch with the same adapters is as short as the warm-up, so that every step is computed.
    assert torch.equal(sampled(*adapted("taylorseer")), sampled(*adapted("none")))


def test_the_compiler_takes_a_block_in_one_graph() -> None:
    inputs = tiny_inputs(1)
    with torch.no_grad():
        plain = tiny_transformer(num_layers=1)(**called(inputs))
        model = tiny_transformer(num_layers=1)
        graphs: list[torch.fx.GraphModule] = []

        def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., Any]:
            graphs.append(graph)
            return graph.forward

        compile_blocks(model, backend=backend, fullgraph=True)
        torch.testing.assert_close(model(**called(inputs)), plain)
        assert len(graphs) == 1
        offload_blocks(model, CPU)  # hooks stay outside of the graph, which is not made again
        torch.testing.assert_close(model(**called(inputs)), plain)
    assert len(graphs) == 1


def test_compile_reaches_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: compiled.append(function) or function)
    model = placed(compile=True)
    assert [function.__self__ for function in compiled] == list(model.blocks)


@pytest.mark.parametrize("cache", [{}, *CACHES], ids=lambda cache: cache.get("step_cache", "none"))
def test_offloaded_blocks_give_the_same(cache: dict[str, Any]) -> None:
    model = placed(**cache)
    offload_blocks(model, CPU)
    assert torch.equal(sampled(model), sampled(placed(**cache)))


@pytest.mark.parametrize("injection", ["cross_attention", "adain"])
def test_what_is_quantised(injection: str) -> None:
    model = tiny_transformer(num_layers=2, text_tokens=3, speech_injection=injection)
    heard = "audio_attn.to_q" if injection == "cross_attention" else "audio_adain.linear"
    add_adapter(model, "lip", 2, 2.0, ["ffn.net.2", heard])
    chosen = {name for name, module in model.named_modules() if is_quantized_layer(module, name)}
    attention = ("to_q", "to_k", "to_v", "to_out.0")
    own = {f"{kind}.{layer}" for kind in ("self_attn", "cross_attn") for layer in attention}
    own |= {"ffn.net.0.proj", "ffn.net.2.base_layer"}
    assert chosen == {f"blocks.{index}.{name}" for index in range(2) for name in own}


@pytest.mark.parametrize("kind", ["int8", "fp8", "int8-dynamic"])
def test_eight_bits_are_close_and_half_the_size(kind: str) -> None:
    pytest.importorskip("torchao")
    sizes = {"dim": 64, "ffn_dim": 128}
    plain, inputs = tiny_transformer(**sizes), tiny_inputs(1)
    model = tiny_transformer(**sizes).requires_grad_(False)
    kept = model.blocks[0].audio_attn.to_q.weight.clone()
    place_transformer(model, CPU, SpeedConfig(quantization=kind))
    with torch.no_grad():
        expected, result = plain(**called(inputs)), model(**called(inputs))
    error = (result - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert 0 < error < 0.1
    assert "torchao" in type(model.blocks[0].self_attn.to_q.weight).__module__
    assert torch.equal(model.blocks[0].audio_attn.to_q.weight, kept)


def test_a_missing_torchao_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    model = tiny_transformer()
    with pytest.raises(UserError, match=r"speed.quantization=int8 needs torchao.*bootdub\[quant\]"):
        place_transformer(model, CPU, SpeedConfig(quantization="int8"))


def test_the_process_default_of_attention_is_left_alone() -> None:
    before = _AttentionBackendRegistry.get_active_backend()
    placed(attention_backend="native")
    assert _AttentionBackendRegistry.get_active_backend() == before


def test_an_attention_backend_is_given_to_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switches, "_check_attention_backend", lambda *_: None)
    before = _AttentionBackendRegistry.get_active_backend()
    model = placed(attention_backend="xformers")
    for block in model.blocks:
        for attention in (block.self_attn, block.audio_attn):
            assert attention.processor._attention_backend.value == "xformers"
    assert _AttentionBackendRegistry.get_active_backend() == before


@pytest.mark.parametrize(
    ("changes", "device", "dtype", "message"),
    [
        ({"attention_backend": "xformers"}, CPU, torch.bfloat16, "xformers runs on CUDA devices only"),
        ({"attention_backend": "flash"}, GPU, torch.float32, "flash computes in 16 bits"),
        ({"attention_backend": "sage"}, GPU, torch.float32, "sage computes in 16 bits"),
        ({"quantization": "fp8-dynamic"}, CPU, torch.bfloat16, "fp8-dynamic needs a GPU"),
        ({"offload": True}, CPU, torch.float32, "speed.offload .* the device is cpu"),
    ],
)
def test_what_cannot_run_here_is_refused(
    changes: dict[str, Any], device: torch.device, dtype: torch.dtype, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_switches(SpeedConfig(**changes), device, dtype)


@pytest.mark.parametrize(("name", "package"), [("flash", "flash-attn"), ("sage", "sageattention")])
def test_a_missing_attention_package_is_named(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = {"flash": "_CAN_USE_FLASH_ATTN", "sage": "_CAN_USE_SAGE_ATTN"}[name]
    monkeypatch.setattr(f"diffusers.models.attention_dispatch.{flag}", False)
    with pytest.raises(UserError, match=f"attention_backend={name} needs the package {package}"):
        check_switches(SpeedConfig(attention_backend=name), GPU, torch.bfloat16)
