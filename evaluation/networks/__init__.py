<<<<<<< HEAD
"""Judges: networks that are only ever used to measure, never to train."""
=======
"""The public judge networks in plain torch, with the layer names of the files that their authors publish."""
>>>>>>> w/identity
