"""Keys: who can open a repository, and that no change of keys ever locks anyone out by accident."""

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import NamedTuple

import msgspec
import pytest
from blake3 import blake3

from backstay.domain.errors import (
    AlreadyRunning,
    DamagedObject,
    KeyMissing,
    NoRepository,
    RepositoryExists,
    StorageError,
    UnsupportedVersion,
    UsageError,
    WrongPassphrase,
)
from backstay.repository.encryption import FrameKey, FrameOpener, frame_nonce
from backstay.repository.key_slot import LOWEST_COST, Argon2Cost, Slot, encode_slot, new_passphrase_member
from backstay.repository.keyring import encode_keyring
from backstay.repository.keys import (
    RecoveryKey,
    Secrets,
    add_passphrase,
    change_passphrase,
    create_keys,
    export_credential,
    list_slots,
    load_credential,
    open_with_passphrase,
    repair_slots,
    revoke,
    rotate_recovery_key,
)
from backstay.storage.interface import Buffer, ObjectInfo, Storage
from backstay.testing.faulty_storage import FaultyStorage
from backstay.testing.memory_storage import MemoryStorage
from backstay.testing.power_cut_storage import PowerCut, PowerCutStorage


def create(storage: Storage, passphrase: str = "first") -> tuple[Secrets, RecoveryKey]:
    """Keys with a passphrase that is as cheap as allowed."""
    return create_keys(storage, passphrase, cost=LOWEST_COST)


def add(storage: Storage, secrets: Secrets, label: str, passphrase: str) -> Secrets:
    """Add a passphrase that is as cheap as allowed."""
    return add_passphrase(storage, secrets, label, passphrase, cost=LOWEST_COST)


def change(storage: Storage, secrets: Secrets, label: str, passphrase: str) -> Secrets:
    """Change to a passphrase that is as cheap as allowed."""
    return change_passphrase(storage, secrets, label, passphrase, cost=LOWEST_COST)


def names(storage: Storage) -> list[str]:
    """The objects under keys/."""
    return sorted(info.name for info in storage.list("keys/"))


def problems(storage: Storage, secrets: Secrets) -> list[str]:
    """What the listing finds wrong."""
    return [slot.problem for slot in list_slots(storage, secrets) if slot.problem]


def put_slot(storage: Storage, data: bytes) -> str:
    """Put `data` where a slot with these bytes lies; returns the name."""
    name = f"keys/{blake3(data).hexdigest()}"
    storage.put(name, [data])
    return name


def opens(storage: Storage, passphrase: str) -> bool:
    """Whether the passphrase opens the repository."""
    try:
        open_with_passphrase(storage, passphrase)
    except WrongPassphrase:
        return False
    return True


def copy_of(storage: Storage) -> MemoryStorage:
    """Another storage with the same key slots."""
    copy = MemoryStorage()
    for name in names(storage):
        copy.put(name, [storage.get(name)])
    return copy


