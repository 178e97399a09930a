"""A small network that paints the inside of a mouth which the clip never shows open."""
