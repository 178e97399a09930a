"""Dubs whose speech is made by the model, for a text and a voice."""
