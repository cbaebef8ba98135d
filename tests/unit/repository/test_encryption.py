"""Envelopes and frame seals: what was sealed opens, and nothing else does."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backstay.domain.errors import DamagedObject, KeyMissing, UnsupportedVersion
from backstay.repository.encryption import (
    ENVELOPE_OVERHEAD,
    SEALED_KEY_BYTES,
    FrameKey,
    FrameOpener,
    blob_hasher,
    frame_nonce,
    seal,
    unseal,
)

KEY = bytes(range(32))
KIND = b"BSTESTS1"
REPOSITORY = b"repository id 16"


def key_pair() -> tuple[bytes, bytes]:
    """A fresh private key and its public key."""
    private = X25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()


class TestEnvelope:
    """`seal` and `unseal`."""

    @pytest.mark.parametrize("plaintext", [b"", b"x", bytes(100_000)])
    def test_round_trip(self, plaintext: bytes) -> None:
        """What was sealed opens to the same bytes, at a fixed overhead."""
        sealed = seal(KEY, KIND, memoryview(plaintext))
        assert len(sealed) == len(plaintext) + ENVELOPE_OVERHEAD
        assert unseal(KEY, KIND, sealed, "it") == plaintext

    def test_layout(self) -> None:
        """A stranger opens an envelope with nothing but its specification."""
        sealed = bytes(seal(KEY, KIND, b"content"))
        magic, salt, rest = sealed[:8], sealed[8:40], sealed[40:]
        one_time_key = blake3(magic + salt, key=KEY).digest()
        assert magic == KIND
        assert AESGCM(one_time_key).decrypt(bytes(12), rest, KIND) == b"content"

    def test_two_seals_differ(self) -> None:
        """The same content sealed twice shares no salt and no ciphertext."""
        one, two = seal(KEY, KIND, bytes(64)), seal(KEY, KIND, bytes(64))
        assert one[8:40] != two[8:40]
        assert one[40:] != two[40:]

    def test_every_flipped_bit_is_noticed(self) -> None:
        """No single flipped bit goes unnoticed; in the version digit it may look like a newer version."""
        sealed = bytes(seal(KEY, KIND, b"content"))
        for bit in range(len(sealed) * 8):
            altered = bytearray(sealed)
            altered[bit // 8] ^= 1 << bit % 8
            with pytest.raises((DamagedObject, UnsupportedVersion)):
                unseal(KEY, KIND, altered, "it")

    def test_every_truncation_is_noticed(self) -> None:
        """No prefix of an envelope, and nothing longer, opens."""
        sealed = bytes(seal(KEY, KIND, b"content"))
        for size in range(len(sealed)):
            with pytest.raises(DamagedObject, match=r"^it is damaged"):
                unseal(KEY, KIND, sealed[:size], "it")
        with pytest.raises(DamagedObject):
            unseal(KEY, KIND, sealed + b"\0", "it")

    def test_other_key(self) -> None:
        """Another key does not open it."""
        with pytest.raises(DamagedObject):
            unseal(bytes(32), KIND, seal(KEY, KIND, b"content"), "it")

    def test_other_kind(self) -> None:
        """An object of another kind is not taken for this one, even with its magic rewritten."""
        sealed = seal(KEY, b"BSOTHER1", b"content")
        with pytest.raises(DamagedObject, match="does not begin with BSTESTS1"):
            unseal(KEY, KIND, sealed, "it")
        sealed[:8] = KIND
        with pytest.raises(DamagedObject):
            unseal(KEY, KIND, sealed, "it")

    def test_newer_version(self) -> None:
        """A later version says so, and asks for an update."""
        with pytest.raises(UnsupportedVersion, match="newer version") as caught:
            unseal(KEY, KIND, seal(KEY, b"BSTESTS2", b"content"), "it")
        assert "update" in caught.value.hint

    def test_older_version_is_no_newer_one(self) -> None:
        """A version before the first is damage, not the future."""
        with pytest.raises(DamagedObject):
            unseal(KEY, KIND, seal(KEY, b"BSTESTS0", b"content"), "it")


class TestFrames:
    """`FrameKey` and `FrameOpener`."""

    def test_round_trip(self) -> None:
        """The private key opens every frame of a session, in any order."""
        private, public = key_pair()
        key = FrameKey.new(public, REPOSITORY)
        frames = {number: key.seal_frame(number, f"frame {number}".encode()) for number in (3, 0, 2**40, 1)}
        opener = FrameOpener([private], REPOSITORY)
        assert len(key.sealed) == SEALED_KEY_BYTES
        for number, data in frames.items():
            assert opener.open_frame(key.sealed, frame_nonce(number), data) == f"frame {number}".encode()

    def test_write_only_cannot_read(self) -> None:
        """Without a private key a frame stays closed, and the error says which key is missing."""
        _, public = key_pair()
        key = FrameKey.new(public, REPOSITORY)
        with pytest.raises(KeyMissing, match="write-only"):
            FrameOpener([], REPOSITORY).open_frame(key.sealed, frame_nonce(0), key.seal_frame(0, b"x"))

    def test_old_private_keys_read_old_sessions(self) -> None:
        """After a rotation both old and new sessions are read."""
        (old_private, old_public), (new_private, new_public) = key_pair(), key_pair()
        opener = FrameOpener([old_private, new_private], REPOSITORY)
        for public in (old_public, new_public):
            key = FrameKey.new(public, REPOSITORY)
            assert opener.open_frame(key.sealed, frame_nonce(0), key.seal_frame(0, b"x")) == b"x"

    def test_wrong_private_key(self) -> None:
        """Another private key opens nothing."""
        (_, public), (other, _) = key_pair(), key_pair()
        key = FrameKey.new(public, REPOSITORY)
        with pytest.raises(DamagedObject, match=r"^packs/ab is damaged"):
            FrameOpener([other], REPOSITORY).open_frame(
                key.sealed, frame_nonce(0), key.seal_frame(0, b"x"), "packs/ab"
            )

    def test_key_is_bound_to_the_repository(self) -> None:
        """A sealed key of one repository is none in another, even with the same key pair."""
        private, public = key_pair()
        key = FrameKey.new(public, REPOSITORY)
        with pytest.raises(DamagedObject):
            FrameOpener([private], bytes(16)).open_frame(key.sealed, frame_nonce(0), key.seal_frame(0, b"x"))

    def test_every_flipped_bit_is_noticed(self) -> None:
        """A flipped bit in sealed key, nonce or frame is damage."""
        private, public = key_pair()
        key = FrameKey.new(public, REPOSITORY)
        parts = [key.sealed, frame_nonce(7), key.seal_frame(7, b"content")]
        opener = FrameOpener([private], REPOSITORY)
        assert opener.open_frame(*parts) == b"content"
        for part in range(3):
            for bit in range(len(parts[part]) * 8):
                altered = list(parts)
                flipped = bytearray(parts[part])
                flipped[bit // 8] ^= 1 << bit % 8
                altered[part] = bytes(flipped)
                with pytest.raises(DamagedObject):
                    opener.open_frame(*altered)

    @pytest.mark.parametrize("sealed", [b"", b"short", bytes(80), bytes(10_000)])
    def test_impossible_sealed_key(self, sealed: bytes) -> None:
        """A sealed key of any size and content is damage, never a crash."""
        private, _ = key_pair()
        with pytest.raises(DamagedObject):
            FrameOpener([private], REPOSITORY).open_frame(sealed, frame_nonce(0), bytes(20))

    @pytest.mark.parametrize(("nonce", "data"), [(b"", bytes(40)), (bytes(12), b""), (bytes(13), bytes(40))])
    def test_impossible_sizes(self, nonce: bytes, data: bytes) -> None:
        """A nonce or frame of an impossible size is damage."""
        private, public = key_pair()
        key = FrameKey.new(public, REPOSITORY)
        with pytest.raises(DamagedObject):
            FrameOpener([private], REPOSITORY).open_frame(key.sealed, nonce, data)

    def test_unusable_public_key(self) -> None:
        """A public key that nothing can be sealed to is named as such."""
        with pytest.raises(DamagedObject, match="public key"):
            FrameKey.new(bytes(32), REPOSITORY)

    def test_no_number_twice(self) -> None:
        """A frame number is refused the second time, whatever came between."""
        key = FrameKey.new(key_pair()[1], REPOSITORY)
        for number in (0, 2, 1, 5):
            key.seal_frame(number, b"x")
        for number in (0, 1, 2, 5):
            with pytest.raises(ValueError, match="used before"):
                key.seal_frame(number, b"x")
        key.seal_frame(3, b"x")

    def test_no_number_twice_after_a_lasting_gap(self) -> None:
        """Gaps that are never filled neither exhaust the memory of used numbers nor weaken it."""
        key = FrameKey.new(key_pair()[1], REPOSITORY)
        numbers = range(1, 20_000, 2)
        for number in numbers:
            key.seal_frame(number, b"")
        for number in numbers:
            with pytest.raises(ValueError, match="used before"):
                key.seal_frame(number, b"")
        key.seal_frame(20_000, b"")

    def test_one_of_many_threads_gets_a_number(self) -> None:
        """Of threads that race for the same numbers, exactly one seals each."""
        key = FrameKey.new(key_pair()[1], REPOSITORY)
        start = threading.Barrier(4)

        def race() -> int:
            start.wait()
            won = 0
            for number in range(500):
                try:
                    key.seal_frame(number, b"x")
                    won += 1
                except ValueError:
                    pass
            return won

        with ThreadPoolExecutor(4) as pool:
            assert sum(future.result() for future in [pool.submit(race) for _ in range(4)]) == 500

    def test_refuses_a_forked_process(self) -> None:
        """A forked copy of the key, which would repeat nonces, seals nothing."""
        key = FrameKey.new(key_pair()[1], REPOSITORY)
        child = os.fork()
        if child == 0:
            try:
                key.seal_frame(0, b"x")
            except ValueError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


class TestBlobIds:
    """`blob_hasher`."""

    def test_is_keyed_blake3(self) -> None:
        """A blob's id is BLAKE3 keyed with the id key, for any buffer."""
        blob_id = blob_hasher(KEY)
        for content in (b"", b"x", os.urandom(100_000)):
            expected = blake3(content, key=KEY).digest()
            assert blob_id(content) == blob_id(memoryview(content)) == expected

    def test_ids_are_independent(self) -> None:
        """Hashing one blob leaves no trace in the next one's id, also between threads."""
        blob_id = blob_hasher(KEY)
        contents = [os.urandom(5_000) for _ in range(200)]
        with ThreadPoolExecutor(4) as pool:
            ids = list(pool.map(blob_id, contents))
        assert ids == [blake3(content, key=KEY).digest() for content in contents]

    def test_other_key_other_id(self) -> None:
        """Two repositories name the same content differently."""
        assert blob_hasher(KEY)(b"x") != blob_hasher(bytes(32))(b"x")
