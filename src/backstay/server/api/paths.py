"""Paths in the API: text, or where a name is no text its bytes in base64."""

import base64
import binascii
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from backstay.domain.errors import UsageError


class BytesOfPath(BaseModel):
    """A path that is not UTF-8."""

    model_config = ConfigDict(extra="forbid")
    base64: str = Field(max_length=65_536, description="its bytes, as RFC 4648, section 4")


PathInput = Annotated[str, Field(max_length=32_768)] | BytesOfPath


def path_bytes(path: str | BytesOfPath) -> bytes:
    """The bytes of a path. Raises UsageError where no path can be such."""
    try:
        read = path.encode() if isinstance(path, str) else base64.b64decode(path.base64, validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise UsageError(
            "a path cannot be read", hint='write it as text, or as {"base64": …} where it is no UTF-8'
        ) from None
    if b"\0" in read or not read:
        raise UsageError("a path is empty or has a NUL byte", hint="no file can be called so")
    return read
