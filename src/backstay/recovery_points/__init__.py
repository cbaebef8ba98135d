"""Frozen views of a source volume."""
