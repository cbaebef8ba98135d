"""Names in restore points, as the API shows them, and paths in queries: both are bytes, and JSON is text."""

import base64
import binascii
from typing import Annotated

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from backstay.domain.errors import UsageError

_MOST = 32_768


class NameView(BaseModel):
    """A name in a folder, whose bytes may be no text."""

    name: str
    name_base64: str | None = Field(
        default=None, description="the bytes, where they are not UTF-8; `name` then shows replacements"
    )


def name_fields(name: bytes) -> dict[str, str | None]:
    """The fields of a NameView."""
    try:
        return {"name": name.decode(), "name_base64": None}
    except UnicodeDecodeError:
        return {"name": name.decode(errors="replace"), "name_base64": base64.b64encode(name).decode()}


def name_view(name: bytes) -> NameView:
    """A name as the API shows it."""
    return NameView.model_validate(name_fields(name))


def _bytes_of(text: str, encoded: str, what: str) -> bytes:
    try:
        found = base64.b64decode(encoded, validate=True) if encoded else text.encode()
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise UsageError(
            f"{what} cannot be read", hint=f"write it as text, or its bytes in {what}_base64"
        ) from None
    if b"\0" in found:
        raise UsageError(f"{what} has a NUL byte", hint="no file can be called so")
    return found


def _path(
    path: Annotated[str, Query(max_length=_MOST, description="absolute path in the restore point")] = "/",
    path_base64: Annotated[str, Query(max_length=2 * _MOST, description="or its bytes")] = "",
) -> bytes:
    return _bytes_of(path, path_base64, "path")


def _after(
    after: Annotated[str, Query(max_length=_MOST, description="`next` of the page before")] = "",
    after_base64: Annotated[str, Query(max_length=2 * _MOST, description="or its bytes")] = "",
) -> bytes:
    return _bytes_of(after, after_base64, "after")


PathQuery = Annotated[bytes, Depends(_path)]
"""`path` or `path_base64` of the query."""

AfterQuery = Annotated[bytes, Depends(_after)]
"""`after` or `after_base64` of the query: a name, or a path."""
