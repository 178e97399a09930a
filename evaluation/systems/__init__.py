"""What is compared: models of ours, the untouched input, and outputs of others."""

from evaluation.systems.base import DubbedFile, System
from evaluation.systems.build import build_system, build_systems

__all__ = ["DubbedFile", "System", "build_system", "build_systems"]
