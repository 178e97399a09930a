"""What running a model would take, counted without numbers: operations and memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count


@dataclass(frozen=True)
class RunCost:
    """Attributes: flops. peak_bytes: of all tensors that are made, at the worst moment; weights apart."""

    flops: float
    peak_bytes: int


@contextmanager
def without_numbers(dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Tensors made in this context have shapes and no content; floating-point ones are of ``dtype``.

    A network must be built in it to be run in it.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        torch.set_default_dtype(before)


def counted_run(run: Callable[[], Any], weights: Iterable[torch.Tensor]) -> RunCost:
    """Call ``run``, within :func:`without_numbers`, and count.

    Attention is taken to be of a kernel that never holds its scores.

    Args:
        run: does what is counted.
        weights: tensors that exist already and are not counted.
    """
    with torch.no_grad(), _counter() as counter, _Memory(weights) as memory:
        run()
    return RunCost(float(counter.get_total_flops()), memory.peak)


def training_flops(loss: Callable[[], torch.Tensor]) -> float:
    """As :func:`counted_run`, operations of a forward pass to a loss and of its backward pass."""
    with _counter() as counter:
        loss().backward()
    return float(counter.get_total_flops())


def training_peak(loss: Callable[[], torch.Tensor], weights: Iterable[torch.Tensor]) -> int:
    """Bytes that these passes hold at the worst moment, the gradients that there are by then among them.

    A run of its own: the counter of operations holds on to what gradient checkpointing lets go.
    """
    with _Memory(weights) as memory:
        loss().backward()
    return memory.peak


def _counter() -> FlopCounterMode:
    aten = torch.ops.aten
    attention = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_gradient_flops,
    }
    return FlopCounterMode(display=False, custom_mapping=attention)


def _attention_flops(
    query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, out_shape: Any = None, **__: Any
) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_gradient_flops(
    gradient: torch.Size, query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any
) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))


class _Memory(TorchDispatchMode):
    """Bytes of all storages that live, and the most that there were."""

    def __init__(self, weights: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.peak = self._live = 0
        self._known = {weight.untyped_storage()._cdata for weight in weights}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:  # a view
            return
        self._known.add(key)
        self._live += size
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size