class TestOpening:
    """Making keys, and opening with them."""

    def test_passphrase_and_recovery_key_give_the_same_secrets(self) -> None:
        """Both ways in lead to the keys that were made."""
        storage = MemoryStorage()
        made, recovery_key = create(storage)
        for text in ("first", str(recovery_key), str(recovery_key).lower().replace("-", " ")):
            opened = open_with_passphrase(storage, text)
            assert opened.can_read
            for part in ("repository_id", "id_key", "catalogue_key", "public_key", "private_keys"):
                assert getattr(opened, part) == getattr(made, part)

    def test_defaults_open(self) -> None:
        """The recommended Argon2id cost is accepted when opening."""
        storage = MemoryStorage()
        create_keys(storage, "first")
        assert opens(storage, "first")

    def test_two_repositories_share_nothing(self) -> None:
        """The same passphrase makes wholly different keys."""
        one, _ = create(MemoryStorage())
        two, _ = create(MemoryStorage())
        for part in ("repository_id", "id_key", "catalogue_key", "public_key", "private_keys"):
            assert getattr(one, part) != getattr(two, part)

    @pytest.mark.parametrize("wrong", ["First", "first ", "x", "ﬁrst"])
    def test_wrong_passphrase(self, wrong: str) -> None:
        """Another passphrase, however similar, is refused with a hint."""
        storage = MemoryStorage()
        create(storage)
        with pytest.raises(WrongPassphrase) as caught:
            open_with_passphrase(storage, wrong)
        assert caught.value.hint

    def test_mistyped_recovery_key(self) -> None:
        """A recovery key with one wrong letter says which group to look at."""
        storage = MemoryStorage()
        _, recovery_key = create(storage)
        groups = recovery_key.groups()
        groups[4] = groups[4][:4] + ("0" if groups[4][4] != "0" else "2")
        with pytest.raises(WrongPassphrase) as caught:
            open_with_passphrase(storage, "-".join(groups))
        assert "group 5 of 13" in caught.value.hint

    def test_recovery_key_of_another_repository(self) -> None:
        """A genuine recovery key of another repository opens nothing here."""
        storage = MemoryStorage()
        create(storage)
        _, other = create(MemoryStorage())
        assert not opens(storage, str(other))

    def test_composed_and_decomposed_letters_are_the_same(self) -> None:
        """A passphrase typed where keyboards give decomposed Unicode opens too."""
        storage = MemoryStorage()
        create(storage, "h\u00e9llo")
        assert opens(storage, "he\u0301llo")

    def test_bytes_that_are_not_utf8(self) -> None:
        """A passphrase from an environment variable that is not UTF-8 works."""
        storage = MemoryStorage()
        create(storage, "caf\udce9")
        assert opens(storage, "caf\udce9")

    @pytest.mark.parametrize("impossible", ["", "\ud800"])
    def test_impossible_passphrase(self, impossible: str) -> None:
        """An empty passphrase, or one that is no text, is a wrong request."""
        with pytest.raises(UsageError):
            create(MemoryStorage(), impossible)

    def test_a_recovery_like_passphrase_is_one(self) -> None:
        """A passphrase that happens to have the form of a recovery key still opens."""
        storage = MemoryStorage()
        text = str(RecoveryKey(bytes(32)))
        create(storage, text)
        assert opens(storage, text)

    def test_no_repository(self) -> None:
        """An empty place is named as such."""
        with pytest.raises(NoRepository, match="no Backstay repository at memory"):
            open_with_passphrase(MemoryStorage(), "first")

    def test_never_made_twice(self) -> None:
        """Keys are never made where there are some; nothing is written then."""
        storage = MemoryStorage()
        create(storage)
        before = names(storage)
        with pytest.raises(RepositoryExists):
            create(storage, "second")
        assert names(storage) == before

    def test_secrets_are_not_in_their_repr(self) -> None:
        """No key shows where secrets are printed."""
        secrets, _ = create(MemoryStorage())
        shown = repr(secrets) + repr(secrets.keyring)
        keys = (secrets.id_key, secrets.catalogue_key, secrets.private_keys[0])
        assert not any(repr(key) in shown or key.hex() in shown for key in keys)

    @pytest.mark.parametrize("cost", [Argon2Cost(1), Argon2Cost(memory_kib=1024), Argon2Cost(lanes=0)])
    def test_cheap_slots_are_not_made(self, cost: Argon2Cost) -> None:
        """Nobody can make a slot whose passphrase is cheap to guess."""
        with pytest.raises(UsageError, match="too cheap"):
            create_keys(MemoryStorage(), "first", cost=cost)

    def test_expensive_slots_are_not_made(self) -> None:
        """Nobody can make a slot that no Backstay would open."""
        with pytest.raises(UsageError, match="more than"):
            create_keys(MemoryStorage(), "first", cost=Argon2Cost(memory_kib=2**30))


