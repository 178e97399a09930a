"""Losses on decoded frames: what they see, the losses, and the judge that decodes and asks them."""
