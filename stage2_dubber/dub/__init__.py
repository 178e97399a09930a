"""Dubbing a file: request, job, windows, compositing and outputs."""
