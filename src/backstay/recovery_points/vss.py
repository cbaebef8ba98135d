r"""VSS: a shadow copy of each volume, in which writers (databases, Exchange, the registry …) take part.

IVssBackupComponents is used, not WMI's Win32_ShadowCopy.Create: that makes copies in the context
ClientAccessible, without writers, so a database would look as after a power cut, and they outlive a crashed
backup. The context here is VSS_CTX_BACKUP: writers hold still at a consistent point, and Windows deletes the
copy by itself once the process that owns it ends, however that happens. The backup is declared a *copy*
(VSS_BT_COPY) of no particular component, so that no writer truncates logs that another backup program relies
upon.

The volumes that are planned before the first is taken go into one set: Windows freezes them at one moment.
Where such a set cannot be made, each volume gets one of its own, so that one that has no room for a shadow
copy keeps no other from having one.

Order of calls: https://learn.microsoft.com/windows/win32/vss/shadow-copy-creation-details
It has not met a real Windows: it is written from Microsoft's pages and tested over a stand-in of `VssApi`;
`backstay doctor` exercises it on the customer's machine.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
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
from backstay.system.host import quoted_path

PAUSES: Final = (10.0, 20.0, 40.0, 60.0, 60.0)
"""Seconds between tries. Microsoft advises ten minutes for some errors; a backup window may be shorter."""

_SERVICE_SECONDS: Final = 60.0
_SERVICE_STEP: Final = 0.5
_FILE_SYSTEMS: Final = ("NTFS", "ReFS")
_NOT_SUPPORTED: Final = frozenset((b"removable", b"optical", b"memory"))


class _Set:
    """Shadow copies that are made at one moment.

    Attributes:
        job: whose they are.
        members: the recovery points, each with its volume.
        made: the shadow copies are there; `ended`: writers were told that nothing more is read.
    """

    def __init__(self, components: Components, job: Path) -> None:
        self.components = components
        self.job = job
        self.members: dict[str, tuple[RecoveryPoint, Volume]] = {}
        self.made = False
        self.ended = False

    @property
    def volumes(self) -> str:
        """In words."""
        return " and ".join(point.volume for point, _ in self.members.values())


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
        self._sets: dict[str, _Set] = {}
        self._begun: dict[Path, _Set] = {}
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
        begun = self._begun.get(workspace.path)
        if begun is None:
            self._begin(workspace.path, [(point, volume)])
        else:
            self._join(begun, point, volume)
        return point

    def drop_plan(self, point: RecoveryPoint) -> None:
        """Others may make shadow copies again, once nothing else is planned."""
        self._leave(point)

    def take(self, point: RecoveryPoint, volume: Volume, workspace: Workspace) -> None:
        """Make it, and with it all that were planned; where that cannot be, alone."""
        own = self._sets.get(point.name)
        if own is not None and not own.made:
            try:
                own = self._make(own)
            except SourceError as error:
                if len(own.members) == 1:
                    raise
                for member, _ in own.members.values():
                    self._remarks.setdefault(member.name, []).append(
                        f"{member.volume} is frozen at a moment of its own: {error.what}"
                    )
                own = None
        if own is None:
            own = self._make(self._begin(workspace.path, [(point, volume)]))
        self._show(point, own.components, workspace)

    def _make(self, wanted: _Set) -> _Set:
        """A failure that may pass is tried again with a new set, as the old one cannot go on."""
        members = list(wanted.members.values())
        remarks = self._remarks.setdefault(members[0][0].name, [])
        for pause in (*PAUSES, None):
            try:
                wanted.components.prepare()
                wanted.components.create()
                break
            except VssError as error:
                culprits = _failed_writers(wanted.components)
                self._give_up(wanted)
                told = "; ".join([in_words(error), *map(writer_in_words, culprits)])
                may_pass = passes(error) or any(meaning(one.failure).passes for one in culprits)
                if pause is None or not may_pass:
                    raise SourceError(
                        f"no shadow copy of {wanted.volumes} could be made: {told}",
                        hint=meaning(error.code).hint,
                    ) from error
                remarks.append(f"a shadow copy of {wanted.volumes} was tried again: {told}")
                self._pause(pause)
                wanted = self._begin(wanted.job, members)
        wanted.made = True
        self._begun.pop(wanted.job, None)
        # A writer that failed leaves the shadow copy as it is: its own files are as after a power cut.
        remarks += [
            f"{writer_in_words(one)}; its files on {wanted.volumes} are as after a power cut"
            for one in _failed_writers(wanted.components)
        ]
        return wanted

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
        own = self._sets.get(point.name)
        id = point.identity.get("shadow", b"").decode()
        if own is None:
            # Made by a process that has ended: Windows deleted it then, but it may be slow at that.
            if id:
                self._delete_left_over(point, id)
            return
        try:
            if own.made:
                if not own.ended:
                    own.ended = True
                    # Writers that fail now, or were never asked, change nothing of what was read.
                    with suppress(VssError):
                        own.components.complete()
                _delete(own.components, point, id)
        finally:
            self._leave(point)

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

    def _begin(self, job: Path, members: list[tuple[RecoveryPoint, Volume]]) -> _Set:
        """A set with these volumes in it, whose shadow copies have ids from now on."""
        for pause in (*PAUSES, None):
            components: Components | None = None
            try:
                components = self._api.open()
                components.initialize()
                components.gather_writer_metadata()
                components.start_set()
                begun = _Set(components, job)
                for point, volume in members:
                    self._add(begun, point, volume)
            except VssError as error:
                if components is not None:
                    with suppress(VssError):
                        components.abort()
                    components.close()
                if pause is None or not passes(error):
                    raise _not_made(members[-1][0], error) from error
                self._pause(pause)
            else:
                self._sets |= dict.fromkeys(begun.members, begun)
                self._begun[job] = begun
                return begun
        raise AssertionError

    def _join(self, begun: _Set, point: RecoveryPoint, volume: Volume) -> None:
        try:
            self._add(begun, point, volume)
        except VssError as error:
            raise _not_made(point, error) from error
        self._sets[point.name] = begun

    @staticmethod
    def _add(begun: _Set, point: RecoveryPoint, volume: Volume) -> None:
        device = "\\\\?\\" + volume.mount.source.decode() + "\\"
        point.identity["shadow"] = begun.components.add(device).encode()
        begun.members[point.name] = point, volume

    def _leave(self, point: RecoveryPoint) -> None:
        """The last one to leave a set closes it, and what is left of its shadow copies goes."""
        own = self._sets.pop(point.name, None)
        if own is not None:
            del own.members[point.name]
            if not own.members:
                self._give_up(own)

    def _give_up(self, own: _Set) -> None:
        for name in own.members:
            self._sets.pop(name, None)
        if self._begun.get(own.job) is own:
            del self._begun[own.job]
        if not own.made:
            with suppress(VssError):
                own.components.abort()
        own.components.close()


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


def _not_made(point: RecoveryPoint, error: VssError) -> SourceError:
    return SourceError(
        f"no shadow copy of {point.volume} could be made: {in_words(error)}", hint=meaning(error.code).hint
    )


def _kept(point: RecoveryPoint, error: VssError) -> SourceError:
    id = point.identity.get("shadow", b"").decode()
    return SourceError(
        f"the shadow copy {id} of {point.volume} could not be deleted: {in_words(error)}",
        hint=meaning(error.code).hint,
    )


def _in_words(volume: Volume) -> str:
    return f"the volume at {quoted_path(volume.mount.point)}"
