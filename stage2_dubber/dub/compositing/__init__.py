"""From edited crops back into their frames."""
