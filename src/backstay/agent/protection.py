"""How the agent keeps its secret on disk; chosen here for the system at hand."""

import sys
from pathlib import Path

if sys.platform == "win32":
    from backstay.agent.protection_windows import hide, make_private, reveal
else:

    def hide(secret: str) -> str:
        """The secret as it may lie on the disk: as it is, in a file that root alone may read."""
        return secret

    def reveal(kept: str) -> str:
        """The secret that was hidden."""
        return kept

    def make_private(folder: Path) -> None:
        """Nothing: it was made so that its owner alone may use it."""


__all__ = ["hide", "make_private", "reveal"]
