"""Training of the editor: strategy and self-made references."""
