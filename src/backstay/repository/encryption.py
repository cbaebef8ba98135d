"""Seals: how bytes of a repository are made unreadable, and every change to them noticed.

Two seals exist. The *envelope* (`seal`, `unseal`) closes every small object with the
catalogue key, which agents and the server hold. The *frame seal* (`FrameKey`,
`FrameOpener`) closes content with a random key per writing session, which travels
beside the frames sealed to the repository's public key (HPKE, RFC 9180), so that who
wrote them cannot read them again.

AES-256-GCM is NIST SP 800-38D; no (key, nonce) pair is ever used twice, see each seal.
"""

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from threading import Lock

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backstay.domain.errors import DamagedObject, KeyMissing, UnsupportedVersion
from backstay.storage.interface import Buffer

BlobHasher = Callable[[Buffer], bytes]

KEY_BYTES = 32
TAG_BYTES = 16
NONCE_BYTES = 12
MAGIC_BYTES = 8
SALT_BYTES = 32
ENVELOPE_OVERHEAD = MAGIC_BYTES + SALT_BYTES + TAG_BYTES
SEALED_KEY_BYTES = 80
MAX_SEALED_BYTES = 2**31 - 1
"""AES-GCM in the cryptography package takes a message of at most this many bytes."""

HPKE_SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)

_ZERO_NONCE = bytes(NONCE_BYTES)
_FRAME_KEY_CONTEXT = b"backstay 1 frame key"
_FRAME_DATA = b"BSFRAME1"
_SEALED_KEYS_REMEMBERED = 512
_NUMBERS_REMEMBERED = 4096


def check_magic(kind: bytes, data: Buffer, name: str) -> None:
    """Require that `data` starts with `kind`: seven letters and a version digit.

    Raises:
        UnsupportedVersion: the letters fit and the version is a later one.
        DamagedObject: anything else.
    """
    found = bytes(data[:MAGIC_BYTES])
    if found == kind:
        return
    if found[:-1] == kind[:-1] and found[-1:].isdigit() and found[-1] > kind[-1]:
        raise UnsupportedVersion(
            f"{name} was written by a newer version of Backstay (format {found.decode('ascii')})",
            hint="update Backstay on this machine",
        )
    raise DamagedObject(name, f"it does not begin with {kind.decode('ascii')}")


def seal(key: bytes, kind: bytes, plaintext: Buffer) -> bytearray:
    """Close `plaintext` in an envelope: magic, salt, ciphertext, tag.

    The AES-256-GCM key is the BLAKE3 hash, keyed with `key`, of magic and salt; the
    nonce is zero, for the salt (32 random bytes) makes each such key a one-time key.
    The magic is also the associated data.

    Args:
        key: 32 bytes, usually the catalogue key.
        kind: the magic, 8 bytes, whose last is the version digit, as `b"BSMANIF1"`.
        plaintext: at most 2³¹ − 1 bytes; not copied.
    """
    assert len(kind) == MAGIC_BYTES
    size = memoryview(plaintext).nbytes
    sealed = bytearray(ENVELOPE_OVERHEAD + size)
    sealed[:MAGIC_BYTES] = kind
    sealed[MAGIC_BYTES : MAGIC_BYTES + SALT_BYTES] = os.urandom(SALT_BYTES)
    view = memoryview(sealed)
    one_time_key = blake3(view[: MAGIC_BYTES + SALT_BYTES], key=key).digest()
    AESGCM(one_time_key).encrypt_into(_ZERO_NONCE, plaintext, kind, view[MAGIC_BYTES + SALT_BYTES :])
    return sealed


def unseal(key: bytes, kind: bytes, data: Buffer, name: str) -> bytes:
    """What `seal` closed under the same `key` and `kind`; `name` is for error messages.

    Raises:
        UnsupportedVersion: the same kind of object in a later version.
        DamagedObject: any byte is missing, added or altered, or the key is another one.
    """
    check_magic(kind, data, name)
    if not ENVELOPE_OVERHEAD <= len(data) <= ENVELOPE_OVERHEAD + MAX_SEALED_BYTES - TAG_BYTES:
        raise DamagedObject(name, f"{len(data)} bytes is no possible size of it")
    view = memoryview(data)
    one_time_key = blake3(view[: MAGIC_BYTES + SALT_BYTES], key=key).digest()
    try:
        return AESGCM(one_time_key).decrypt(_ZERO_NONCE, view[MAGIC_BYTES + SALT_BYTES :], kind)
    except InvalidTag:
        raise DamagedObject(name, "its seal does not fit its content") from None


def frame_nonce(number: int) -> bytes:
    """The nonce of frame `number`: 12 bytes, big-endian."""
    return number.to_bytes(NONCE_BYTES, "big")


