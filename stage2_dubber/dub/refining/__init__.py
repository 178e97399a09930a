"""Lips made sharp by a second model, after whatever drew them."""
