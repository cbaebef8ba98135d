"""The REST API: one noun a file, a line for each in `router.py`."""
