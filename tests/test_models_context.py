"""Context parallelism: several processes that share one window compute what one process computes.

Run as a script under torchrun this file is one of those processes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from model_toys import called, tiny_inputs, tiny_transformer
from processes import several_processes

from common.models.adapters import add_adapter
from common.models.context_parallel import FrameSplit, split_frames
from common.models.transformer import DubbingTransformer

HEADS = 6  # shared by 2 and by 3


def _spatial(**changes: Any) -> tuple[DubbingTransformer, dict[str, Any]]:
    model = tiny_transformer(dim=72, num_heads=HEADS, **changes)
    return model, tiny_inputs(frames=5, reference_frames=5)


def _case(name: str) -> tuple[DubbingTransformer, dict[str, Any]]:
    """A model and its inputs; the same in every process."""
    if name == "stills":  # fewer reference frames than processes
        model = tiny_transformer(
            dim=72, num_heads=HEADS, reference_layout="temporal", condition_channels=2, text_tokens=5
        )
        inputs: dict[str, Any] = tiny_inputs(frames=4, reference_frames=1)
        generator = torch.Generator().manual_seed(5)
        inputs["condition_planes"] = torch.randn(2, 2, 4, 4, 6, generator=generator)
        inputs["text"] = torch.randn(1, 5, 10, generator=generator)
        return model, inputs
    if name == "lora":
        model, inputs = _spatial()
        add_adapter(model, "lip", 2, 2.0, ["self_attn.to_q", "ffn.net.2"])
        for key, value in model.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(value, generator=torch.Generator().manual_seed(7))
        return model, inputs
    if name == "adain":  # the norm over the few tokens of a frame makes roundings larger
        model, inputs = _spatial(speech_injection="adain")
        return model.double(), {key: value.double() for key, value in inputs.items()}
    model, inputs = _spatial(gradient_checkpointing=name == "checkpointed")
    if name == "alone":
        inputs["reference"] = None
    if name == "mixed":  # one sample has motion frames, the other none; on the first process nothing else
        inputs |= {"motion_frames": 3, "motion_mask": torch.tensor([True, False])}
    if name == "motion":
        inputs["motion_frames"] = 2
    return model, inputs


CASES = ("plain", "alone", "motion", "mixed", "stills", "checkpointed", "lora", "adain")


def _gradients(model: DubbingTransformer, inputs: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    model.zero_grad()
    velocity = model.train()(**called(inputs))
    weights = torch.linspace(-1, 2, velocity.numel()).view_as(velocity)
    (velocity.square() * weights).mean().backward()
    grads = {k: v.grad for k, v in model.named_parameters() if v.requires_grad}
    return velocity.detach(), grads


def _close(value: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    error = (value - expected).abs().max() / expected.abs().max()
    assert error < 2e-6, f"{what} differs by {error:.1e} of its largest value"


def _compare_with_one_process() -> None:
    """Velocity, and gradients averaged over the processes, equal those of the whole window."""
    dist.init_process_group("gloo")
    for name in CASES:
        model, inputs = _case(name)
        velocity, gradients = _gradients(model, inputs)
        model.enable_context_parallel(dist.group.WORLD)
        shared_velocity, shared = _gradients(model, inputs)
        _close(shared_velocity, velocity, name)
        assert shared.keys() == gradients.keys() and all(value is not None for value in shared.values())
        for key, value in shared.items():
            dist.all_reduce(value)
            _close(value / dist.get_world_size(), gradients[key], f"{name}: {key}")
        model.enable_context_parallel(None)
        with torch.no_grad():  # where some processors add up in another order
            _close(model(**called(inputs)), velocity, name)
    dist.destroy_process_group()


def test_two_processes_compute_what_one_computes() -> None:
    several_processes(2, str(Path(__file__).resolve()))


def test_uneven_shares_of_three_processes_too() -> None:
    several_processes(3, str(Path(__file__).resolve()))


def _splits(monkeypatch: pytest.MonkeyPatch, size: int, *frames: int) -> list[FrameSplit]:
    splits = []
    for rank in range(size):
        monkeypatch.setattr(dist, "get_world_size", lambda group: size)
        monkeypatch.setattr(dist, "get_rank", lambda group, rank=rank: rank)
        splits.append(split_frames(Mock(), *frames))
    return splits


@given(
    size=st.integers(1, 8), more=st.integers(0, 20), reference=st.integers(0, 20), motion=st.integers(0, 9)
)
def test_every_frame_belongs_to_one_process(size: int, more: int, reference: int, motion: int) -> None:
    frames, per_frame = size + more, 2
    with pytest.MonkeyPatch.context() as monkeypatch:
        splits = _splits(monkeypatch, size, reference, frames, per_frame)
    target, still = torch.arange(frames), torch.arange(reference)
    assert torch.equal(torch.cat([split.of_target(target, 0) for split in splits]), target)
    assert torch.equal(torch.cat([split.of_reference(still, 0) for split in splits]), still)
    assert sum(split.leading(motion) for split in splits) == min(motion, frames)
    for split in splits:
        assert all((split.of_target(target, 0) < motion)[: split.leading(motion)])
    tokens = torch.arange((reference + frames) * per_frame)[None]
    held = [split.of_tokens(tokens)[0] for split in splits]
    assert torch.equal(torch.cat(held).sort().values, tokens[0])
    assert [len(part) for part in held] == splits[0].tokens
    assert max(splits[0].tokens) - min(splits[0].tokens) <= per_frame


def test_twenty_frames_make_eight_equal_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _splits(monkeypatch, 8, 20, 20, 1)[0].tokens == [5] * 8


def test_what_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "get_world_size", lambda group: 5)
    with pytest.raises(ValueError, match="6 heads cannot be shared by 5"):
        _spatial()[0].enable_context_parallel(Mock())
    with pytest.raises(ValueError, match="4 latent frames cannot be shared by 5"):
        split_frames(Mock(), 4, 4, 1)


if __name__ == "__main__":
    sys.exit(_compare_with_one_process())
