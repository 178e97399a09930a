"""Refuses operations that a GPU refuses, for tensors without numbers on PyTorch's "meta" device.

That device lets matrix products, convolutions and look-ups of tensors on two devices pass, and products of
two dtypes; fake tensors of a GPU cannot be sliced where PyTorch was built without one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_CARRIES = frozenset({"_to_copy", "copy_", "_copy_from"})
"""From one device or dtype to another."""
_INDEXED = frozenset({"index", "index_put", "index_put_"})
"""Their indices may lie in main memory."""
_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "_scaled_dot_product", "linear")


class OneDevice(TorchDispatchMode):
    """A context: what is computed in it is on one device, but for single numbers; products are of one dtype.

    Raises:
        RuntimeError: where that is not so.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        seen = args[:1] if name in _INDEXED else (args, kwargs)
        tensors = [x for x in tree_leaves(seen) if isinstance(x, torch.Tensor)]
        devices = {x.device for x in tensors if x.dim()}
        if len(devices) > 1 and name not in _CARRIES:
            raise RuntimeError(f"{name}: tensors on {' and '.join(sorted(map(str, devices)))}")
        dtypes = {x.dtype for x in tensors}
        if len(dtypes) > 1 and name.startswith(_PRODUCTS):
            raise RuntimeError(f"{name}: tensors of {' and '.join(sorted(map(str, dtypes)))}")
        return func(*args, **(kwargs or {}))
