"""The options of ``bootdub dub``, by what they are about."""
