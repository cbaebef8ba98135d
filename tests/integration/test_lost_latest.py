"""The manifest of a set's latest restore point is lost: the next backup goes on, and the gap stays named."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backstay.backup.progress import Silent
from backstay.backup.workflow import BackupOutcome, BackupRequest, run_backup
from backstay.domain.errors import StorageFull
from backstay.repository.layout import MANIFESTS, object_name
from backstay.repository.prune import run_prune
from backstay.repository.rebuild import run_rebuild
from backstay.repository.repository import Repository
from backstay.repository.verify import run_verify
from backstay.storage.local import LocalStorage
from backstay.testing.faulty_storage import FaultyStorage


class Told(Silent):
    """Keeps what was told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        """Keep it."""
        self.messages.append(text)


class Place:
    """A repository and a source with one file."""

    def __init__(self, folder: Path) -> None:
        self.storage = LocalStorage(folder / "repository", create=True)
        self.repository, _ = Repository.create(self.storage, "passphrase", cache=folder / "cache")
        self.source = folder / "source"
        self.source.mkdir()
        self.told: list[str] = []

    def back_up(self, content: bytes) -> BackupOutcome:
        """Back up the file with this content."""
        (self.source / "file").write_bytes(content)
        told = Told()
        outcome = run_backup(self.opened(), BackupRequest([os.fsencode(self.source)]), told)
        self.told = told.messages
        return outcome

    def opened(self) -> Repository:
        """The repository as the next process opens it."""
        return Repository(self.storage, self.repository.secrets, cache=self.source.parent / "cache")

    def lose(self, outcome: BackupOutcome) -> str:
        """Take the manifest away; its name."""
        name = object_name(MANIFESTS, outcome.point.id)
        self.storage.delete(name)
        return name

    def damaged(self) -> list[str]:
        """What verify names."""
        return [error.name for error in run_verify(self.opened(), data_percent=100).damages]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """With a scan state of its own."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    return Place(tmp_path)


def flip(place: Place, outcome: BackupOutcome) -> str:
    """Damage the manifest; its name."""
    name = object_name(MANIFESTS, outcome.point.id)
    path = place.storage.path_of(name)
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    return name


@pytest.mark.parametrize("hurt", [Place.lose, flip])
@pytest.mark.parametrize("before", [0, 1])
def test_the_next_backup_names_the_gap(
    place: Place, hurt: Callable[[Place, BackupOutcome], str], before: int
) -> None:
    """It succeeds, says so, names the lost point as its predecessor, and so verify does for ever."""
    for number in range(before):
        place.back_up(b"%d" % number * 4000)
    lost = place.back_up(b"lost" * 4000)
    name = hurt(place, lost)
    after = place.back_up(b"after" * 4000)
    assert after.point.manifest.previous == lost.point.id
    assert after.point.manifest.sequence == lost.point.manifest.sequence + 1
    assert [lost.point.short_id in text for text in place.told] == [True]
    assert place.damaged() == [name]
    assert place.back_up(b"next" * 4000).point.manifest.previous == after.point.id
    assert place.told == []
    assert place.damaged() == [name]


def test_a_backup_that_fails_meanwhile_forgets_nothing(place: Place, tmp_path: Path) -> None:
    """The loss is still known to the backup after the one that could not commit."""
    place.back_up(b"first" * 4000)
    lost = place.back_up(b"lost" * 4000)
    place.lose(lost)
    (place.source / "file").write_bytes(b"more" * 4000)
    storage = FaultyStorage(place.storage, ".(F)", operations=("put",))
    broken = Repository(storage, place.repository.secrets, cache=tmp_path / "cache")
    with pytest.raises(StorageFull):
        run_backup(broken, BackupRequest([os.fsencode(place.source)]), Silent())
    assert place.back_up(b"after" * 4000).point.manifest.previous == lost.point.id


def test_what_was_taken_out_on_purpose_is_no_loss(place: Place) -> None:
    """All points expired: the next one begins the chain anew, and nothing is missed."""
    expired = place.back_up(b"expired" * 4000)
    run_prune(place.opened(), lambda points: [point for point in points if point.id == expired.point.id])
    after = place.back_up(b"after" * 4000)
    assert (after.point.manifest.sequence, after.point.manifest.previous, place.told) == (1, b"", [])
    assert place.damaged() == []


def test_a_rebuild_makes_it_anew_before_or_after_the_next_backup(place: Place) -> None:
    """Its content comes back in its place of the chain either way; then verify is content."""
    place.back_up(b"first" * 4000)
    place.lose(place.back_up(b"second" * 4000))
    run_rebuild(place.opened())
    third = place.back_up(b"third" * 4000)
    assert (third.point.manifest.sequence, place.told, place.damaged()) == (3, [], [])
    place.lose(third)
    place.back_up(b"fourth" * 4000)
    assert len(place.damaged()) == 1
    run_rebuild(place.opened())
    assert [point.manifest.sequence for point in place.opened().points()] == [1, 2, 3, 4]
    assert place.damaged() == []
