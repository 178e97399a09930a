"""Flow matching, guidance, sampling and the windows of long clips."""
