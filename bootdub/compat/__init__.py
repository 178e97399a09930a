"""Command lines of other lip-sync programs, done by ``bootdub dub``: their callers change one word."""
