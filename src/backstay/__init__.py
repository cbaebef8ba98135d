"""Backstay: self-hosted backup for file servers."""

__version__ = "0.1.0"
