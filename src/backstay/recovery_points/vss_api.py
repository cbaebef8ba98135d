"""The seam between what a backup does with VSS and the Volume Shadow Copy Service itself.

`vss.py` above it decides; below it lies `vss_com_windows.py`, the service by COM, or on Linux the stand-in
`backstay.testing.vss_stand_in`. Every method is one call of the service's own interface,
IVssBackupComponents: https://learn.microsoft.com/windows/win32/api/vsbackup/nl-vsbackup-ivssbackupcomponents
"""

from enum import IntEnum
from typing import Final, NamedTuple, Protocol

CREATED: Final = 12
"""VSS_SS_CREATED: the only state in which a shadow copy can be read.

https://learn.microsoft.com/windows/win32/api/vss/ne-vss-vss_snapshot_state
"""


class ServiceState(IntEnum):
    """As SERVICE_STATUS has it."""

    STOPPED = 1
    START_PENDING = 2
    STOP_PENDING = 3
    RUNNING = 4


class VssError(Exception):
    """The service refused.

    Args:
        code: the HRESULT, unsigned.
        call: what was asked.
    """

    def __init__(self, code: int, call: str) -> None:
        super().__init__(f"{call}: 0x{code & 0xFFFFFFFF:08X}")
        self.code = code & 0xFFFFFFFF
        self.call = call


class Shadow(NamedTuple):
    r"""A shadow copy: VSS_SNAPSHOT_PROP as far as it matters.

    Attributes:
        id: as `{…}`.
        device: as `\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy3`.
        state: `CREATED`, or one in which it cannot be read.
    """

    id: str
    device: str
    state: int


class WriterStatus(NamedTuple):
    """What a writer says of itself: VSS_WRITER_STATE, and the HRESULT of its failure or 0."""

    name: str
    state: int
    failure: int


class Components(Protocol):
    """One IVssBackupComponents: one set of shadow copies, of which it is the owner.

    With the context VSS_CTX_BACKUP its shadow copies vanish when it is closed, or its process ends. Every
    method but `close` raises VssError.
    """

    def initialize(self) -> None:
        """InitializeForBackup, SetContext(VSS_CTX_BACKUP), SetBackupState."""

    def gather_writer_metadata(self) -> None:
        """GatherWriterMetadata, and wait for it."""

    def start_set(self) -> None:
        """StartSnapshotSet."""

    def add(self, volume: str) -> str:
        r"""AddToSnapshotSet; returns the id that the shadow copy will have.

        Args:
            volume: as `\\?\Volume{…}\`.
        """

    def prepare(self) -> None:
        """PrepareForBackup, and wait for it: writers get ready."""

    def create(self) -> None:
        """DoSnapshotSet, and wait for it."""

    def writer_statuses(self) -> list[WriterStatus]:
        """GatherWriterStatus, and wait for it, GetWriterStatus for each."""

    def shadow(self, id: str) -> Shadow:
        """GetSnapshotProperties."""

    def delete(self, id: str) -> None:
        """DeleteSnapshots of this one."""

    def complete(self) -> None:
        """BackupComplete, and wait for it: writers go on."""

    def abort(self) -> None:
        """AbortBackup."""

    def close(self) -> None:
        """Release it. Never raises."""


class VssApi(Protocol):
    """The service."""

    def service_state(self) -> ServiceState:
        """Of the Windows service VSS. Raises VssError."""

    def start_service(self) -> None:
        """Ask for the start of the service. Raises VssError."""

    def open(self) -> Components:
        """CreateVssBackupComponents. Raises VssError."""

    def open_all(self) -> Components:
        """As `open`, initialized, with the context VSS_CTX_ALL, for `shadow` and `delete` alone."""
