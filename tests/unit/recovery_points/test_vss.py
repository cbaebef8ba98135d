"""What a backup does with VSS: the order of calls, what is tried again, and what is said."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backstay.domain.errors import SourceError
from backstay.recovery_points.provider import RecoveryPoint
from backstay.recovery_points.volume import Mount, Volume
from backstay.recovery_points.vss import PAUSES, Vss
from backstay.recovery_points.vss_api import ServiceState, VssError, WriterStatus
from backstay.recovery_points.vss_errors import in_words, passes, writer_in_words
from backstay.recovery_points.workspace import Workspace
from backstay.testing.vss_stand_in import IN_PROGRESS, StandInVss

FLUSH_TIMEOUT, NO_STORAGE, WRITER_TIMEOUT, RETRYABLE = 0x80042313, 0x8004231F, 0x800423F2, 0x800423F3
DISABLED = 0x80070422
SOURCE = b"Volume{9f0e3f2a-0000-0000-0000-100000000000}"
OTHER = b"Volume{9f0e3f2a-0000-0000-0000-200000000000}"


class LinkedWorkspace(Workspace):
    """A workspace that shows folders by links, as an ordinary user can."""

    def make(self, name: str) -> bytes:
        """The place of a link."""
        self.path.mkdir(parents=True, exist_ok=True)
        return self.folder(name)

    def bind(self, source: bytes, target: bytes) -> None:
        """A link."""
        os.symlink(source, target)

    def unmount(self, name: str) -> None:
        """No link."""
        Path(os.fsdecode(self.folder(name))).unlink(missing_ok=True)


class Machine:
    """A folder that stands for a volume, and VSS."""

    def __init__(self, base: Path) -> None:
        self.live = base / "live"
        self.live.mkdir()
        (self.live / "file").write_bytes(b"before")
        self.copies = base / "copies"
        self.waited: list[float] = []
        self.vss = StandInVss(self.copy, lambda id: shutil.rmtree(self.copies / id))
        self.provider = Vss(self.vss, self.vss.place_of, self.waited.append)
        self.workspace = LinkedWorkspace("job", base / "work")
        place = os.fsencode(self.live)
        mount = Mount(1, SOURCE, b"/", place, frozenset((b"fixed",)), "NTFS", SOURCE, frozenset())
        self.volume = Volume(mount, place, b"", ("vss", SOURCE), self.live.stat().st_ino)
        self.other = replace(self.volume, mount=mount._replace(source=OTHER), key=("vss", OTHER))

    def copy(self, volume: str, id: str) -> Path:
        """A shadow copy."""
        assert volume in (SOURCE.decode(), OTHER.decode())
        return shutil.copytree(self.live, self.copies / id)

    def plan(self) -> RecoveryPoint:
        """Of a recovery point."""
        return self.provider.plan(self.volume, "backstay-1-0", self.workspace)

    def take(self) -> RecoveryPoint:
        """A recovery point."""
        point = self.plan()
        self.provider.take(point, self.volume, self.workspace)
        return point

    def plan_both(self) -> list[tuple[RecoveryPoint, Volume]]:
        """Of recovery points of both volumes."""
        return [
            (self.provider.plan(volume, f"backstay-1-{number}", self.workspace), volume)
            for number, volume in enumerate((self.volume, self.other))
        ]

    def release(self, *points: RecoveryPoint) -> None:
        """Of all of them."""
        for point in points:
            self.provider.release(point, self.workspace)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine with VSS, of which nothing is left at the end."""
    machine = Machine(tmp_path)
    yield machine
    assert machine.vss.owner_of_set is None


def test_writers_take_part(machine: Machine) -> None:
    """Writers are asked what they have, get ready, hold still, and go on when everything was read."""
    point = machine.take()
    machine.provider.release(point, machine.workspace)
    order = [
        *("InitializeForBackup", "GatherWriterMetadata", "StartSnapshotSet", "AddToSnapshotSet"),
        *("PrepareForBackup", "DoSnapshotSet", "GatherWriterStatus", "GetSnapshotProperties"),
        *("BackupComplete", "DeleteSnapshots"),
    ]
    assert [call for call in machine.vss.calls if call in order] == order
    assert machine.provider.remarks(point) == []


def test_reads_what_was_there(machine: Machine) -> None:
    """The view shows the volume as it was, wherever VSS put it."""
    point = machine.take()
    (machine.live / "file").write_bytes(b"after")
    assert (Path(os.fsdecode(point.view)) / "file").read_bytes() == b"before"
    machine.provider.release(point, machine.workspace)
    assert machine.vss.shadows == {}
    assert not os.path.lexists(point.view)


