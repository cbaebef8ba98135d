"""What happens to an entry whose name is taken already at the target. Decisions only."""

import stat
from datetime import datetime
from enum import IntEnum, StrEnum

_NAME_BYTES = 255


class Existing(StrEnum):
    """What the user wants done with what exists."""

    REFUSE = "refuse"
    """Restore into an empty place only."""
    OVERWRITE = "overwrite"
    """Put the restored version in its place; a folder that is not empty never yields to a file."""
    SKIP = "skip"
    """Leave it as it is."""
    KEEP_BOTH = "keep-both"
    """Leave it as it is, and restore beside it under a new name."""


class Action(IntEnum):
    """What is done with one entry."""

    CREATE = 0
    """Nothing has its name."""
    REPLACE = 1
    """A file, link or special file yields to it."""
    REPLACE_FOLDER = 2
    """An empty folder yields to it."""
    ENTER = 3
    """It is a folder, and so is what exists."""
    SKIP = 4
    """It is left away."""
    KEEP_BOTH = 5
    """It is made under another name."""


def decide(mode: int, existing: int | None, policy: Existing, *, above: bool = False) -> Action:
    """What to do with an entry.

    Args:
        mode: its st_mode.
        existing: st_mode of what has its name at the target, or None.
        policy: REFUSE counts as SKIP here, for it lets no restore begin where something exists.
        above: it is only a folder above what was chosen; nothing yields to such.
    """
    if existing is None:
        return Action.CREATE
    if stat.S_ISDIR(mode) and stat.S_ISDIR(existing):
        return Action.ENTER
    if above:
        return Action.SKIP
    if policy is Existing.OVERWRITE:
        return Action.REPLACE_FOLDER if stat.S_ISDIR(existing) else Action.REPLACE
    if policy is Existing.KEEP_BOTH:
        return Action.KEEP_BOTH
    return Action.SKIP


def name_beside(name: bytes, now: datetime, attempt: int) -> bytes:
    """The name under which `name` is restored beside what exists, as `a (restored 2026-11-22 14.05).txt`.

    Args:
        now: the time of the restore, in the zone that the user thinks in.
        attempt: from 1; a higher one gives another name.
    """
    stem, dot, extension = name.rpartition(b".")
    if not stem or len(extension) > 16:
        stem, dot, extension = name, b"", b""
    again = f" {attempt}" if attempt > 1 else ""
    mark = f" (restored {now:%Y-%m-%d %H.%M}{again})".encode()
    return stem[: _NAME_BYTES - len(mark) - len(dot) - len(extension)] + mark + dot + extension
