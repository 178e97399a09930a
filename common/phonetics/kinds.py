"""Kinds of phonetic encoder, by name; without torch, which takes a second to import."""

TRANSFORMER, CONVOLUTIONS = "transformer", "convolutions"
KINDS = (TRANSFORMER, CONVOLUTIONS)
