"""Video and speech of different lengths, and dubs of a part of a video."""
