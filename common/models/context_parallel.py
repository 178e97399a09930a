"""Context parallelism: the tokens of one window spread over several processes (Ulysses, arXiv 2309.14509).

    process            0                   1
    tokens     [ref 0 | target 0]  [ref 1 | target 1]    split by latent frames; all heads
    attention  [     every token, half of the heads ]    two all-to-alls around the kernel
    velocity   [            every frame             ]    gathered behind the head

Both reference and target are split by latent frames, so that everything but self-attention stays local: the
speech of a frame, the text, and the segments (reference | motion | rest) of the modulation. Rotation happens
before the exchange, and attention does not care for the order of its tokens.

Saves: activations. With n processes each holds 1/n of the residual stream, of the inputs that gradient
checkpointing keeps, and of the FFN and attention intermediates; the work per window is shared as well.
Does not save: weights, gradients, optimiser state (that is FSDP's part). Costs: per block and direction four
times the tokens of one process (q, k, v, and the result) cross the wires, which wants the n processes on
one node; n processes hold one sample where they could hold n; what follows the model (losses, decoded frames)
is computed n times over. For the 5B model with its 10,240 tokens and n = 4, by calculation: a process keeps
.9 GB of block inputs (fp32) instead of 3.8, and sends 47 MB (bf16) per block and direction. That pays when
one window does not fit; where it fits, plain data parallelism is faster.

Gradients: every process computes the same loss of the gathered velocity, and the gather's backward sums over
the processes. A parameter's gradient averaged over the n processes is therefore that of one process with the
whole window.

Own code because diffusers' version (0.42, experimental) serves inference: uneven splits have no backward,
its gather returns no sum of gradients, not every attention kernel takes part, and it does not start on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class FrameSplit:
    """Which latent frames of one window each process of ``group`` holds. Process r holds consecutive ones."""

    group: dist.ProcessGroup
    rank: int
    reference: tuple[int, ...]
    """Frames of the reference per process; may be 0."""
    target: tuple[int, ...]
    """Frames of the target per process; at least 1."""
    frame_tokens: int

    @property
    def tokens(self) -> list[int]:
        """Tokens per process, reference and target together."""
        return [self.frame_tokens * (r + t) for r, t in zip(self.reference, self.target, strict=True)]

    def of_reference(self, x: Tensor, dim: int) -> Tensor:
        """The part of ``x`` that this process holds; ``dim`` counts the reference's frames."""
        return x.narrow(dim, sum(self.reference[: self.rank]), self.reference[self.rank])

    def of_target(self, x: Tensor, dim: int) -> Tensor:
        """The part of ``x`` that this process holds; ``dim`` counts the target's frames."""
        return x.narrow(dim, sum(self.target[: self.rank]), self.target[self.rank])

    def of_tokens(self, x: Tensor) -> Tensor:
        """The part of ``x`` (1, reference + target tokens, ...) that belongs to this process' tokens."""
        frames = x.unflatten(1, (-1, self.frame_tokens))
        reference, target = frames.split((sum(self.reference), sum(self.target)), dim=1)
        own = torch.cat((self.of_reference(reference, 1), self.of_target(target, 1)), dim=1)
        return own.flatten(1, 2)

    def leading(self, frames: int) -> int:
        """How many of the first ``frames`` frames of the target this process holds."""
        return min(max(frames - sum(self.target[: self.rank]), 0), self.target[self.rank])

    def to_heads(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, own tokens, heads, d) each -> (B, all tokens, heads / processes, d) each, in one exchange."""
        counts = self.tokens
        own, size = counts[self.rank], len(counts)
        x = torch.stack((query, key, value)).unflatten(3, (size, -1))  # 3 B tokens process heads d
        x = x.permute(3, 2, 0, 1, 4, 5).flatten(0, 1)
        x = _AllToAll.apply(x, [own] * size, counts, self.group)  # tokens 3 B heads d
        query, key, value = x.transpose(0, 2).unbind(1)
        return query, key, value

    def to_tokens(self, x: Tensor) -> Tensor:
        """(B, all tokens, heads / processes, d) -> (B, own tokens, heads, d): the way back."""
        counts = self.tokens
        own, size = counts[self.rank], len(counts)
        x = _AllToAll.apply(x.transpose(0, 1), counts, [own] * size, self.group)
        return x.unflatten(0, (size, own)).permute(2, 1, 0, 3, 4).flatten(2, 3)

    def gather_target(self, x: Tensor) -> Tensor:
        """(B, own target tokens, D) -> (B, all target tokens, D) on every process; gradients are summed."""
        counts = [self.frame_tokens * frames for frames in self.target]
        own, size = counts[self.rank], len(counts)
        x = x.transpose(0, 1).repeat(size, 1, 1)
        return _AllToAll.apply(x, [own] * size, counts, self.group).transpose(0, 1)


def split_frames(
    group: dist.ProcessGroup, reference_frames: int, frames: int, frame_tokens: int
) -> FrameSplit:
    """Share a window's latent frames evenly; what does not divide goes to the first processes.

    Of the reference it goes to the last ones instead, so that 20 + 20 frames make 8 equal parts of 5.

    Raises:
        ValueError: there are fewer target frames than processes.
    """
    size = dist.get_world_size(group)
    if frames < size:
        raise ValueError(f"{frames} latent frames cannot be shared by {size} processes.")
    reference = _even(reference_frames, size)[::-1]
    return FrameSplit(group, dist.get_rank(group), tuple(reference), tuple(_even(frames, size)), frame_tokens)


def _even(total: int, parts: int) -> list[int]:
    return [total // parts + (i < total % parts) for i in range(parts)]


class _AllToAll(torch.autograd.Function):
    """``sent[i]`` rows of ``x`` go to process i of the group, ``received[i]`` rows come from it."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, sent: Sequence[int], received: Sequence[int], group: dist.ProcessGroup
    ) -> Tensor:
        ctx.splits = received, sent, group
        out = x.new_empty(sum(received), *x.shape[1:])
        dist.all_to_all_single(out, x.contiguous(), list(received), list(sent), group=group)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _AllToAll.apply(grads[0], *ctx.splits), None, None, None
