"""The video autoencoder: its configuration, networks, streaming and training."""
