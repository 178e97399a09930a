"""Which processes train on the same samples. Light to import: dry runs do the same arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.errors import UserError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ProcessLayout:
    """``world`` processes in groups of ``context`` neighbours, which share every sample among them.

    Raises:
        UserError: the groups do not come out even.
    """

    world: int
    rank: int = 0
    context: int = 1

    def __post_init__(self) -> None:
        if self.world % self.context:
            raise UserError(
                f"train.context_parallel is {self.context}, which does not divide the {self.world} processes "
                "of this run: start a multiple of it with torchrun (for a dry run set WORLD_SIZE)."
            )

    @property
    def data_world(self) -> int:
        """Number of groups; each has samples of its own."""
        return self.world // self.context

    @property
    def data_rank(self) -> int:
        """The group of this process. Neighbours share a group: they talk most and live on one node."""
        return self.rank // self.context

    def accumulation(self, global_batch: int, micro_batch: int) -> int:
        """Passes per optimiser step. Raises UserError where the batch does not divide."""
        if global_batch % (micro_batch * self.data_world):
            those = "processes" if self.context == 1 else f"groups of {self.context} processes"
            raise UserError(
                f"train.global_batch_size is {global_batch}, which is no multiple of train.micro_batch_size "
                f"{micro_batch} times {self.data_world} {those}."
            )
        return global_batch // (micro_batch * self.data_world)

    def share(self, model: nn.Module, device: str) -> None:
        """Let ``model`` compute its windows together with the group; every process calls this.

        Raises:
            UserError: the model has no such ability, or its sizes do not divide.
        """
        if self.context == 1:
            return
        from torch.distributed.device_mesh import init_device_mesh

        shareable: Any = model
        if not hasattr(model, "enable_context_parallel"):
            raise UserError(
                f"train.context_parallel is {self.context}, but a {type(model).__name__} cannot be shared by "
                "processes: set it to 1."
            )
        shape, names = (self.data_world, self.context), ("data", "context")
        mesh = init_device_mesh(device, shape, mesh_dim_names=names)
        try:
            shareable.enable_context_parallel(mesh["context"].get_group())
        except ValueError as error:
            raise UserError(f"train.context_parallel is {self.context}: {error}") from error
