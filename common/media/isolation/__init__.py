"""Decoding in a process of its own, so that a hostile or damaged file cannot harm the one that asked.

FFmpeg is a million lines of C that read whatever strangers send. A file that crashes it, makes it take all
memory or compute without end ends one small process here, and the caller gets one sentence.
"""