class TestChanges:
    """Adding, changing, revoking, rotating."""

    def test_add(self) -> None:
        """An added passphrase opens; the others go on opening."""
        storage = MemoryStorage()
        secrets, recovery_key = create(storage)
        secrets = add(storage, secrets, "bob", "second")
        assert all(opens(storage, text) for text in ("first", "second", str(recovery_key)))
        assert [slot.label for slot in list_slots(storage, secrets)] == ["main", "recovery key", "bob"]
        assert not problems(storage, secrets)

    def test_change(self) -> None:
        """A changed passphrase opens, the old one no longer."""
        storage = MemoryStorage()
        secrets, recovery_key = create(storage)
        secrets = change(storage, secrets, "main", "second")
        assert opens(storage, "second")
        assert opens(storage, str(recovery_key))
        assert not opens(storage, "first")
        assert not problems(storage, secrets)

    def test_revoke(self) -> None:
        """A revoked passphrase no longer opens; the others do, and the revoker may be any of them."""
        storage = MemoryStorage()
        secrets, recovery_key = create(storage)
        add(storage, secrets, "bob", "second")
        secrets = revoke(storage, open_with_passphrase(storage, "second"), "main")
        assert not opens(storage, "first")
        assert opens(storage, "second")
        assert opens(storage, str(recovery_key))
        assert not problems(storage, secrets)

    def test_rotate(self) -> None:
        """After a rotation the new recovery key and every passphrase read old and new data."""
        storage = MemoryStorage()
        secrets, old_key = create(storage)
        before = add(storage, secrets, "bob", "second")
        secrets, new_key = rotate_recovery_key(storage, before)
        old = FrameKey.new(before.public_key, before.repository_id)
        new = FrameKey.new(secrets.public_key, secrets.repository_id)
        frames = [(key.sealed, frame_nonce(0), key.seal_frame(0, b"content")) for key in (old, new)]
        assert not opens(storage, str(old_key))
        for text in ("first", "second", str(new_key)):
            opened = open_with_passphrase(storage, text)
            assert opened.public_key == secrets.public_key
            opener = FrameOpener(opened.private_keys, opened.repository_id)
            assert [opener.open_frame(*frame) for frame in frames] == [b"content"] * 2
        assert not problems(storage, secrets)

    def test_a_copied_keyring_reads_nothing_written_after_a_rotation(self) -> None:
        """Who kept the keyring of before cannot read what is written with the new public key."""
        storage = MemoryStorage()
        before, _ = create(storage)
        after, _ = rotate_recovery_key(storage, before)
        key = FrameKey.new(after.public_key, after.repository_id)
        with pytest.raises(DamagedObject):
            FrameOpener(before.private_keys, before.repository_id).open_frame(
                key.sealed, frame_nonce(0), key.seal_frame(0, b"x")
            )

    def test_all_passphrases_lost(self) -> None:
        """With the recovery key alone the passphrase is changed, and the recovery key then rotated."""
        storage = MemoryStorage()
        _, recovery_key = create(storage)
        secrets = change(storage, open_with_passphrase(storage, str(recovery_key)), "main", "second")
        secrets, recovery_key = rotate_recovery_key(storage, secrets)
        assert opens(storage, "second")
        assert opens(storage, str(recovery_key))
        assert not problems(storage, secrets)

    def test_last_passphrase_and_recovery_key_stay(self) -> None:
        """The last passphrase and the recovery key cannot be revoked."""
        storage = MemoryStorage()
        secrets, _ = create(storage)
        for label in ("main", "recovery key"):
            with pytest.raises(UsageError) as caught:
                revoke(storage, secrets, label)
            assert caught.value.hint
        assert opens(storage, "first")

    def test_unknown_label(self) -> None:
        """A label that does not exist is answered with those that do."""
        storage = MemoryStorage()
        secrets, _ = create(storage)
        for call in (lambda: revoke(storage, secrets, "bob"), lambda: change(storage, secrets, "bob", "x")):
            with pytest.raises(UsageError) as caught:
                call()
            assert "'main'" in caught.value.hint

    @pytest.mark.parametrize("label", ["main", "", "recovery key", "x" * 65, "a\nb", "a\x1b[2J"])
    def test_impossible_labels(self, label: str) -> None:
        """A label that is taken, reserved, or would garble a terminal is refused."""
        storage = MemoryStorage()
        secrets, _ = create(storage)
        with pytest.raises(UsageError):
            add(storage, secrets, label, "second")

    def test_too_many(self) -> None:
        """The number of passphrases is bounded, and the bound said."""
        storage = MemoryStorage()
        secrets, _ = create(storage)
        assert secrets.keyring
        full = msgspec.structs.replace(secrets.keyring, members=secrets.keyring.members * 32)
        with pytest.raises(UsageError, match="at most 64"):
            add(storage, Secrets(bytes(16), b"", b"", b"", (), full), "bob", "second")

    def test_write_only_cannot_touch_keys(self) -> None:
        """A write-only credential neither lists nor changes keys."""
        storage = MemoryStorage()
        secrets, _ = create(storage)
        limited, _ = load_credential(export_credential(secrets, "here"), "file")
        calls: list[Callable[[], object]] = [
            lambda: list_slots(storage, limited),
            lambda: add(storage, limited, "bob", "x"),
            lambda: change(storage, limited, "main", "x"),
            lambda: revoke(storage, limited, "main"),
            lambda: rotate_recovery_key(storage, limited),
            lambda: repair_slots(storage, limited),
        ]
        for call in calls:
            with pytest.raises(KeyMissing):
                call()

    def test_stale_secrets_change_nothing(self) -> None:
        """Secrets opened before someone else's change cannot undo it."""
        storage = MemoryStorage()
        stale, _ = create(storage)
        fresh = add(storage, stale, "bob", "second")
        before = names(storage)
        with pytest.raises(AlreadyRunning):
            add(storage, stale, "eve", "third")
        assert names(storage) == before
        assert opens(storage, "second")
        assert not problems(storage, fresh)


