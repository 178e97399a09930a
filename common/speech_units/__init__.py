"""Speech as a sequence of discrete units: fitted by one command, then a speech encoder like others."""
