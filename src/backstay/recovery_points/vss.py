r"""VSS: a shadow copy of each volume, in which writers (databases, Exchange, the registry …) take part.

IVssBackupComponents is used, not WMI's Win32_ShadowCopy.Create: that makes copies in the context
ClientAccessible, without writers, so a database would look as after a power cut, and they outlive a crashed
backup. The context here is VSS_CTX_BACKUP: writers hold still at a consistent point, and Windows deletes the
copy by itself once the process that owns it ends, however that happens. The backup is declared a *copy*
(VSS_BT_COPY) of no particular component, so that no writer truncates logs that another backup program relies
upon.

Order of calls: https://learn.microsoft.com/windows/win32/vss/shadow-copy-creation-details
It has not met a real Windows: it is written from Microsoft's pages and tested over a stand-in of `VssApi`;
`backstay doctor` exercises it on the customer's machine.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from backstay.domain.errors import SourceError
from backstay.recovery_points.provider import Provider, RecoveryPoint
from backstay.recovery_points.volume import Mount, Volume
from backstay.recovery_points.vss_api import CREATED, Components, ServiceState, VssApi, VssError, WriterStatus
from backstay.recovery_points.vss_errors import (
    OBJECT_NOT_FOUND,
    failed,
    in_words,
    meaning,
    passes,
    writer_in_words,
)
from backstay.recovery_points.workspace import Workspace

PAUSES: Final = (10.0, 20.0, 40.0, 60.0, 60.0)
"""Seconds between tries. Microsoft advises ten minutes for some errors; a backup window may be shorter."""

_SERVICE_SECONDS: Final = 60.0
_SERVICE_STEP: Final = 0.5
_FILE_SYSTEMS: Final = ("NTFS", "ReFS")
_NOT_SUPPORTED: Final = frozenset((b"removable", b"optical", b"memory"))


class Vss(Provider):
    """Freezes NTFS and ReFS volumes.

    Args:
        api: the service.
        place_of: the engine's path of a shadow copy's device.
        pause: waits for so many seconds.
    """

    name = "vss"

    def __init__(
        self,
        api: VssApi,
        place_of: Callable[[str], bytes],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = api
        self._place_of = place_of
        self._pause = pause
        self._sets: dict[str, Components] = {}
        self._remarks: dict[str, list[str]] = {}

    def claims(self, mount: Mount) -> bool:
        """NTFS and ReFS on a disk of this machine, that can be written."""
        return (
            mount.fs_type in _FILE_SYSTEMS and not mount.is_read_only and not mount.options & _NOT_SUPPORTED
        )

    def plan(self, volume: Volume, name: str, workspace: Workspace) -> RecoveryPoint:
        """A shadow copy; its id is known, and noted with the plan, before it exists."""
        self._ensure_service(volume)
        identity = {"volume": volume.mount.source}
        point = RecoveryPoint(self.name, name, _in_words(volume), workspace.folder(name), identity)
        self._begin(point, volume)
        return point

    def drop_plan(self, point: RecoveryPoint) -> None:
        """Others may make shadow copies again."""
        if point.name in self._sets:
            self._give_up(point)

    def take(self, point: RecoveryPoint, volume: Volume, workspace: Workspace) -> None:
        """Make it; a failure that may pass is tried again with a new set, as the old one cannot go on."""
        remarks = self._remarks.setdefault(point.name, [])
        for pause in (*PAUSES, None):
            components = self._sets.get(point.name) or self._begin(point, volume)
            try:
                components.prepare()
                components.create()
                break
            except VssError as error:
                culprits = _failed_writers(components)
                self._give_up(point)
                told = "; ".join([in_words(error), *map(writer_in_words, culprits)])
                may_pass = passes(error) or any(meaning(one.failure).passes for one in culprits)
                if pause is None or not may_pass:
                    raise SourceError(
                        f"no shadow copy of {point.volume} could be made: {told}",
                        hint=meaning(error.code).hint,
                    ) from error
                remarks.append(f"a shadow copy of {point.volume} was tried again: {told}")
                self._pause(pause)
        # A writer that failed leaves the shadow copy as it is: its own files are as after a power cut.
        remarks += [
            f"{writer_in_words(one)}; its files on {point.volume} are as after a power cut"
            for one in _failed_writers(components)
        ]
        self._show(point, components, workspace)

    def _show(self, point: RecoveryPoint, components: Components, workspace: Workspace) -> None:
        try:
            shadow = components.shadow(point.identity["shadow"].decode())
        except VssError as error:
            raise SourceError(f"the shadow copy of {point.volume} is not there: {in_words(error)}") from error
        if shadow.state != CREATED:
            raise SourceError(
                f"the shadow copy of {point.volume} cannot be read: it is in state {shadow.state}"
            )
        workspace.make(point.name)
        workspace.bind(self._place_of(shadow.device), point.view)

    def remarks(self, point: RecoveryPoint) -> list[str]:
        """Which writers failed, and what had to be tried again."""
        return self._remarks.pop(point.name, [])

    def release(self, point: RecoveryPoint, workspace: Workspace) -> None:
        """Let writers go on, and delete the shadow copy."""
        workspace.unmount(point.name)
        self._remarks.pop(point.name, None)
        components = self._sets.pop(point.name, None)
        id = point.identity.get("shadow", b"").decode()
        if components is None:
            # Made by a process that has ended: Windows deleted it then, but it may be slow at that.
            if id:
                self._delete_left_over(point, id)
            return
        try:
            # Writers that fail now, or were never asked, change nothing of what was read.
            with suppress(VssError):
                components.complete()
            _delete(components, point, id)
        finally:
            components.close()

    def _delete_left_over(self, point: RecoveryPoint, id: str) -> None:
        try:
            components = self._api.open_all()
        except VssError as error:
            raise _kept(point, error) from error
        try:
            _delete(components, point, id)
        finally:
            components.close()

    def _ensure_service(self, volume: Volume) -> None:
        """Start the service where it is not running, and wait for it."""
        try:
            state = self._api.service_state()
            if state == ServiceState.STOPPED:
                self._api.start_service()
            left = _SERVICE_SECONDS
            while (state := self._api.service_state()) != ServiceState.RUNNING and left > 0:
                self._pause(_SERVICE_STEP)
                left -= _SERVICE_STEP
                if state == ServiceState.STOPPED:
                    self._api.start_service()
        except VssError as error:
            raise SourceError(
                f"no shadow copy of {_in_words(volume)} can be made: {in_words(error)}",
                hint=meaning(error.code).hint,
            ) from error
        if state != ServiceState.RUNNING:
            raise SourceError(
                f"no shadow copy of {_in_words(volume)} can be made: the service VSS does not start",
                hint="see in services.msc why Volume Shadow Copy does not run",
            )

    def _begin(self, point: RecoveryPoint, volume: Volume) -> Components:
        r"""A set with the volume in it, whose shadow copy has an id from now on."""
        device = "\\\\?\\" + volume.mount.source.decode() + "\\"
        for pause in (*PAUSES, None):
            components: Components | None = None
            try:
                components = self._api.open()
                components.initialize()
                components.gather_writer_metadata()
                components.start_set()
                point.identity["shadow"] = components.add(device).encode()
            except VssError as error:
                if components is not None:
                    with suppress(VssError):
                        components.abort()
                    components.close()
                if pause is None or not passes(error):
                    raise SourceError(
                        f"no shadow copy of {point.volume} could be made: {in_words(error)}",
                        hint=meaning(error.code).hint,
                    ) from error
                self._pause(pause)
            else:
                self._sets[point.name] = components
                return components
        raise AssertionError

    def _give_up(self, point: RecoveryPoint) -> None:
        components = self._sets.pop(point.name)
        with suppress(VssError):
            components.abort()
        components.close()


def _failed_writers(components: Components) -> list[WriterStatus]:
    try:
        return [status for status in components.writer_statuses() if failed(status)]
    except VssError:
        # Where the writers cannot be asked, the error that led here has to do.
        return []


def _delete(components: Components, point: RecoveryPoint, id: str) -> None:
    try:
        components.delete(id)
    except VssError as error:
        if error.code != OBJECT_NOT_FOUND:
            raise _kept(point, error) from error


def _kept(point: RecoveryPoint, error: VssError) -> SourceError:
    id = point.identity.get("shadow", b"").decode()
    return SourceError(
        f"the shadow copy {id} of {point.volume} could not be deleted: {in_words(error)}",
        hint=meaning(error.code).hint,
    )


def _in_words(volume: Volume) -> str:
    return f"the volume at {os.fsdecode(volume.mount.point)!r}"