def test_its_id_is_known_before_it_exists(machine: Machine) -> None:
    """What is noted before the shadow copy is made is enough to delete it."""
    point = machine.plan()
    assert machine.vss.shadows == {}
    noted = point.identity["shadow"].decode()
    machine.provider.take(point, machine.volume, machine.workspace)
    assert set(machine.vss.shadows) == {noted}
    other = Vss(machine.vss, machine.vss.place_of, machine.waited.append)
    other.release(point, machine.workspace)
    assert machine.vss.shadows == {}
    machine.provider.release(point, machine.workspace)


def test_a_plan_that_comes_to_nothing_keeps_nobody_waiting(machine: Machine) -> None:
    """To drop a plan, or to release it, lets other programs make shadow copies."""
    for let_go in (
        machine.provider.drop_plan,
        lambda point: machine.provider.release(point, machine.workspace),
    ):
        point = machine.plan()
        assert machine.vss.owner_of_set is not None
        let_go(point)
        assert machine.vss.owner_of_set is None
    machine.provider.drop_plan(point)


def test_what_is_planned_together_is_frozen_together(machine: Machine) -> None:
    """Files that belong together on two volumes are of one moment; each copy goes when it is released."""
    planned = machine.plan_both()
    for point, volume in planned:
        machine.provider.take(point, volume, machine.workspace)
    for call in ("StartSnapshotSet", "PrepareForBackup", "DoSnapshotSet"):
        assert machine.vss.calls.count(call) == 1
    assert len(machine.vss.shadows) == 2
    (first, _), (second, _) = planned
    assert first.view != second.view
    machine.release(first)
    assert list(machine.vss.shadows) == [second.identity["shadow"].decode()]
    machine.release(second)
    assert machine.vss.shadows == {}
    assert machine.vss.calls.count("BackupComplete") == 1


def test_one_volume_that_cannot_be_frozen_keeps_no_other_from_it(machine: Machine) -> None:
    """Where both together cannot be made, each is tried alone, and the job says that moments differ."""
    planned = machine.plan_both()
    (first, volume), (second, other) = planned
    machine.vss.failures["DoSnapshotSet"] = [NO_STORAGE, 0, NO_STORAGE]
    machine.provider.take(first, volume, machine.workspace)
    with pytest.raises(SourceError, match="no room for shadow copies"):
        machine.provider.take(second, other, machine.workspace)
    assert list(machine.vss.shadows) == [first.identity["shadow"].decode()]
    assert "frozen at a moment of its own" in machine.provider.remarks(first)[0]
    machine.release(first, second)
    assert machine.vss.shadows == {}


def test_a_volume_that_vss_refuses_leaves_the_set_to_the_others(machine: Machine) -> None:
    """What cannot be added is told when it is planned; the rest is frozen."""
    machine.vss.failures["AddToSnapshotSet"] = [0, NO_STORAGE]
    point = machine.plan()
    with pytest.raises(SourceError, match="no room for shadow copies"):
        machine.provider.plan(machine.other, "backstay-1-1", machine.workspace)
    machine.provider.take(point, machine.volume, machine.workspace)
    assert len(machine.vss.shadows) == 1
    machine.release(point)


def test_tries_both_again(machine: Machine) -> None:
    """A failure that passes leads to a new set with both volumes in it."""
    machine.vss.failures["DoSnapshotSet"] = [FLUSH_TIMEOUT]
    planned = machine.plan_both()
    for point, volume in planned:
        machine.provider.take(point, volume, machine.workspace)
    assert machine.vss.calls.count("DoSnapshotSet") == 2
    assert set(machine.vss.shadows) == {point.identity["shadow"].decode() for point, _ in planned}
    machine.release(*(point for point, _ in planned))


def test_jobs_have_sets_of_their_own(machine: Machine, tmp_path: Path) -> None:
    """A job that runs beside another one never joins its set: it waits its turn."""
    point = machine.plan()
    with pytest.raises(SourceError, match="another program is making a shadow copy"):
        machine.provider.plan(machine.other, "backstay-2-0", LinkedWorkspace("other", tmp_path / "work"))
    machine.release(point)


def test_starts_the_service(machine: Machine) -> None:
    """A service that is stopped is started, and waited for."""
    machine.vss.state = ServiceState.STOPPED
    machine.vss.starts_after = 5
    machine.provider.release(machine.take(), machine.workspace)
    assert machine.vss.calls.count("StartService") == 1
    assert 1.0 <= sum(machine.waited) <= 4.0


def test_a_service_that_cannot_start_is_named(machine: Machine) -> None:
    """Disabled, or starting for ever: the reason and what to do."""
    machine.vss.state = ServiceState.STOPPED
    machine.vss.failures["StartService"] = [DISABLED]
    with pytest.raises(SourceError, match="the service VSS is disabled") as caught:
        machine.plan()
    assert "sc config VSS" in caught.value.hint
    machine.vss.starts_after = 1_000_000
    with pytest.raises(SourceError, match="does not start"):
        machine.plan()


