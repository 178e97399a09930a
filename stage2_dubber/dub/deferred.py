"""A package whose model is loaded when it is first needed: most clips need no model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from common.models.package_info import PackageInfo
from common.models.speed import SpeedConfig

if TYPE_CHECKING:
    from common.models.ltx2.package import JointPackage
    from common.models.package import ModelPackage

STAGE = 2


@dataclass(frozen=True)
class DeferredPackage:
    """A model that is loaded when it is needed: where it is, what it says of itself, how it is loaded."""

    folder: Path
    info: PackageInfo
    device: torch.device
    dtype: torch.dtype
    speed: SpeedConfig | None

    def load(self) -> ModelPackage | JointPackage:
        """The model.

        Raises:
            UserError: its parts do not fit each other, or it is not of the second stage.
        """
        if self.info.joint is not None:
            from common.models.ltx2.package import load_joint_package

            return load_joint_package(self.folder, self.device, self.dtype)
        from common.models.package import load_package

        return load_package(self.folder, self.device, self.dtype, STAGE, speed=self.speed)
