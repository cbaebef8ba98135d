"""Names and paths in the API: they are bytes, and JSON is text."""

import base64
import binascii
from typing import Annotated

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from backstay.domain.errors import UsageError

_MOST = 65_536


class Named(BaseModel):
    """A name: as text, and where it is not UTF-8 exactly, in base64."""

    name: str
    name_base64: str | None = Field(default=None, description="only where the name is not UTF-8")


class Placed(BaseModel):
    """A path: as text, and where it is not UTF-8 exactly, in base64."""

    path: str
    path_base64: str | None = Field(default=None, description="only where the path is not UTF-8")


def text_of(value: bytes) -> tuple[str, str | None]:
    """As text, and exactly where that does not suffice."""
    try:
        return value.decode("utf-8"), None
    except UnicodeDecodeError:
        return value.decode("utf-8", "replace"), base64.b64encode(value).decode()


def bytes_of(text: str, encoded: str, what: str) -> bytes:
    """What a client gave as text, or exactly. Raises UsageError."""
    if not encoded:
        return text.encode("utf-8", "surrogateescape")
    try:
        return base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        raise UsageError(f"{what}_base64 is no base64", hint=f"or give {what} as text") from None


def _path(
    path: Annotated[str, Query(max_length=_MOST, description="absolute path, as text")] = "/",
    path_base64: Annotated[str, Query(max_length=2 * _MOST, description="the same, exactly")] = "",
) -> bytes:
    return bytes_of(path, path_base64, "path")


PathQuery = Annotated[bytes, Depends(_path)]
"""An absolute path, `path` or `path_base64` of the query."""