class Meeting(MemoryStorage):
    """Runs something once, just before the first put."""

    meanwhile: Callable[[], object] | None = None

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """As Storage.put, after what happens meanwhile."""
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
        super().put(name, data)


class TestMeetings:
    """Two that work on the keys at once."""

    def test_two_changes_at_once(self) -> None:
        """Of two changes that meet, one wins whole; the other is taken back and says so."""
        storage = Meeting()
        secrets, _ = create(storage)
        storage.meanwhile = lambda: add(storage, secrets, "bob", "second")
        with pytest.raises(AlreadyRunning):
            add(storage, secrets, "eve", "third")
        assert opens(storage, "first")
        assert opens(storage, "second")
        assert not opens(storage, "third")
        assert not problems(storage, open_with_passphrase(storage, "second"))

    def test_two_rotations_at_once_lose_no_private_key(self) -> None:
        """What the winner of two rotations seals, every passphrase can read."""
        storage = Meeting()
        secrets, _ = create(storage)
        won: list[Secrets] = []
        storage.meanwhile = lambda: won.append(rotate_recovery_key(storage, secrets)[0])
        with pytest.raises(AlreadyRunning):
            rotate_recovery_key(storage, secrets)
        assert open_with_passphrase(storage, "first").private_keys == won[0].private_keys

    def test_two_creations_at_once(self) -> None:
        """Of two that make keys in one place, one at most succeeds, and its passphrase opens."""
        storage = Meeting()
        storage.meanwhile = lambda: create(storage, "second")
        with pytest.raises(RepositoryExists):
            create(storage, "first")
        assert opens(storage, "second")
        assert not opens(storage, "first")

    def test_read_while_slots_are_replaced(self) -> None:
        """Opening succeeds although a slot vanishes between listing and reading."""
        storage = MemoryStorage()
        secrets, _ = create(storage)

        class Vanishing(MemoryStorage):
            changed = False

            def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
                if not Vanishing.changed:
                    Vanishing.changed = True
                    add(storage, secrets, "bob", "second")
                return storage.get(name, offset, length)

            def list(self, prefix: str) -> Iterator[ObjectInfo]:
                return iter(list(storage.list(prefix)))

        assert len(open_with_passphrase(Vanishing(), "first").require_keyring().members) == 3

    def test_keyrings_of_one_generation_are_merged(self) -> None:
        """Where two rotations both remain after a crash, no private key is lost on opening."""
        storage = MemoryStorage()
        secrets, _ = create(storage)
        other = copy_of(storage)
        one, _ = rotate_recovery_key(storage, secrets)
        two, _ = rotate_recovery_key(other, secrets)
        for name in names(other):
            storage.put(name, [other.get(name)])
        merged = open_with_passphrase(storage, "first")
        assert set(merged.private_keys) == {*one.private_keys, *two.private_keys}
        assert merged.public_key in (one.public_key, two.public_key)
        repaired = repair_slots(storage, merged)
        assert open_with_passphrase(storage, "first").private_keys == merged.private_keys
        assert not problems(storage, repaired)


