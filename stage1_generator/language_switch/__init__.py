"""Pairs from clips that change their language (JUST-DUB-IT): each half is made in the other half's."""
