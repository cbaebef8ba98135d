"""What the holder of a key knows: the keyring as it is stored, and the secrets as the engine uses them."""

import os
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import Meta

from backstay.domain.errors import DamagedObject, KeyMissing
from backstay.repository.key_slot import Bytes16, Bytes32, Member, Natural

MAX_MEMBERS = 64


class Keyring(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """All keys of a repository, and the slots that may hold them.

    Attributes:
        generation: counts the changes of keys, from 1.
        keyring_id: random; tells two changes of one generation apart.
        private_keys: X25519, newest last; the last belongs to `public_key`.
        members: the only slots that a renewed keyring is ever sealed to.
    """

    repository_id: Bytes16
    generation: Natural
    keyring_id: Bytes16
    id_key: Bytes32
    catalogue_key: Bytes32
    public_key: Bytes32
    private_keys: Annotated[tuple[Bytes32, ...], Meta(min_length=1)]
    members: Annotated[tuple[Member, ...], Meta(min_length=1, max_length=MAX_MEMBERS)]

    def __repr__(self) -> str:
        return f"Keyring(generation={self.generation}, members={self.members})"


_decoder = msgspec.msgpack.Decoder(Keyring)


def new_keyring(members: tuple[Member, ...]) -> Keyring:
    """The first keyring of a new repository: everything random."""
    private_key = os.urandom(32)
    return Keyring(
        repository_id=os.urandom(16),
        generation=1,
        keyring_id=os.urandom(16),
        id_key=os.urandom(32),
        catalogue_key=os.urandom(32),
        public_key=public_key_of(private_key),
        private_keys=(private_key,),
        members=members,
    )


def public_key_of(private_key: bytes) -> bytes:
    """The X25519 public key of a private key, both raw."""
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def encode_keyring(keyring: Keyring) -> bytes:
    """The msgpack array that slots seal."""
    return msgspec.msgpack.encode(keyring)


def decode_keyring(data: bytes, name: str) -> Keyring:
    """Read a keyring out of the slot `name`. Raises DamagedObject."""
    try:
        keyring = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DamagedObject(name, f"its keyring cannot be read ({error})") from None
    if public_key_of(keyring.private_keys[-1]) != keyring.public_key:
        raise DamagedObject(name, "the keys of its keyring do not belong together")
    return keyring


def merge_keyrings(keyrings: list[Keyring]) -> Keyring:
    """The keyring of the latest generation, with every private key that any of them holds.

    More than one is met after an interrupted or a simultaneous change of keys. A private
    key is never dropped, since data may have been written under its public key.
    """
    *older, latest = sorted(keyrings, key=lambda keyring: (keyring.generation, keyring.keyring_id))
    private_keys = dict.fromkeys(key for keyring in older for key in keyring.private_keys)
    for key in latest.private_keys:
        private_keys.pop(key, None)
    return msgspec.structs.replace(latest, private_keys=(*private_keys, *latest.private_keys))


@dataclass(frozen=True)
class Secrets:
    """The keys of an open repository.

    Attributes:
        repository_id: 16 bytes.
        id_key: keys the BLAKE3 that names blobs; 32 bytes.
        catalogue_key: seals trailers, index runs, manifests; 32 bytes.
        public_key: data keys are sealed to it; X25519, 32 bytes.
        private_keys: open data keys, newest last; empty with a write-only credential.
        keyring: what changing keys needs; None with a write-only credential.
        opened_by: id of the slot that gave the keyring.
        seen: ids of all keyrings that went into this one.
    """

    repository_id: bytes
    id_key: bytes = field(repr=False)
    catalogue_key: bytes = field(repr=False)
    public_key: bytes = field(repr=False)
    private_keys: tuple[bytes, ...] = field(default=(), repr=False)
    keyring: Keyring | None = field(default=None, repr=False)
    opened_by: bytes = field(default=b"", repr=False)
    seen: frozenset[bytes] = field(default=frozenset(), repr=False)

    @property
    def can_read(self) -> bool:
        """Whether content can be read, not only written."""
        return bool(self.private_keys)

    def require_keyring(self) -> Keyring:
        """The keyring. Raises KeyMissing with a write-only credential."""
        if self.keyring is None:
            raise KeyMissing(
                "a write-only credential cannot list or change keys",
                hint="open the repository with a passphrase or the recovery key",
            )
        return self.keyring


def secrets_of(keyring: Keyring, opened_by: bytes, seen: frozenset[bytes]) -> Secrets:
    """The secrets that a keyring gives."""
    return Secrets(
        keyring.repository_id,
        keyring.id_key,
        keyring.catalogue_key,
        keyring.public_key,
        keyring.private_keys,
        keyring,
        opened_by,
        seen,
    )