def test_waits_while_another_makes_a_shadow_copy(machine: Machine) -> None:
    """Two backup programs at the same time: the second waits its turn."""
    machine.vss.failures["StartSnapshotSet"] = [IN_PROGRESS, IN_PROGRESS]
    machine.provider.release(machine.take(), machine.workspace)
    assert machine.waited == list(PAUSES[:2])


def test_gives_up_after_some_tries(machine: Machine) -> None:
    """What does not pass is told with its number, and leaves nothing behind."""
    machine.vss.failures["StartSnapshotSet"] = [IN_PROGRESS] * 99
    with pytest.raises(SourceError, match=r"another program is making a shadow copy \(0x80042316"):
        machine.plan()
    assert machine.waited == list(PAUSES)


@pytest.mark.parametrize("call", ["PrepareForBackup", "DoSnapshotSet"])
def test_tries_again_what_may_pass(machine: Machine, call: str) -> None:
    """After a time-out a new set is begun, the first being of no use; the job says so."""
    machine.vss.failures[call] = [FLUSH_TIMEOUT]
    point = machine.take()
    assert machine.vss.calls.count("StartSnapshotSet") == 2
    assert machine.vss.calls.count("AbortBackup") == 1
    told = machine.provider.remarks(point)
    assert len(told) == 1
    assert "tried again: Windows could not write back" in told[0]
    machine.provider.release(point, machine.workspace)
    assert machine.vss.shadows == {}


def test_does_not_try_again_what_stays(machine: Machine) -> None:
    """No room is no room, with what to do about it."""
    machine.vss.failures["DoSnapshotSet"] = [NO_STORAGE]
    with pytest.raises(SourceError, match="no room for shadow copies") as caught:
        machine.take()
    assert "vssadmin resize shadowstorage" in caught.value.hint
    assert machine.waited == []


def test_names_the_writer_that_made_it_fail(machine: Machine) -> None:
    """An administrator reads which writer failed, when and why; that may be worth another try."""
    machine.vss.failures["DoSnapshotSet"] = [0x80042336]
    machine.vss.writers = [WriterStatus("System Writer", 1, 0), WriterStatus("SqlServerWriter", 9, RETRYABLE)]
    point = machine.take()
    told = machine.provider.remarks(point)
    assert "the writer 'SqlServerWriter' failed when it should hold still" in told[0]
    machine.provider.release(point, machine.workspace)


def test_a_writer_that_fails_is_named_though_the_copy_is_there(machine: Machine) -> None:
    """The shadow copy is read, and the job says whose files are not consistent in it."""
    machine.vss.writers = [WriterStatus("Microsoft Exchange Writer", 10, WRITER_TIMEOUT)]
    point = machine.take()
    (told,) = machine.provider.remarks(point)
    assert "the writer 'Microsoft Exchange Writer' failed when it should go on: it took too long" in told
    assert "as after a power cut" in told
    machine.provider.release(point, machine.workspace)


def test_a_deletion_that_fails_is_told_and_the_copy_goes_with_its_owner(machine: Machine) -> None:
    """The record stays for the next sweep; to close the set deletes the copy all the same."""
    point = machine.take()
    machine.vss.failures["DeleteSnapshots"] = [0x80042301]
    with pytest.raises(SourceError, match="could not be deleted"):
        machine.provider.release(point, machine.workspace)
    assert machine.vss.shadows == {}
    machine.provider.release(point, machine.workspace)


def test_sweeping_what_windows_has_deleted_is_nothing(machine: Machine) -> None:
    """After a crash the copy is gone with the process; the sweep finds that out and touches no other."""
    point = machine.take()
    machine.vss.process_dies()
    theirs = machine.vss.shadows["{theirs}"] = machine.copies
    swept = Vss(machine.vss, machine.vss.place_of).sweep([point], machine.workspace)
    assert swept == {}
    assert machine.vss.shadows == {"{theirs}": theirs}


def test_claims_what_vss_supports(machine: Machine) -> None:
    """NTFS and ReFS on fixed disks."""
    mount = machine.volume.mount
    assert machine.provider.claims(mount)
    assert machine.provider.claims(mount._replace(fs_type="ReFS"))
    assert not machine.provider.claims(mount._replace(fs_type="FAT32"))
    assert not machine.provider.claims(mount._replace(options=frozenset((b"removable",))))
    assert not machine.provider.claims(mount._replace(super_options=frozenset((b"ro",))))


def test_numbers_without_words_are_shown() -> None:
    """An unknown number leads to the event log, and is not tried again."""
    error = VssError(-0x7FFBDAAA, "DoSnapshotSet")
    assert "0x80042556" in in_words(error)
    assert not passes(error)
    assert "0xDEADBEEF" in writer_in_words(WriterStatus("W", 9, 0xDEADBEEF))
