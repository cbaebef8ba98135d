"""Decoding msgpack that came from a storage: whatever is wrong with it becomes one kind of error.

Every record of the repository is a msgpack array whose first element is the version of
its layout, from 1 to 127, so that it can be told before anything else is looked at.
"""

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from backstay.domain.errors import DamagedObject, UnsupportedVersion
from backstay.storage.interface import Buffer

_T = TypeVar("_T")

Id = Annotated[bytes, Meta(min_length=32, max_length=32)]
"""A blob's id or an object's digest."""

OptionalId = Annotated[bytes, Meta(max_length=32)]
"""An id, or empty where there is none."""

ShortId = Annotated[bytes, Meta(min_length=16, max_length=16)]
"""The id of a repository or a writing session."""

Count = Annotated[int, Meta(ge=0)]

_FIXED_ARRAY = 0x90
_ARRAY_16 = 0xDC
_LAST_SMALL_NUMBER = 0x7F


def decode(decoder: msgspec.msgpack.Decoder[_T], data: Buffer, name: str) -> _T:
    """What `decoder` makes of `data`; `name` is the object's, for the message.

    Raises:
        DamagedObject: it is no msgpack, or not of that type.
    """
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # msgspec lets the UnicodeDecodeError of a text field through.
        raise DamagedObject(name, f"it cannot be parsed ({error})") from error


def decode_record(decoder: msgspec.msgpack.Decoder[_T], data: Buffer, name: str, version: int) -> _T:
    """As `decode`, for a record of at most this version.

    Raises:
        UnsupportedVersion: it is of a later version, whatever else is in it.
        DamagedObject.
    """
    found = _version_of(data)
    if found is None:
        raise DamagedObject(name, "it does not begin with a version")
    if found > version:
        raise UnsupportedVersion(
            f"{name} has version {found}; this Backstay knows version {version}", hint="use a newer Backstay"
        )
    if not found:
        raise DamagedObject(name, "its version is impossible")
    return decode(decoder, data, name)


def _version_of(data: Buffer) -> int | None:
    head = bytes(data[:4])
    at = 3 if head[:1] == bytes((_ARRAY_16,)) else 1
    if len(head) <= at or (at == 1 and head[0] & 0xF0 != _FIXED_ARRAY) or head[at] > _LAST_SMALL_NUMBER:
        return None
    return head[at]
