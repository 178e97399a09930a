"""Dubbing on many machines: Ray runs the jobs of a list that one machine would take too long for."""
