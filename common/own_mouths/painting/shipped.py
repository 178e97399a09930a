"""Where the painter of insides of mouths lies that comes with the program."""

from __future__ import annotations

from common.models.shipped import ShippedModel

SHIPPED_PAINTER = ShippedModel(
    "mouth-painter", "config.json", "BOOTDUB_MOUTH_PAINTER", "painter of mouths", "own_mouths.paint=false"
)
