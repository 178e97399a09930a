"""Judges: networks that only ever measure, the public ones with the layer names of their published files."""
