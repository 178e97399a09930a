"""Which preset a dub takes where none is named: by what its model needs and what the device has free."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from common.models.package_info import read_info
from stage2_dubber.dub.presets.names import Preset
from stage2_dubber.dub.presets.table import PresetSettings, is_light, preset_settings

if TYPE_CHECKING:
    import torch

    from stage2_dubber.dub.doctor import DubEstimate

PATIENCE = 60.0
"""Seconds of arithmetic per second of video beyond which a CPU makes a draft."""


def choose_preset(preset: Preset | None, folder: Path, device: str | torch.device) -> PresetSettings:
    """The settings of ``preset``, or of the one that suits model and device.

    Raises:
        UserError: there is no package in ``folder``, it cannot be read, or the device is not there.
    """
    if preset is not None:
        return preset_settings(preset, folder)
    if read_info(folder).joint is not None:
        return preset_settings(Preset.standard, folder, "LTX-2 knows no other")
    if is_light(folder):
        return preset_settings(Preset.standard, folder, "a small model")
    # The libraries of the model, which a light one may never need.
    from stage2_dubber.dub.device import choose_device
    from stage2_dubber.dub.doctor import estimate_package

    return settings_for(estimate_package(folder, choose_device(device)), folder)


def settings_for(estimate: DubEstimate, folder: Path) -> PresetSettings:
    """What suits a model of which ``estimate`` says whether it fits and how fast it can be."""
    needed = f"it takes {estimate.weights_gib + estimate.working_gib:.1f} GiB"
    if estimate.fits and (estimate.on_gpu or estimate.least_seconds_per_second <= PATIENCE):
        return preset_settings(Preset.standard, folder, f"{needed}, which are free")
    if estimate.fits:
        slow = f"this device needs at least {estimate.least_seconds_per_second:,.0f} s per second of video"
        return preset_settings(Preset.draft, folder, slow)
    if estimate.fits_offloaded:
        chosen = preset_settings(Preset.standard, folder, f"{needed}, which are free with --offload alone")
    else:
        chosen = preset_settings(Preset.draft, folder, f"{needed}, more than is free: it may fail")
    if not estimate.on_gpu:
        return chosen
    return replace(chosen, speed={**chosen.speed, "offload": True})
