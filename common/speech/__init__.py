"""Speech features at 50 Hz, their windows per latent frame, and a cache keyed by content."""
