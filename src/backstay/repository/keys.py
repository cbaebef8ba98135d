"""Making, opening and changing the keys of a repository.

A change of keys renews the slots of all members (see slot_store). Interrupted, each
passphrase still opens the repository: with the new keyring where its slot was renewed,
with the old one elsewhere; the next change, or `repair_slots`, finishes the work.
"""

import os
import time
from contextlib import suppress
from typing import NamedTuple

from msgspec.structs import replace

from backstay.domain.errors import NoRepository, RepositoryExists, StorageError, UsageError, WrongPassphrase
from backstay.repository.credential import export_credential, load_credential
from backstay.repository.key_slot import (
    RECOMMENDED_COST,
    RECOVERY_LABEL,
    Argon2Cost,
    ExpandedKey,
    Member,
    Slot,
    SlotSecret,
    derive_from_passphrase,
    derive_from_recovery_key,
    is_authentic,
    new_passphrase_member,
    new_recovery_member,
    open_keyring,
)
from backstay.repository.keyring import (
    MAX_MEMBERS,
    Keyring,
    Secrets,
    decode_keyring,
    merge_keyrings,
    new_keyring,
    public_key_of,
    secrets_of,
)
from backstay.repository.layout import KEYS
from backstay.repository.recovery_sheet import RecoveryKey, resembles_recovery_key
from backstay.repository.slot_store import (
    StoredSlot,
    delete_superseded,
    is_member_slot,
    publish_keyring,
    read_slots,
    refuse_rivals,
    withdraw_keyring,
)
from backstay.storage.interface import Storage

__all__ = [
    "RECOVERY_LABEL",
    "Argon2Cost",
    "RecoveryKey",
    "Secrets",
    "SlotInfo",
    "add_passphrase",
    "change_passphrase",
    "create_keys",
    "export_credential",
    "list_slots",
    "load_credential",
    "open_with_passphrase",
    "repair_slots",
    "revoke",
    "rotate_recovery_key",
]

FIRST_LABEL = "main"


class SlotInfo(NamedTuple):
    """A slot, or an object among the slots that should not be there.

    Attributes:
        label: what it is called; of a stray object, its storage name.
        created: seconds since the epoch; 0 where unknown.
        problem: what is wrong with it, as a sentence, or empty.
    """

    label: str
    is_recovery: bool
    created: int
    problem: str


def create_keys(
    storage: Storage, passphrase: str, *, label: str = FIRST_LABEL, cost: Argon2Cost = RECOMMENDED_COST
) -> tuple[Secrets, RecoveryKey]:
    """Make the keys of a new repository, with a slot for `passphrase` and one for a recovery key.

    The recovery key is nowhere else: print it (`render_sheet`) before going on.

    Raises:
        RepositoryExists: there are keys in the storage.
        UsageError: the passphrase is empty, the label impossible, or the cost out of bounds.
        StorageError: as `Storage.put`.
    """
    if next(iter(storage.list(KEYS)), None) is not None:
        raise RepositoryExists(
            f"there are keys at {storage.location} already, of a repository or an interrupted attempt at one",
            hint="choose an empty place; what an interrupted attempt left holds no data and can be deleted",
        )
    now, recovery_key = int(time.time()), RecoveryKey(os.urandom(32))
    first = new_passphrase_member(label, passphrase, now, cost)
    keyring = new_keyring((first, new_recovery_member(recovery_key, now)))
    publish_keyring(storage, keyring, first.slot_id)
    if any(stored.slot.keyring_id != keyring.keyring_id for stored in read_slots(storage).slots):
        withdraw_keyring(storage, keyring.keyring_id)
        raise _exists_already(storage)
    return secrets_of(keyring, first.slot_id, frozenset([keyring.keyring_id])), recovery_key


def open_with_passphrase(storage: Storage, passphrase: str) -> Secrets:
    """Open the repository with a passphrase, or with the recovery key as it was printed.

    Raises:
        NoRepository: there are no keys in the storage.
        WrongPassphrase: no slot opens; the hint says which part of a recovery key is mistyped.
        DamagedObject, UnsupportedVersion: no slot can be read at all.
        UsageError: the passphrase is empty.
        StorageError: as `Storage.get`.
    """
    contents = read_slots(storage)
    if not contents.slots:
        if contents.faults:
            raise contents.faults[0][1]
        raise NoRepository(
            f"there is no Backstay repository at {storage.location}: it holds no keys",
            hint="check the place, or make a repository there with `backstay repo init`",
        )
    hint = "check the keyboard layout and capital letters, or use the recovery key"
    recovery_key = None
    try:
        recovery_key = RecoveryKey.parse(passphrase)
    except WrongPassphrase as mistake:
        if resembles_recovery_key(passphrase):
            hint = mistake.hint
    damaged = len(contents.faults)
    for same in _by_derivation(contents.slots):
        secret = _derive(same[0].slot, passphrase, recovery_key)
        if secret is None:
            continue
        public_key = secret.public_key
        mine = [stored for stored in same if stored.slot.public_key == public_key]
        genuine = [stored for stored in mine if is_authentic(stored.data, secret.auth_key)]
        if genuine:
            return _open_slots(genuine, secret)
        damaged += len(mine)
    if damaged:
        hint += f"; note that {damaged} of the key slots cannot be used: they are damaged or altered"
    raise WrongPassphrase(f"no key of {storage.location} opens with the passphrase given", hint=hint)


