"""The ``bootdub`` command."""
