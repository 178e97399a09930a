"""The phonetic encoder, distilled from a large speech encoder: network, training data and training."""
