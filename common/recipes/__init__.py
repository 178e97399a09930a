"""Whole trainings as data: what is run, with which settings, in which order (``configs/recipes/*.yaml``).

``python -m common.recipes RECIPE [--option VALUE ...]`` runs one. The package knows no stage: a recipe names
the commands, and each is run as a process of its own.
"""
