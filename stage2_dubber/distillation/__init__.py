"""Distillation of the editor to few steps (DMD2-like): configuration, draws, networks, losses, strategy."""