class TestHostileStorage:
    """Someone who can write to the storage and has no keys."""

    def test_foreign_slot_gets_no_keys(self) -> None:
        """A slot that someone without keys put there is reported, and no change ever seals keys to it."""
        storage = MemoryStorage()
        secrets, _ = create(storage)
        assert secrets.keyring
        evil, _ = create(MemoryStorage(), "evil")
        assert evil.keyring
        member = new_passphrase_member("bob", "evil", 0, LOWEST_COST)
        planted = put_slot(storage, encode_slot(member, 99, bytes(16), encode_keyring(evil.keyring)))
        assert any("not written by a holder" in problem for problem in problems(storage, secrets))
        secrets, _ = rotate_recovery_key(storage, secrets)
        assert planted in names(storage)
        assert opens(storage, "first")
        assert open_with_passphrase(storage, "evil").private_keys == evil.private_keys

    def test_nobody_is_offered_a_foreign_keyring(self) -> None:
        """A keyring sealed to a passphrase's public key by someone without keys is not accepted."""
        storage = MemoryStorage()
        secrets, _ = create(storage)
        evil, _ = create(MemoryStorage())
        assert secrets.keyring
        assert evil.keyring
        known_to_all = msgspec.structs.replace(secrets.keyring.members[0], auth_key=bytes(32))
        forged = encode_slot(known_to_all, 99, bytes(16), encode_keyring(evil.keyring))
        put_slot(storage, forged)
        assert open_with_passphrase(storage, "first").private_keys == secrets.private_keys
        for name in names(storage):
            if storage.get(name) != forged:
                storage.delete(name)
        with pytest.raises(WrongPassphrase) as caught:
            open_with_passphrase(storage, "first")
        assert "altered" in caught.value.hint

    def test_a_slot_cannot_demand_memory(self) -> None:
        """A slot that asks for 100 GB is damage, and allocates nothing."""
        storage = MemoryStorage()
        slot = Slot(bytes(16), "x", 0, ("argon2id", bytes(16), 3, 100 << 20, 1), bytes(32), 1, bytes(16), b"")  # type: ignore[arg-type]
        put_slot(storage, b"BSKEYSL1" + msgspec.msgpack.encode(slot) + bytes(32))
        with pytest.raises(DamagedObject, match="not a key slot"):
            open_with_passphrase(storage, "first")

    def test_huge_object_is_not_fetched(self) -> None:
        """An object far too large for a slot is refused by its size."""
        storage = MemoryStorage()
        secrets, _ = create(storage)
        put_slot(storage, bytes(1_000_000))
        assert opens(storage, "first")
        assert any("too much" in problem for problem in problems(storage, secrets))

    def test_newer_slot(self) -> None:
        """Where only a newer Backstay's slots are, an update is asked for; elsewhere they do not disturb."""
        storage = MemoryStorage()
        put_slot(storage, b"BSKEYSL2 and what may follow")
        with pytest.raises(UnsupportedVersion):
            open_with_passphrase(storage, "first")
        storage = MemoryStorage()
        secrets, _ = create(storage)
        newer = put_slot(storage, b"BSKEYSL2 and what may follow")
        add(storage, secrets, "bob", "second")
        assert newer in names(storage)
        assert opens(storage, "second")


