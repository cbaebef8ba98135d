"""One key slot: an object that yields the keyring to whoever knows one passphrase or recovery key.

The secret is stretched to an X25519 private key and an authentication key. The keyring
is sealed to the slot's *public* key, so that it can be renewed for a slot without its
passphrase; the whole slot carries a MAC under its *authentication* key, which only the
owner of the passphrase and the holders of the keyring know, so that nobody else can
offer the owner a keyring of their own making.
"""

import hmac
import os
import unicodedata
from typing import Annotated, NamedTuple

import msgspec
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Meta

from backstay.domain.errors import DamagedObject, UsageError
from backstay.repository.encryption import HPKE_SUITE, KEY_BYTES, MAGIC_BYTES, check_magic
from backstay.repository.recovery_sheet import RecoveryKey
from backstay.storage.interface import Buffer

Bytes16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Label = Annotated[str, Meta(min_length=1, max_length=64)]
Natural = Annotated[int, Meta(ge=0, lt=2**53)]

MAX_SLOT_BYTES = 256 * 1024
RECOVERY_LABEL = "recovery key"

_MAGIC = b"BSKEYSL1"
_MAC_BYTES = 32
_KEYRING_CONTEXT = b"backstay 1 keyring"
_RECOVERY_CONTEXT = b"backstay 1 recovery slot"


class Argon2Cost(NamedTuple):
    """What one guess at a passphrase costs: Argon2id's t, m (in KiB) and p (RFC 9106)."""

    iterations: int = 3
    memory_kib: int = 64 * 1024
    lanes: int = 1


RECOMMENDED_COST = Argon2Cost()
"""RFC 9106's second recommended option, in one lane: 64 MiB, three passes."""

LOWEST_COST = Argon2Cost(2, 19 * 1024, 1)
"""The least a new slot may cost (OWASP Password Storage Cheat Sheet)."""


class StretchedPassphrase(
    msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag="argon2id"
):
    """Argon2id (RFC 9106) over a passphrase. The bounds keep a forged slot from exhausting memory."""

    salt: Bytes16
    iterations: Annotated[int, Meta(ge=1, le=16)]
    memory_kib: Annotated[int, Meta(ge=128, le=1024 * 1024)]
    lanes: Annotated[int, Meta(ge=1, le=16)]


class ExpandedKey(
    msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag="hkdf-sha256"
):
    """HKDF-SHA256 (RFC 5869) over a recovery key, whose 256 random bits need no stretching."""

    salt: Bytes16


Derivation = StretchedPassphrase | ExpandedKey


class SlotSecret(NamedTuple):
    """What a passphrase or a recovery key becomes for one slot."""

    private_key: bytes
    auth_key: bytes

    @property
    def public_key(self) -> bytes:
        """The X25519 public key that belongs to `private_key`."""
        return X25519PrivateKey.from_private_bytes(self.private_key).public_key().public_bytes_raw()


