"""The lip-shape predictor, from audio to mouth shapes: network, encoder, training data and training."""
