"""Named bytes, no meaning."""
