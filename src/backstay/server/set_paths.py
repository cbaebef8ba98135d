"""The paths of a backup set: as people and programs write them, and as the database keeps them.

A path is text. One whose bytes are not UTF-8 is written as `base64:` and its bytes; the database keeps such
bytes as surrogates (PEP 383).
"""

import base64
import binascii
import re
from collections.abc import Sequence

from backstay.domain.errors import UsageError

MOST_PATHS = 1000
_LONGEST = 4096
ENCODED = "base64:"
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")


def checked_paths(paths: Sequence[str], *, windows: bool | None) -> list[str]:
    """The paths as they are kept: absolute, each once, without needless slashes.

    Args:
        windows: whether the file server runs Windows; None where nobody knows yet.

    Raises:
        UsageError: there is none, or one cannot be a path there.
    """
    if not paths:
        raise UsageError("the backup set has no paths", hint="name at least one folder or file")
    if len(paths) > MOST_PATHS:
        raise UsageError(
            f"the backup set has more than {MOST_PATHS:,} paths", hint="protect a folder above them"
        )
    return list(dict.fromkeys(_checked(_decoded(path), windows) for path in paths))


def shown_path(kept: str) -> str:
    """A kept path as programs read it."""
    try:
        kept.encode()
    except UnicodeEncodeError:
        return ENCODED + base64.b64encode(kept.encode("utf-8", "surrogateescape")).decode()
    return kept


def _decoded(path: str) -> str:
    if not path.startswith(ENCODED):
        return path
    try:
        raw = base64.b64decode(path.removeprefix(ENCODED), validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(
            f"the path {path[:80]!r} is no base64", hint="write the path itself, or base64: and its bytes"
        ) from None
    return raw.decode("utf-8", "surrogateescape")


def _checked(path: str, windows: bool | None) -> str:
    shown = repr(path[:200])
    on_windows = bool(_DRIVE.match(path)) or path.startswith("\\\\")
    if not on_windows and not path.startswith("/"):
        raise UsageError(
            f"the path {shown} is not absolute", hint="write it from the root: /srv, or D:\\Data"
        )
    if windows is not None and on_windows != windows:
        system = "Windows" if windows else "Linux"
        example = "D:\\Data" if windows else "/srv/data"
        raise UsageError(f"{shown} is no path on {system}", hint=f"write it like {example}")
    try:
        length = len(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        length = 0
    if not 0 < length <= _LONGEST or "\0" in path:
        raise UsageError(
            f"the path {shown} cannot be a path", hint=f"a path has 1 to {_LONGEST} bytes and no NUL"
        )
    parts = re.split(r"[/\\]+" if on_windows else r"/+", path)
    if "." in parts or ".." in parts:
        raise UsageError(f"the path {shown} goes through . or ..", hint="write it without")
    if on_windows:
        return path[:2] + "\\" + "\\".join(part for part in parts[1:] if part) if path[1] == ":" else path
    return "/" + "/".join(part for part in parts if part)
