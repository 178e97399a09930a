"""From a user's videos to faces: which videos, detection, lengths, sound offsets and voiced stretches."""
