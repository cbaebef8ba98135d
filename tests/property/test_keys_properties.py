"""Whatever bytes lie where keys should be, and whatever is typed, only Backstay's own errors come out."""

import functools

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.domain.errors import BackstayError, DamagedObject, UnsupportedVersion, WrongPassphrase
from backstay.repository.encryption import seal, unseal
from backstay.repository.key_slot import LOWEST_COST, decode_slot
from backstay.repository.keyring import decode_keyring, encode_keyring
from backstay.repository.keys import (
    RecoveryKey,
    Secrets,
    create_keys,
    export_credential,
    load_credential,
    open_with_passphrase,
)
from backstay.repository.recovery_sheet import resembles_recovery_key
from backstay.testing.memory_storage import MemoryStorage

KEY = bytes(32)
KIND = b"BSTESTS1"
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=40)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=10) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@functools.cache
def repository() -> tuple[MemoryStorage, Secrets, RecoveryKey]:
    """Made once; nobody changes it."""
    storage = MemoryStorage()
    return storage, *create_keys(storage, "first", cost=LOWEST_COST)


def slots() -> list[bytes]:
    """The bytes of its two slots."""
    storage, _, _ = repository()
    return [storage.get(info.name) for info in storage.list("keys/")]


def mutations(whole: bytes) -> st.SearchStrategy[bytes]:
    """`whole` with a byte changed, cut short, or with something put in or left out."""
    at = st.integers(0, len(whole) - 1)
    changed = st.builds(
        lambda i, mask: whole[:i] + bytes([whole[i] ^ mask]) + whole[i + 1 :], at, st.integers(1, 255)
    )
    cut = at.map(lambda i: whole[:i])
    inserted = st.builds(
        lambda i, extra: whole[:i] + extra + whole[i:], at, st.binary(min_size=1, max_size=9)
    )
    removed = st.builds(lambda i, n: whole[:i] + whole[i + n :], at, st.integers(1, 40))
    return changed | cut | inserted | removed


@given(st.binary(max_size=5000))
def test_envelope_round_trip(plaintext: bytes) -> None:
    """Any content comes back from its envelope."""
    assert unseal(KEY, KIND, seal(KEY, KIND, plaintext), "it") == plaintext


@given(mutations(bytes(seal(KEY, KIND, b"some content"))))
def test_altered_envelope(data: bytes) -> None:
    """No altered envelope opens."""
    with pytest.raises((DamagedObject, UnsupportedVersion)):
        unseal(KEY, KIND, data, "it")


@given(st.binary(max_size=200))
def test_arbitrary_envelope(data: bytes) -> None:
    """Arbitrary bytes are no envelope."""
    with pytest.raises(DamagedObject):
        unseal(KEY, KIND, data, "it")


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"BSKEYSL1" + tail))
def test_arbitrary_slot(data: bytes) -> None:
    """Arbitrary bytes are no slot."""
    with pytest.raises(BackstayError):
        decode_slot(data, "keys/x")


@given(anything)
def test_arbitrary_structure_as_slot_or_keyring(value: object) -> None:
    """Well-formed msgpack of any other structure is neither slot nor keyring."""
    packed = msgspec.msgpack.encode(value)
    with pytest.raises(DamagedObject):
        decode_slot(b"BSKEYSL1" + packed + bytes(32), "keys/x")
    with pytest.raises(DamagedObject):
        decode_keyring(packed, "keys/x")


@settings(deadline=None)
@given(st.data())
def test_altered_keyring(data: st.DataObject) -> None:
    """An altered keyring is damage, or still a keyring whose reading keys belong together."""
    _, secrets, _ = repository()
    altered = data.draw(mutations(encode_keyring(secrets.require_keyring())))
    try:
        keyring = decode_keyring(altered, "keys/x")
    except DamagedObject:
        return
    assert keyring.public_key


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_altered_slot_never_opens(data: st.DataObject) -> None:
    """An altered slot, stored under the right name for its new bytes, gives no secrets and no crash."""
    _, _, recovery_key = repository()
    altered = data.draw(st.sampled_from(slots()).flatmap(mutations))
    storage = MemoryStorage()
    storage.put(f"keys/{blake3(altered).hexdigest()}", [altered])
    for text in ("first", str(recovery_key)):
        with pytest.raises(BackstayError):
            open_with_passphrase(storage, text)


@given(st.binary(min_size=32, max_size=32), st.data())
def test_recovery_key_round_trip(secret: bytes, data: st.DataObject) -> None:
    """However a recovery key is spaced and cased, it reads back."""
    text = str(RecoveryKey(secret)).replace("-", "")
    gaps = st.lists(
        st.sampled_from(["", "", "", " ", "-", "\n", "\t"]), min_size=len(text), max_size=len(text)
    )
    lower = st.lists(st.booleans(), min_size=len(text), max_size=len(text))
    typed = "".join(
        (letter.lower() if small else letter) + gap
        for letter, gap, small in zip(text, data.draw(gaps), data.draw(lower), strict=True)
    )
    assert RecoveryKey.parse(typed) == RecoveryKey(secret)
    assert resembles_recovery_key(typed)


@given(st.text() | st.text("0123456789abcdefOIl- *U", min_size=60, max_size=80))
def test_arbitrary_recovery_key(text: str) -> None:
    """Arbitrary text is no recovery key, and the refusal says what to do."""
    resembles_recovery_key(text)
    with pytest.raises(WrongPassphrase) as caught:
        RecoveryKey.parse(text)
    assert caught.value.hint


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_credential_round_trip(location: str) -> None:
    """A credential keeps any location."""
    _, secrets, _ = repository()
    loaded, found = load_credential(export_credential(secrets, location), "file")
    assert (loaded.public_key, found) == (secrets.public_key, location)


@given(st.data())
def test_altered_credential(data: st.DataObject) -> None:
    """An altered credential is refused, or what was altered is no part of it."""
    _, secrets, _ = repository()
    altered = data.draw(mutations(export_credential(secrets, "here")))
    try:
        loaded, location = load_credential(altered, "file")
    except BackstayError:
        return
    assert (loaded.id_key, loaded.public_key, location) == (secrets.id_key, secrets.public_key, "here")


@given(st.binary(max_size=300))
def test_arbitrary_credential(body: bytes) -> None:
    """Arbitrary bytes between the armour lines are no credential."""
    data = (
        b"-----BEGIN BACKSTAY WRITE-ONLY CREDENTIAL-----"
        + body
        + b"-----END BACKSTAY WRITE-ONLY CREDENTIAL-----"
    )
    with pytest.raises(BackstayError):
        load_credential(data, "file")