def list_slots(storage: Storage, secrets: Secrets) -> list[SlotInfo]:
    """Every slot of the repository, then every stray object among them, each with what is wrong.

    Raises:
        KeyMissing: `secrets` are a write-only credential's.
        StorageError: as `Storage.get`.
    """
    keyring = secrets.require_keyring()
    slots, faults = read_slots(storage)
    authentic = {stored.name for stored in slots if is_member_slot(stored, keyring.members)}
    current = {
        stored.slot.slot_id
        for stored in slots
        if stored.name in authentic and stored.slot.generation >= keyring.generation
    }
    missing = "its slot is missing, damaged or out of date: run `backstay repo keys repair`"
    lines = [
        SlotInfo(m.label, m.is_recovery, m.created, "" if m.slot_id in current else missing)
        for m in keyring.members
    ]
    for stored in slots:
        if stored.name not in authentic:
            why = (
                f"a slot that calls itself {stored.slot.label!r} and was not written by a holder of the keys"
            )
            lines.append(SlotInfo(stored.name, _is_recovery(stored.slot), 0, why))
        elif stored.slot.generation < keyring.generation:
            why = "left behind by an interrupted change of keys: run `backstay repo keys repair`"
            lines.append(SlotInfo(stored.name, _is_recovery(stored.slot), stored.slot.created, why))
    lines.extend(SlotInfo(name, False, 0, str(fault)) for name, fault in faults)
    return lines


def add_passphrase(
    storage: Storage, secrets: Secrets, label: str, passphrase: str, *, cost: Argon2Cost = RECOMMENDED_COST
) -> Secrets:
    """Let one more passphrase open the repository. Use the returned secrets from then on.

    Raises (as all changes of keys do):
        UsageError: the label is taken or impossible, the passphrase empty.
        KeyMissing: `secrets` are a write-only credential's.
        AlreadyRunning: the keys were changed since `secrets` were opened, or are being changed now.
        StorageError: as `Storage.put`. The change may be in force all the same, with superseded
            slots left behind: open again, and see `list_slots`.
    """
    keyring = secrets.require_keyring()
    if any(member.label == label for member in keyring.members):
        raise UsageError(f"there is already a passphrase {label!r}", hint="choose another name, or change it")
    if len(keyring.members) == MAX_MEMBERS:
        raise UsageError(f"a repository has at most {MAX_MEMBERS} passphrases", hint="revoke one first")
    member = new_passphrase_member(label, passphrase, int(time.time()), cost)
    return _change(storage, secrets, replace(keyring, members=(*keyring.members, member)))


def change_passphrase(
    storage: Storage, secrets: Secrets, label: str, passphrase: str, *, cost: Argon2Cost = RECOMMENDED_COST
) -> Secrets:
    """Put a new passphrase in the place of the one named `label`. Raises as `add_passphrase`."""
    old = _passphrase_named(secrets, label)
    new = new_passphrase_member(label, passphrase, int(time.time()), cost)
    keyring = secrets.require_keyring()
    members = tuple(new if member is old else member for member in keyring.members)
    opened_by = new.slot_id if old.slot_id == secrets.opened_by else secrets.opened_by
    return _change(storage, secrets, replace(keyring, members=members), opened_by)


def revoke(storage: Storage, secrets: Secrets, label: str) -> Secrets:
    """Let the passphrase named `label` no longer open the repository. Raises as `add_passphrase`.

    Whoever copied the repository's keys while it worked can still use the copy; after
    `rotate_recovery_key` the copy opens nothing that is written from then on.

    Raises also:
        UsageError: it is the last passphrase, or the recovery key.
    """
    old = _passphrase_named(secrets, label)
    keyring = secrets.require_keyring()
    members = tuple(member for member in keyring.members if member is not old)
    if all(member.is_recovery for member in members):
        raise UsageError(
            f"{label!r} is the last passphrase of this repository", hint="add another first, or change it"
        )
    return _change(storage, secrets, replace(keyring, members=members))


