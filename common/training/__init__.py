"""Training: the loop, checkpoints, losses and adapters. Knows models and data, but no stage."""
