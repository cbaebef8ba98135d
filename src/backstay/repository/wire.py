"""Decoding msgpack that came from a storage: whatever is wrong with it becomes one kind of error."""

from typing import TypeVar

import msgspec

from backstay.domain.errors import DamagedObject
from backstay.storage.interface import Buffer

_T = TypeVar("_T")


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
