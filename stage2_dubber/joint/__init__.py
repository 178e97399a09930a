"""Training of LTX-2: pairs as tokens, in-context LoRAs and whole models, and small models from nothing."""
