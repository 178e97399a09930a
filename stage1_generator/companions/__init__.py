"""Companions, clips that differ from their originals in the lips alone: planned, made, filtered."""
