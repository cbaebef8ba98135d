"""Where Backstay keeps, on this machine, what it remembers between backups and what it can fetch again."""

import os
from pathlib import Path

from backstay.system.host import state_base


def state_root() -> Path:
    """The folder for scan states: BACKSTAY_STATE, or the user's state folder."""
    chosen = os.environ.get("BACKSTAY_STATE")
    return Path(chosen) if chosen else state_base() / "backstay"


def cache_root() -> Path:
    """The folder for what can be fetched again: BACKSTAY_CACHE, or the user's cache folder (XDG)."""
    chosen = os.environ.get("BACKSTAY_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "backstay"
