"""Quality presets: their names, what they mean for a package, and which is taken where none is named."""
