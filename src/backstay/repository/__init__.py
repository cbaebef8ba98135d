"""The deduplicated, encrypted store of packs of blobs."""
