"""Losses on decoded frames: what they see, the losses with their frozen networks, and the decoding."""
