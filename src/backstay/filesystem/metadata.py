"""Capturing and restoring what belongs to a file beside its content; chosen here for the system at hand."""

import sys

if sys.platform == "win32":
    from backstay.filesystem.metadata_restore_windows import MetadataWriter
    from backstay.filesystem.metadata_windows import (
        CARRIES_MODES,
        TIME_GRAIN_NS,
        ExtrasReader,
        lift_protection,
        make_node,
        protect,
    )
    from backstay.filesystem.owners_windows import Owners
else:
    from backstay.filesystem.metadata_posix import (
        CARRIES_MODES,
        TIME_GRAIN_NS,
        ExtrasReader,
        lift_protection,
        make_node,
        protect,
    )
    from backstay.filesystem.metadata_restore import MetadataWriter
    from backstay.filesystem.owners import Owners

__all__ = [
    "CARRIES_MODES",
    "TIME_GRAIN_NS",
    "ExtrasReader",
    "MetadataWriter",
    "Owners",
    "lift_protection",
    "make_node",
    "protect",
]
