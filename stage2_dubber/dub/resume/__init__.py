"""A job that was interrupted goes on."""
