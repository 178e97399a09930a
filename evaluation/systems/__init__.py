"""What is compared: models of ours, the untouched input, and outputs of others."""

from evaluation.systems.base import Dubbed, System
from evaluation.systems.build import build_system, build_systems

__all__ = ["Dubbed", "System", "build_system", "build_systems"]