class TestDamage:
    """Slots that rot or vanish."""

    @pytest.mark.parametrize("damaged", [0, 1])
    def test_damaged_slot_is_reported_and_healed(self, damaged: int) -> None:
        """One damaged slot leaves the other working; repair makes it whole without its passphrase."""
        storage = MemoryStorage()
        secrets, recovery_key = create(storage)
        name = names(storage)[damaged]
        whole = storage.get(name)
        storage.corrupt(name, whole[:-1] + bytes([whole[-1] ^ 1]))
        working = [text for text in ("first", str(recovery_key)) if opens(storage, text)]
        assert len(working) == 1
        assert len(problems(storage, secrets)) == 2
        repaired = repair_slots(storage, open_with_passphrase(storage, working[0]))
        assert not problems(storage, repaired)
        assert opens(storage, "first")
        assert opens(storage, str(recovery_key))

    def test_all_damaged(self) -> None:
        """Where every slot is damaged, that is what is said, not that the passphrase is wrong."""
        storage = MemoryStorage()
        create(storage)
        for name in names(storage):
            storage.corrupt(name, b"rot")
        with pytest.raises(DamagedObject, match="not what its name says"):
            open_with_passphrase(storage, "first")

    def test_lost_slot_comes_back(self) -> None:
        """A slot that was deleted behind our back is written again by the next change."""
        storage = MemoryStorage()
        secrets, recovery_key = create(storage)
        for name in names(storage):
            storage.delete(name)
        assert len(problems(storage, secrets)) == 2
        repair_slots(storage, secrets)
        assert opens(storage, "first")
        assert opens(storage, str(recovery_key))


Change = Callable[[Storage, Secrets], object]
CHANGES: dict[str, Change] = {
    "add": lambda storage, secrets: add(storage, secrets, "eve", "third"),
    "change": lambda storage, secrets: change(storage, secrets, "bob", "third"),
    "revoke": lambda storage, secrets: revoke(storage, secrets, "bob"),
    "rotate": rotate_recovery_key,
    "repair": repair_slots,
}


class Initial(NamedTuple):
    """A repository with passphrases main and bob, opened with the first."""

    storage: MemoryStorage
    secrets: Secrets
    recovery_key: RecoveryKey


@pytest.fixture(scope="module")
def initial() -> Initial:
    """Made once: the tests work on copies."""
    storage = MemoryStorage()
    secrets, recovery_key = create(storage)
    return Initial(storage, add(storage, secrets, "bob", "second"), recovery_key)


class TestInterruption:
    """Changes that break off."""

    @pytest.mark.parametrize("kind", CHANGES)
    def test_power_cut(self, kind: str, initial: Initial) -> None:
        """A power cut at any operation of a change locks nobody out, loses no key, and can be repaired."""
        cuts = 0
        for at in range(1, 100):
            disk = PowerCutStorage()
            for name in names(initial.storage):
                disk.put(name, [initial.storage.get(name)])
            disk.sync()

            def cut(number: int, what: str, name: str, stop: int = disk.operations + at) -> None:
                if number == stop:
                    raise PowerCut

            try:
                CHANGES[kind](disk.another_process(cut), initial.secrets)
                break
            except PowerCut:
                cuts += 1
            for seed in range(2):
                self._holds_after_cut(disk.cut_power(Random(seed)), initial, kind)
        assert cuts >= 6

    def _holds_after_cut(self, disk: Storage, initial: Initial, kind: str) -> None:
        opened = open_with_passphrase(disk, "first")
        assert set(opened.private_keys) >= set(initial.secrets.private_keys)
        assert kind in ("change", "revoke") or opens(disk, "second")
        assert kind == "rotate" or opens(disk, str(initial.recovery_key))
        repaired = repair_slots(disk, opened)
        assert not problems(disk, repaired)
        assert open_with_passphrase(disk, "first").private_keys == repaired.private_keys

    @pytest.mark.parametrize("kind", CHANGES)
    def test_storage_fails(self, kind: str, initial: Initial) -> None:
        """Wherever the storage fails once, the passphrases open afterwards and the change can be repeated."""
        for at in range(30):
            storage = copy_of(initial.storage)
            faulty = FaultyStorage(storage, "." * at + "E")
            with suppress(StorageError):
                CHANGES[kind](faulty, initial.secrets)
            opened = open_with_passphrase(storage, "first")
            assert set(opened.private_keys) >= set(initial.secrets.private_keys)
            assert not problems(storage, repair_slots(storage, opened))
            if not faulty.faults:
                break
        assert at >= 6

    def test_full_disk_takes_the_change_back(self) -> None:
        """A change that does not fit leaves the keys exactly as they were."""
        storage = MemoryStorage()
        secrets, _ = create(storage)
        before = names(storage)
        with pytest.raises(StorageError):
            add(FaultyStorage(storage, ".F", operations=["put"]), secrets, "bob", "second")
        assert names(storage) == before
        assert not problems(storage, secrets)

    def test_rotation_gives_its_key_though_deleting_fails(self) -> None:
        """The new recovery key reaches the caller even where old slots could not be deleted."""
        storage = MemoryStorage()
        secrets, _ = create(storage)
        secrets, recovery_key = rotate_recovery_key(
            FaultyStorage(storage, "E", operations=["delete"]), secrets
        )
        assert opens(storage, str(recovery_key))
        assert problems(storage, secrets)
        assert not problems(storage, repair_slots(storage, secrets))


