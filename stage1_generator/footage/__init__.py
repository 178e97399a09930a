"""From a user's videos to faces: which videos, shots, detection, sound offsets and voiced stretches."""
