"""VSS where there is none: answers as Microsoft's pages say that it does, over folders that are copied.

What is modelled: one set at a time in the whole machine, the order in which calls are allowed, ids that are
known before a copy exists, copies that vanish with their owner, writers that fail, a service that has to be
started.
"""

import itertools
import uuid
from collections.abc import Callable
from pathlib import Path

from backstay.recovery_points.vss_api import CREATED, ServiceState, Shadow, VssError, WriterStatus

BAD_STATE, NOT_FOUND, IN_PROGRESS = 0x80042301, 0x80042308, 0x80042316
NOT_SUPPORTED = 0x8004230C


class StandInVss:
    """A machine with VSS.

    Args:
        freeze: makes a read-only copy of a volume, by its name `Volume{…}`, and returns where it can be seen.
        thaw: takes the copy away.

    Attributes:
        failures: HRESULTs that the next calls of that name answer with, one after the other.
        writers: what they say of themselves.
        state: of the service.
        calls: the names of all calls.
        shadows: what exists, by id: where the copy is.
    """

    def __init__(self, freeze: Callable[[str, str], Path], thaw: Callable[[str], None]) -> None:
        self.freeze = freeze
        self.thaw = thaw
        self.failures: dict[str, list[int]] = {}
        self.writers: list[WriterStatus] = [WriterStatus("System Writer", 5, 0)]
        self.state = ServiceState.RUNNING
        self.starts_after = 0
        self.calls: list[str] = []
        self.shadows: dict[str, Path] = {}
        self.owner_of_set: StandInComponents | None = None
        self._numbers = itertools.count(1)
        self._devices: dict[str, Path] = {}

    def service_state(self) -> ServiceState:
        """As VssApi."""
        self.called("QueryServiceStatus")
        if self.state == ServiceState.START_PENDING:
            self.starts_after -= 1
            if self.starts_after <= 0:
                self.state = ServiceState.RUNNING
        return self.state

    def start_service(self) -> None:
        """As VssApi."""
        self.called("StartService")
        self.state = ServiceState.START_PENDING

    def open(self) -> "StandInComponents":
        """As VssApi."""
        self.called("CreateVssBackupComponents")
        if self.state != ServiceState.RUNNING:
            raise VssError(0x800706BA, "CreateVssBackupComponents")
        return StandInComponents(self)

    def open_all(self) -> "StandInComponents":
        """As VssApi."""
        components = self.open()
        components.step = "all"
        return components

    def called(self, name: str) -> None:
        """Note a call, and fail where that was asked for."""
        self.calls.append(name)
        if waiting := self.failures.get(name):
            code = waiting.pop(0)
            if code:
                raise VssError(code, name)

    def device(self, copy: Path) -> str:
        r"""A name for a copy, as `\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy3`."""
        name = f"\\\\?\\GLOBALROOT\\Device\\HarddiskVolumeShadowCopy{next(self._numbers)}"
        self._devices[name] = copy
        return name

    def place_of(self, device: str) -> bytes:
        """Where a copy can be seen."""
        return str(self._devices[device]).encode()

    def process_dies(self) -> None:
        """What Windows does when the owner of all sets ends: it deletes their shadow copies."""
        self.owner_of_set = None
        for id in list(self.shadows):
            self.drop(id)

    def drop(self, id: str) -> None:
        """A shadow copy goes."""
        del self.shadows[id]
        self.thaw(id)


class StandInComponents:
    """One IVssBackupComponents. Every method as in Components, allowed in its order only."""

    def __init__(self, machine: StandInVss) -> None:
        self._machine = machine
        self._volumes: dict[str, str] = {}
        self._devices: dict[str, str] = {}
        self.step = "new"

    def initialize(self) -> None:
        """As Components."""
        self._go("InitializeForBackup", "new", "initialized")

    def gather_writer_metadata(self) -> None:
        """As Components."""
        self._go("GatherWriterMetadata", "initialized", "gathered")

    def start_set(self) -> None:
        """As Components."""
        self._go("StartSnapshotSet", "gathered", "gathered")
        if self._machine.owner_of_set is not None:
            raise VssError(IN_PROGRESS, "StartSnapshotSet")
        self._machine.owner_of_set = self
        self.step = "started"

    def add(self, volume: str) -> str:
        """As Components."""
        self._go("AddToSnapshotSet", "started", "started")
        if not (volume.startswith("\\\\?\\Volume{") and volume.endswith("}\\")):
            raise VssError(NOT_SUPPORTED, "AddToSnapshotSet")
        id = "{" + str(uuid.uuid4()) + "}"
        self._volumes[id] = volume[4:-1]
        return id

    def prepare(self) -> None:
        """As Components."""
        self._go("PrepareForBackup", "started", "prepared")

    def create(self) -> None:
        """As Components."""
        self._machine.owner_of_set = None
        self._go("DoSnapshotSet", "prepared", "created")
        for id, volume in self._volumes.items():
            copy = self._machine.shadows[id] = self._machine.freeze(volume, id)
            self._devices[id] = self._machine.device(copy)

    def writer_statuses(self) -> list[WriterStatus]:
        """As Components."""
        self._machine.called("GatherWriterStatus")
        return list(self._machine.writers)

    def shadow(self, id: str) -> Shadow:
        """As Components."""
        self._machine.called("GetSnapshotProperties")
        if id not in self._machine.shadows:
            raise VssError(NOT_FOUND, "GetSnapshotProperties")
        return Shadow(id, self._devices[id], CREATED)

    def delete(self, id: str) -> None:
        """As Components."""
        self._machine.called("DeleteSnapshots")
        if id not in self._machine.shadows:
            raise VssError(NOT_FOUND, "DeleteSnapshots")
        self._machine.drop(id)

    def complete(self) -> None:
        """As Components."""
        self._go("BackupComplete", "created", "complete")

    def abort(self) -> None:
        """As Components."""
        self._machine.called("AbortBackup")
        self._let_go()

    def close(self) -> None:
        """As Components."""
        self._let_go()
        for id in self._volumes:
            if id in self._machine.shadows:
                self._machine.drop(id)

    def _let_go(self) -> None:
        if self._machine.owner_of_set is self:
            self._machine.owner_of_set = None

    def _go(self, name: str, before: str, after: str) -> None:
        self._machine.called(name)
        if self.step != before:
            raise VssError(BAD_STATE, name)
        self.step = after
