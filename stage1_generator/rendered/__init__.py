"""Talking heads drawn by program: clips and pairs whose truth (mouth, occluder, landmarks) is known exactly."""
