"""The calls by which the engine reaches files: `from backstay.system.calls import os`.

On Linux that is the module `os` itself, and costs nothing. On Windows it is `windows_calls`, which gives the
same functions the same meaning: open directories as the starting points of names, names and paths as bytes,
positional reads and writes, renames that replace. The engine is written once, against what POSIX promises.
This is the one place where the choice is made.
"""

import sys

if sys.platform == "win32":
    from backstay.system import windows_calls as os
else:
    import os

__all__ = ["os"]
