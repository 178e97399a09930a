"""Judges: networks that are only ever used to measure, never to train."""
