"""Which face is dubbed, where it is in every frame, and who speaks when."""
