"""The inpainting generator: its training strategy, its sampling and its frozen encoders."""
