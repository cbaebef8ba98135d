"""The key slots of a repository as they lie in its storage: read, and replaced all together.

Slots are immutable objects `keys/<hex BLAKE3 of the bytes>`. A change of keys writes the
slots of *all* members anew, one generation up, makes them durable, and only then deletes
the older ones. docs/decisions/0001-keys.md says what holds when it is interrupted, or
when two changes meet.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from blake3 import blake3

from backstay.domain.errors import (
    AlreadyRunning,
    BackstayError,
    DamagedObject,
    ObjectNotFound,
    StorageError,
    StorageUnavailable,
    UnsupportedVersion,
)
from backstay.repository.key_slot import MAX_SLOT_BYTES, Member, Slot, decode_slot, encode_slot, is_authentic
from backstay.repository.keyring import Keyring, encode_keyring
from backstay.repository.layout import KEYS, object_name
from backstay.storage.interface import Storage

_READ_ATTEMPTS = 5


class StoredSlot(NamedTuple):
    """A slot, its bytes, and the object that it came from."""

    name: str
    data: bytes
    slot: Slot


class SlotContents(NamedTuple):
    """All slots that can be read, and for each other object why it cannot."""

    slots: list[StoredSlot]
    faults: list[tuple[str, BackstayError]]


def read_slots(storage: Storage) -> SlotContents:
    """Everything under `keys/`. Nothing of it is authenticated yet. Raises StorageError as `Storage.get`."""
    for _ in range(_READ_ATTEMPTS):
        slots: list[StoredSlot] = []
        faults: list[tuple[str, BackstayError]] = []
        try:
            for info in storage.list(KEYS):
                try:
                    slots.append(_read_slot(storage, info.name, info.size))
                except (DamagedObject, UnsupportedVersion) as fault:
                    faults.append((info.name, fault))
        except ObjectNotFound:
            continue  # a change of keys deleted it after it was listed
        return SlotContents(slots, faults)
    raise StorageUnavailable(f"the keys at {storage.location} change while they are read", hint="try again")


def _read_slot(storage: Storage, name: str, size: int) -> StoredSlot:
    if size > MAX_SLOT_BYTES:
        raise DamagedObject(name, f"{size} bytes is too much for a key slot")
    data = storage.get(name)
    if object_name(KEYS, blake3(data).digest()) != name:
        raise DamagedObject(name, "its content is not what its name says")
    return StoredSlot(name, data, decode_slot(data, name))


def is_member_slot(stored: StoredSlot, members: Iterable[Member]) -> bool:
    """Whether the slot belongs to one of `members` and was written by a holder of the keys."""
    return any(
        member.slot_id == stored.slot.slot_id and is_authentic(stored.data, member.auth_key)
        for member in members
    )


def publish_keyring(
    storage: Storage, keyring: Keyring, opened_by: bytes, rivals_of: Iterable[Member] = ()
) -> None:
    """Write the slots of all members durably; those of earlier generations stay until `delete_superseded`.

    The slot `opened_by` goes first and is durable before the others: after a crash, whoever
    made the change can finish it.

    Raises:
        AlreadyRunning: another change of keys is made at the same time; this one was taken back.
        StorageError: as `Storage.put`; the change was taken back as far as the storage let us.
    """
    sealed = encode_keyring(keyring)
    written: list[str] = []
    try:
        for member in sorted(keyring.members, key=lambda member: member.slot_id != opened_by):
            data = encode_slot(member, keyring.generation, keyring.keyring_id, sealed)
            written.append(object_name(KEYS, blake3(data).digest()))
            storage.put(written[-1], [data])
            if member.slot_id == opened_by:
                storage.sync()
        storage.sync()
        members = (*keyring.members, *rivals_of)
        refuse_rivals(read_slots(storage), members, keyring.generation, frozenset([keyring.keyring_id]))
    except (StorageError, AlreadyRunning):
        with suppress(StorageError):
            _delete(storage, written)
        raise


def withdraw_keyring(storage: Storage, keyring_id: bytes) -> None:
    """Delete every slot that carries this keyring. Raises StorageError."""
    slots = read_slots(storage).slots
    _delete(storage, [stored.name for stored in slots if stored.slot.keyring_id == keyring_id])


def delete_superseded(storage: Storage, generation: int) -> None:
    """Delete every slot of an earlier generation, and what is damaged. Raises StorageError."""
    slots, faults = read_slots(storage)
    superseded = [stored.name for stored in slots if stored.slot.generation < generation]
    damaged = [name for name, fault in faults if isinstance(fault, DamagedObject)]
    _delete(storage, superseded + damaged)


def refuse_rivals(
    contents: SlotContents, members: Iterable[Member], generation: int, known: frozenset[bytes]
) -> None:
    """Raise AlreadyRunning where a holder of the keys wrote a keyring that we never saw and that may win.

    Two simultaneous changes each write before they look, so at least one of them sees the other.
    """
    members = tuple(members)
    for stored in contents.slots:
        unknown = stored.slot.keyring_id not in known and stored.slot.generation >= generation
        if unknown and is_member_slot(stored, members):
            raise AlreadyRunning(
                "the keys of this repository were changed meanwhile; nothing was changed now",
                hint="open it again and repeat the change; should that be refused too, "
                f"open it with {stored.slot.label!r}, whose slot is the newest",
            )


def _delete(storage: Storage, names: Iterable[str]) -> None:
    for name in names:
        storage.delete(name)
    storage.sync()
