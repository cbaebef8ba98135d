"""Nouns and pure decisions; standard library only."""
