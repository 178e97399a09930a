"""Talking heads drawn by program: clips and pairs whose mouth, occluder and landmarks are known exactly."""