class Member(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A slot as the keyring knows it: all that is needed to write the slot again."""

    slot_id: Bytes16
    label: Label
    created: Natural
    derivation: Derivation
    public_key: Bytes32
    auth_key: Bytes32

    def __repr__(self) -> str:
        return f"Member({self.label!r})"

    @property
    def is_recovery(self) -> bool:
        """Whether it opens with a recovery key, not a passphrase."""
        return isinstance(self.derivation, ExpandedKey)


class Slot(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A slot as it is stored; `generation` counts the changes of keys, `keyring_id` names this one."""

    slot_id: Bytes16
    label: Label
    created: Natural
    derivation: Derivation
    public_key: Bytes32
    generation: Natural
    keyring_id: Bytes16
    sealed_keyring: bytes


_decoder = msgspec.msgpack.Decoder(Slot)


def new_passphrase_member(label: str, passphrase: str, created: int, cost: Argon2Cost) -> Member:
    """A slot to be, for `passphrase`.

    Raises:
        UsageError: an empty passphrase, an impossible label, or a cost below `LOWEST_COST`.
    """
    if not 1 <= len(label) <= 64 or not label.isprintable() or label == RECOVERY_LABEL:
        raise UsageError(
            f"{label!r} cannot be the name of a passphrase", hint="use 1 to 64 printable characters"
        )
    if any(given < least for given, least in zip(cost, LOWEST_COST, strict=True)):
        raise UsageError(f"{cost} makes passphrases too cheap to guess", hint=f"use at least {LOWEST_COST}")
    try:
        derivation = msgspec.convert(("argon2id", os.urandom(16), *cost), StretchedPassphrase)
    except msgspec.ValidationError as error:
        raise UsageError(f"{cost} is more than Backstay accepts: {error}") from None
    secret = derive_from_passphrase(derivation, passphrase)
    return Member(os.urandom(16), label, created, derivation, secret.public_key, secret.auth_key)


def new_recovery_member(recovery_key: RecoveryKey, created: int) -> Member:
    """A slot to be, for `recovery_key`."""
    derivation = ExpandedKey(os.urandom(16))
    secret = derive_from_recovery_key(derivation, recovery_key)
    return Member(os.urandom(16), RECOVERY_LABEL, created, derivation, secret.public_key, secret.auth_key)


def derive_from_passphrase(derivation: StretchedPassphrase, passphrase: str) -> SlotSecret:
    """Stretch the UTF-8 bytes of `passphrase` in Unicode form NFC. Raises UsageError for an empty one."""
    try:
        secret = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError("the passphrase is not valid Unicode text") from None
    if not secret:
        raise UsageError("the passphrase is empty", hint="give one of several words")
    stretched = Argon2id(
        salt=derivation.salt,
        length=2 * KEY_BYTES,
        iterations=derivation.iterations,
        lanes=derivation.lanes,
        memory_cost=derivation.memory_kib,
    ).derive(secret)
    return SlotSecret(stretched[:KEY_BYTES], stretched[KEY_BYTES:])


def derive_from_recovery_key(derivation: ExpandedKey, recovery_key: RecoveryKey) -> SlotSecret:
    """Expand the 32 bytes of the recovery key."""
    expand = HKDF(algorithm=SHA256(), length=2 * KEY_BYTES, salt=derivation.salt, info=_RECOVERY_CONTEXT)
    expanded = expand.derive(recovery_key.secret)
    return SlotSecret(expanded[:KEY_BYTES], expanded[KEY_BYTES:])


def encode_slot(member: Member, generation: int, keyring_id: bytes, keyring: bytes) -> bytes:
    """A slot's stored bytes: magic, msgpack of `Slot`, MAC (BLAKE3 keyed with the authentication key)."""
    recipient = X25519PublicKey.from_public_bytes(member.public_key)
    slot = Slot(
        member.slot_id,
        member.label,
        member.created,
        member.derivation,
        member.public_key,
        generation,
        keyring_id,
        HPKE_SUITE.encrypt(keyring, recipient, _KEYRING_CONTEXT + member.slot_id),
    )
    body = _MAGIC + msgspec.msgpack.encode(slot)
    return body + blake3(body, key=member.auth_key).digest()


def decode_slot(data: Buffer, name: str) -> Slot:
    """Read a slot; whether it is authentic `is_authentic` tells, once an authentication key is known.

    Raises:
        UnsupportedVersion, DamagedObject: it is no slot that this version can read.
    """
    check_magic(_MAGIC, data, name)
    try:
        slot = _decoder.decode(memoryview(data)[MAGIC_BYTES:-_MAC_BYTES])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DamagedObject(name, f"it is not a key slot ({error})") from None
    if not slot.label.isprintable():
        raise DamagedObject(name, "its label is not printable")
    return slot


def is_authentic(data: Buffer, auth_key: bytes) -> bool:
    """Whether the slot's bytes were written by someone who knew its authentication key."""
    body, mac = memoryview(data)[:-_MAC_BYTES], bytes(data[-_MAC_BYTES:])
    return hmac.compare_digest(blake3(body, key=auth_key).digest(), mac)


def open_keyring(slot: Slot, secret: SlotSecret, name: str) -> bytes:
    """The bytes of the keyring. Raises DamagedObject."""
    private_key = X25519PrivateKey.from_private_bytes(secret.private_key)
    try:
        return HPKE_SUITE.decrypt(slot.sealed_keyring, private_key, _KEYRING_CONTEXT + slot.slot_id)
    except InvalidTag:
        raise DamagedObject(name, "the seal of its keyring does not fit") from None