class TestCredential:
    """The write-only credential file."""

    def test_round_trip(self) -> None:
        """A credential carries what writing needs, and the place, also with odd letters."""
        secrets, _ = create(MemoryStorage())
        loaded, location = load_credential(export_credential(secrets, "/srv/bäckup \udcff/x"), "file")
        assert location == "/srv/bäckup \udcff/x"
        for part in ("repository_id", "id_key", "catalogue_key", "public_key"):
            assert getattr(loaded, part) == getattr(secrets, part)

    def test_cannot_read(self) -> None:
        """No private key is in a credential."""
        secrets, _ = create(MemoryStorage())
        data = export_credential(secrets, "here")
        loaded, _ = load_credential(data, "file")
        assert not loaded.can_read
        assert loaded.private_keys == ()
        assert loaded.keyring is None

    def test_survives_mail(self) -> None:
        """Line ends, indents and words around it do not matter."""
        secrets, _ = create(MemoryStorage())
        text = export_credential(secrets, "here").decode().replace("\n", "\r\n  ")
        loaded, _ = load_credential(f"Hello,\r\n{text}\r\nBye".encode(), "file")
        assert loaded.id_key == secrets.id_key

    def test_every_changed_letter_is_noticed(self) -> None:
        """No altered letter of the armoured part goes unnoticed, unless it reads the same."""
        secrets, _ = create(MemoryStorage())
        data = export_credential(secrets, "here")
        for at in range(len(data)):
            altered = data[:at] + b"#" + data[at + 1 :]
            if data[at : at + 1] == b"\n" and at == len(data) - 1:
                continue
            with pytest.raises(DamagedObject) as caught:
                load_credential(altered, "file")
            assert "credential" in caught.value.hint

    @pytest.mark.parametrize("data", [b"", b"hello", b"\0" * 100_000])
    def test_no_credential(self, data: bytes) -> None:
        """Another file is called what it is."""
        with pytest.raises(DamagedObject, match="not a Backstay credential"):
            load_credential(data, "file")

    def test_newer_version(self) -> None:
        """A credential of a newer Backstay asks for an update."""
        body = base64.b64encode(b"BSCREDN2 whatever")
        begin, end = (b"-----%s BACKSTAY WRITE-ONLY CREDENTIAL-----" % word for word in (b"BEGIN", b"END"))
        with pytest.raises(UnsupportedVersion):
            load_credential(begin + body + end, "file")

    def test_goes_on_working_after_a_rotation(self) -> None:
        """What an old credential writes after a rotation, every passphrase reads."""
        storage = MemoryStorage()
        secrets, _ = create(storage)
        limited, _ = load_credential(export_credential(secrets, "here"), "file")
        rotate_recovery_key(storage, secrets)
        key = FrameKey.new(limited.public_key, limited.repository_id)
        opened = open_with_passphrase(storage, "first")
        opener = FrameOpener(opened.private_keys, opened.repository_id)
        assert opener.open_frame(key.sealed, frame_nonce(0), key.seal_frame(0, b"x")) == b"x"
        assert opened.catalogue_key == limited.catalogue_key