class FrameKey:
    """The random data key of one writing session. Safe to use from several threads.

    Attributes:
        sealed: the key, sealed to the repository's public key; 80 bytes: 32 of
            encapsulated key, then 48 of ciphertext and tag (RFC 9180, base mode).
    """

    def __init__(self, key: bytes, sealed: bytes) -> None:
        self.sealed = sealed
        self._cipher = AESGCM(key)
        self._process = os.getpid()
        self._lock = Lock()
        self._floor = 0
        self._used: set[int] = set()

    @classmethod
    def new(cls, public_key: bytes, repository_id: bytes) -> "FrameKey":
        """A fresh key that only the holder of the private key of `public_key` can use to read.

        Raises:
            DamagedObject: `public_key` is none that anything can be sealed to.
        """
        key = os.urandom(KEY_BYTES)
        try:
            recipient = X25519PublicKey.from_public_bytes(public_key)
            sealed = HPKE_SUITE.encrypt(key, recipient, _FRAME_KEY_CONTEXT + repository_id)
        except ValueError:
            raise DamagedObject("the public key of the repository", "nothing can be sealed to it") from None
        return cls(key, sealed)

    def seal_frame(self, number: int, plaintext: Buffer) -> bytes:
        """Ciphertext and tag of a frame, under the nonce `frame_nonce(number)`.

        Draw the numbers of a session from one counter; they may come in any order. A
        number counts as used also where sealing failed.

        Raises:
            ValueError: `number` was used before (or is older than the last few
                thousand), or the process was forked: both would repeat a nonce, which
                breaks AES-GCM.
        """
        self._claim(number)
        return self._cipher.encrypt(frame_nonce(number), plaintext, _FRAME_DATA)

    def _claim(self, number: int) -> None:
        if os.getpid() != self._process:
            raise ValueError("a frame key cannot be used in a forked process")
        with self._lock:
            if number < self._floor or number in self._used:
                raise ValueError(f"frame number {number} was used before")
            self._used.add(number)
            while self._floor in self._used:
                self._used.remove(self._floor)
                self._floor += 1
            if len(self._used) > _NUMBERS_REMEMBERED:
                # A gap was left for good: forget the older half, and refuse all below it.
                kept = sorted(self._used)[_NUMBERS_REMEMBERED // 2 :]
                self._floor = kept[0] + 1
                self._used = set(kept[1:])


class FrameOpener:
    """Opens frames of any session of a repository. Safe to use from several threads.

    Args:
        private_keys: X25519 private keys, newest last; empty for a write-only credential.
        repository_id: the repository that the sealed keys belong to.
    """

    def __init__(self, private_keys: Sequence[bytes], repository_id: bytes) -> None:
        self._private_keys = [X25519PrivateKey.from_private_bytes(key) for key in reversed(private_keys)]
        self._context = _FRAME_KEY_CONTEXT + repository_id
        self._cipher = lru_cache(maxsize=_SEALED_KEYS_REMEMBERED)(self._unwrap)

    def open_frame(self, sealed_key: bytes, nonce: bytes, data: Buffer, name: str = "a frame") -> bytes:
        """The plaintext of a frame; `name` says in errors which object it is part of.

        Raises:
            KeyMissing: there is no private key at hand.
            DamagedObject: the sealed key or the frame is not what was written.
        """
        cipher = self._cipher(bytes(sealed_key), name)
        if cipher is None:
            raise DamagedObject(name, "no private key of this repository opens its data key")
        if len(nonce) != NONCE_BYTES or not TAG_BYTES <= len(data) <= MAX_SEALED_BYTES:
            raise DamagedObject(name, "a frame of it has an impossible size")
        try:
            return cipher.decrypt(nonce, data, _FRAME_DATA)
        except InvalidTag:
            raise DamagedObject(name, "the seal of a frame does not fit its content") from None

    def data_key(self, sealed_key: bytes, name: str = "a frame") -> bytes | None:
        """The data key of a writing session, 32 bytes, or None where no private key opens it.

        Raises:
            KeyMissing: there is no private key at hand.
        """
        if not self._private_keys:
            raise KeyMissing(
                f"{name} cannot be read with a write-only credential",
                hint="open the repository with a passphrase or the recovery key",
            )
        for private_key in self._private_keys:
            try:
                key = HPKE_SUITE.decrypt(sealed_key, private_key, self._context)
            except InvalidTag:
                continue
            return key if len(key) == KEY_BYTES else None
        return None

    def _unwrap(self, sealed_key: bytes, name: str) -> AESGCM | None:
        key = self.data_key(sealed_key, name)
        return AESGCM(key) if key is not None else None


def blob_hasher(id_key: bytes) -> BlobHasher:
    """A function from a blob's content to its id: BLAKE3 keyed with the repository's id key, 32 bytes."""
    fresh = blake3(key=id_key).copy

    def blob_id(data: Buffer) -> bytes:
        return fresh().update(data).digest()

    return blob_id
