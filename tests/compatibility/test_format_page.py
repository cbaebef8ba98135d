"""docs/format.md names everything that the code puts into a repository."""

from pathlib import Path

import pytest

from backstay.domain.entry import Entry
from backstay.repository import (
    credential,
    encryption,
    index,
    key_slot,
    layout,
    manifest,
    pack,
    session,
    tombstone,
)
from backstay.repository.details import Details
from backstay.repository.keyring import Keyring
from backstay.repository.session import SessionInfo

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text()

MAGICS = [
    pack.HEAD,
    pack.FOOT,
    pack.TRAILER_KIND,
    index.MAGIC,
    manifest.KIND,
    manifest.EXPIRY_KIND,
    tombstone.KIND,
    session.KIND,
    key_slot._MAGIC,
    credential._MAGIC,
    encryption._FRAME_DATA,
]
FOLDERS = [value for name, value in vars(layout).items() if name.isupper() and isinstance(value, str)]
FIELDS = [
    *(f"| {number} | {name} |" for number, name in enumerate(Entry._fields)),
    *(f"| {number} | {name} |" for number, name in enumerate(manifest.Manifest.__struct_fields__)),
    *(f"| {number} | {name} |" for number, name in enumerate(Details.__struct_fields__)),
    *(f"| {number} | {name} |" for number, name in enumerate(key_slot.Slot.__struct_fields__)),
    *(f"| {number} | {name} |" for number, name in enumerate(Keyring.__struct_fields__)),
    *(f"| {number} | {name} |" for number, name in enumerate(pack._Wire.__struct_fields__)),
    *(name for name in (*SessionInfo.__struct_fields__, *manifest.ExpiredPoint.__struct_fields__)),
]


@pytest.mark.parametrize("magic", MAGICS)
def test_every_magic_is_named(magic: bytes) -> None:
    """A stranger can tell every kind of object."""
    assert f"`{magic.decode()}`" in PAGE


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_is_named(folder: str) -> None:
    """A stranger knows what lies where."""
    assert f"`{folder}" in PAGE


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_in_its_place(field: str) -> None:
    """A record's element stands in the table with its number."""
    assert field in PAGE


def test_limits_are_those_of_the_code() -> None:
    """The page promises what the code checks."""
    assert f"| blob | {pack.MAX_BLOB_BYTES >> 20} MiB |" in PAGE
    assert f"| raw bytes of a frame | {pack.MAX_FRAME_BYTES >> 20} MiB |" in PAGE