def rotate_recovery_key(storage: Storage, secrets: Secrets) -> tuple[Secrets, RecoveryKey]:
    """A new recovery key and a new reading key pair; the old recovery key opens nothing any more.

    The old private keys stay in the keyring, for what was written before. Write-only
    credentials go on working with the old public key: what they write stays readable to
    all passphrases, and also to a leaked copy of the old keyring, until they are
    exported again. Id key and catalogue key remain, since all names depend on them.
    Raises as `add_passphrase`; slots that could not be deleted are named by `list_slots`.
    """
    keyring, recovery_key = secrets.require_keyring(), RecoveryKey(os.urandom(32))
    new, private_key = new_recovery_member(recovery_key, int(time.time())), os.urandom(32)
    kept = tuple(member for member in keyring.members if not member.is_recovery)
    opener_stays = any(member.slot_id == secrets.opened_by for member in kept)
    rotated = replace(
        keyring,
        members=(*kept, new),
        public_key=public_key_of(private_key),
        private_keys=(*keyring.private_keys, private_key),
    )
    changed = _publish_change(storage, secrets, rotated, secrets.opened_by if opener_stays else new.slot_id)
    with suppress(StorageError):  # the new key is in force and must reach its sheet in any case
        delete_superseded(storage, changed.require_keyring().generation)
    return changed, recovery_key


def repair_slots(storage: Storage, secrets: Secrets) -> Secrets:
    """Write every slot anew and delete what an interrupted change left. Raises as `add_passphrase`."""
    return _change(storage, secrets, secrets.require_keyring())


def _exists_already(storage: Storage) -> RepositoryExists:
    return RepositoryExists(
        f"there is already a repository at {storage.location}", hint="choose an empty place"
    )


def _passphrase_named(secrets: Secrets, label: str) -> Member:
    members = secrets.require_keyring().members
    found = next((member for member in members if member.label == label), None)
    if found is None:
        names = ", ".join(repr(member.label) for member in members if not member.is_recovery)
        raise UsageError(f"there is no passphrase {label!r}", hint=f"there are: {names}")
    if found.is_recovery:
        raise UsageError("the recovery key can only be replaced", hint="rotate to a new recovery key")
    return found


def _change(storage: Storage, secrets: Secrets, keyring: Keyring, opened_by: bytes = b"") -> Secrets:
    changed = _publish_change(storage, secrets, keyring, opened_by)
    delete_superseded(storage, changed.require_keyring().generation)
    return changed


def _publish_change(storage: Storage, secrets: Secrets, keyring: Keyring, opened_by: bytes = b"") -> Secrets:
    before = secrets.require_keyring()
    after = replace(keyring, generation=before.generation + 1, keyring_id=os.urandom(16))
    opened_by = opened_by or secrets.opened_by
    refuse_rivals(read_slots(storage), before.members, before.generation, secrets.seen)
    publish_keyring(storage, after, opened_by, before.members)
    return secrets_of(after, opened_by, frozenset([after.keyring_id]))


def _open_slots(genuine: list[StoredSlot], secret: SlotSecret) -> Secrets:
    keyrings = [
        decode_keyring(open_keyring(stored.slot, secret, stored.name), stored.name) for stored in genuine
    ]
    seen = frozenset(keyring.keyring_id for keyring in keyrings)
    return secrets_of(merge_keyrings(keyrings), genuine[0].slot.slot_id, seen)


def _is_recovery(slot: Slot) -> bool:
    return isinstance(slot.derivation, ExpandedKey)


def _by_derivation(slots: list[StoredSlot]) -> list[list[StoredSlot]]:
    """Slots that one derivation serves (a slot and its earlier generations), cheapest first."""
    groups: dict[object, list[StoredSlot]] = {}
    for stored in slots:
        groups.setdefault(stored.slot.derivation, []).append(stored)
    return sorted(groups.values(), key=lambda group: _work(group[0].slot))


def _work(slot: Slot) -> int:
    derivation = slot.derivation
    return 0 if isinstance(derivation, ExpandedKey) else derivation.iterations * derivation.memory_kib


def _derive(slot: Slot, passphrase: str, recovery_key: RecoveryKey | None) -> SlotSecret | None:
    if isinstance(slot.derivation, ExpandedKey):
        return derive_from_recovery_key(slot.derivation, recovery_key) if recovery_key else None
    return derive_from_passphrase(slot.derivation, passphrase)
