"""Networks: the dubbing transformer, what it is told, and its files on disk."""
