"""Models that are split over the processes (FSDP2), beside those that every process holds whole (DDP).

Accelerate's own FSDP plugin does nothing on a CPU; torch's ``fully_shard`` works on gloo and nccl alike, so
that what runs on a cluster is what the tests run.

Of a model of P parameters a process of N holds P / N float32 weights, their gradients, optimiser state and
average; and while it computes, the gathered blocks (one, and one that is fetched ahead) and the root group:
everything outside the blocks, norms, biases and tables. While gradients are added up over several passes
(``gradient_exchange(now=False)``) they are whole. The model is built in host memory, by every process, and
moved group by group: no device ever holds it whole.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

from common.errors import UserError


def data_mesh(device: torch.device) -> DeviceMesh:
    """All processes in one row. A process that was started alone becomes a group of one."""
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    return init_device_mesh(device.type, (dist.get_world_size(),))


def shard_model(model: nn.Module, mesh: DeviceMesh, bf16: bool) -> None:
    """Split the parameters of ``model`` over ``mesh``, in place; each becomes a DTensor of its own name.

    One group per block (``_no_split_modules``), one for everything else. With ``bf16`` the matrices of the
    blocks are gathered in bfloat16 and their gradients summed in float32, while the weights themselves stay
    float32; norms, biases and what the model keeps in float32 (``_keep_in_fp32_modules``) are gathered as
    they are. The forward pass is meant to run under autocast, as under DDP.

    Raises:
        UserError: the model has a parameter that cannot be split.
    """
    for name, value in model.named_parameters():
        if not value.ndim:
            raise UserError(
                f"train.sharding=fsdp2 cannot split this model, whose {name} is a single number: "
                "set train.sharding=ddp."
            )
    # Somebody's in-place change of the output would go unnoticed; the losses make none.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    kept = tuple(getattr(model, "_keep_in_fp32_modules", None) or ())
    wanted = getattr(model, "_no_split_modules", None) or ()
    blocks = [module for module in model.modules() if type(module).__name__ in wanted]
    in_blocks = {
        value
        for block in blocks
        for name, value in block.named_parameters()
        if not bf16 or (value.ndim > 1 and not any(part in name for part in kept))
    }
    options: dict[str, Any] = {
        "mesh": mesh,
        # Also for the root, unlike the default: weights that stayed gathered after a forward pass without a
        # backward one would hide a change of the split ones, such as the moving average's.
        "reshard_after_forward": True,
        "shard_placement_fn": lambda value: _placement(value, mesh.size()),
    }
    # The root comes first, against the custom: only so can it take single parameters out of the blocks.
    fully_shard(model, ignored_params=in_blocks, **options)
    # Autocast decides what is computed in bfloat16; rotary tables and the residual stream are not.
    policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    if bf16:
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for block in blocks:
        others = {value for value in block.parameters() if value not in in_blocks}
        fully_shard(block, ignored_params=others, mp_policy=policy, **options)


@contextmanager
def gradient_exchange(model: nn.Module, now: bool) -> Iterator[None]:
    """Whether the backward pass inside exchanges gradients between processes, or adds them up for later."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(now)
        yield
    elif now or not isinstance(model, nn.parallel.DistributedDataParallel):
        yield
    else:
        with model.no_sync():
            yield


def clip_gradients(parameters: Mapping[str, nn.Parameter], limit: float) -> Tensor:
    """Scale all gradients to a norm of at most ``limit``; returns the norm before, over all processes."""
    norm = nn.utils.clip_grad_norm_(list(parameters.values()), limit)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def local(value: Tensor) -> Tensor:
    """The part of a tensor that lies here, sharing its memory; one that is not split is its own part."""
    return value.to_local() if isinstance(value, DTensor) else value


def hollow_copy(model: nn.Module) -> nn.Module:
    """A copy of ``model`` whose parameters have shapes but no values, to be filled by :func:`fill`."""
    empty = {
        id(value): nn.Parameter(torch.empty_like(value, device="meta"), requires_grad=value.requires_grad)
        for value in model.parameters()
    }
    return copy.deepcopy(model, empty)


def fill(hollow: nn.Module, values: Mapping[str, Tensor], keep: bool) -> None:
    """Give a :func:`hollow_copy` the split parameters ``values`` in whole, on the CPU, where ``keep``.

    All processes call it. One tensor is gathered after the other: a device holds one whole tensor at a time,
    and only the process that keeps them holds the model, in host memory.
    """
    whole: dict[str, Tensor] = {}
    wanted = dict(hollow.named_parameters())
    for name, value in values.items():
        gathered = value.full_tensor() if isinstance(value, DTensor) else value
        if keep:
            whole[name] = gathered.detach().to("cpu", wanted[name].dtype)
    if keep:
        buffers = {name: value for name, value in hollow.state_dict().items() if name not in whole}
        hollow.load_state_dict({**buffers, **whole}, assign=True)


def _placement(value: nn.Parameter, processes: int) -> Shard:
    """The first axis that divides evenly, so that tables of one row are split as well; else the first."""
    for axis, size in enumerate(value.shape):
        if size % processes == 0:
            return Shard(axis)
    return Shard(0)
