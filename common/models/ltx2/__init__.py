"""LTX-2: a transformer that denoises the tokens of a video and of its sound together."""
