"""The Volume Shadow Copy Service by COM: `VssApi` for real.

IVssBackupComponents is a C++ interface without a type library; methods are called by their places in
vsbackup.h: https://learn.microsoft.com/windows/win32/api/vsbackup/nl-vsbackup-ivssbackupcomponents
"""

import ctypes
import sys
import threading
import time
from ctypes import POINTER, byref, c_bool, c_int, c_long, c_longlong, c_uint, c_void_p, c_wchar_p
from typing import Any, Final

from backstay.recovery_points.vss_api import (
    Components,
    ServiceState,
    Shadow,
    VssError,
    WriterStatus,
)

assert sys.platform == "win32"

_ole: Final = ctypes.OleDLL("ole32")
_SECONDS: Final = 600.0
"""Freezing itself may take a minute, gathering what writers have some more; longer than this it hangs."""
_STEP_MS: Final = 500
_PENDING, _FINISHED = 0x00042309, 0x0004230A
_TIMED_OUT: Final = 0x00000102
_ALREADY_THERE: Final = frozenset((0x80010106, 0x80010119))
"""RPC_E_CHANGED_MODE, RPC_E_TOO_LATE: the process has settled this already."""
_NOT_THERE: Final = 0x80070424
_CONTEXT_BACKUP, _CONTEXT_ALL = 0, -1
_COPY: Final = 5
_SNAPSHOT: Final = 3
_QUERY, _START = 0x4, 0x10
_prepared = threading.local()


class Guid(ctypes.Structure):
    """A GUID."""

    _fields_ = (
        ("first", ctypes.c_uint32),
        ("second", ctypes.c_uint16),
        ("third", ctypes.c_uint16),
        ("rest", ctypes.c_uint8 * 8),
    )


class _Properties(ctypes.Structure):
    """VSS_SNAPSHOT_PROP."""

    _fields_ = (
        ("id", Guid),
        ("set", Guid),
        ("count", c_long),
        ("device", c_wchar_p),
        ("volume", c_wchar_p),
        ("machine", c_wchar_p),
        ("service_machine", c_wchar_p),
        ("exposed_name", c_wchar_p),
        ("exposed_path", c_wchar_p),
        ("provider", Guid),
        ("attributes", c_long),
        ("created", c_longlong),
        ("state", c_int),
    )


# Places in the table of IVssBackupComponents; IUnknown has the first three.
_RELEASE: Final = 2
_INITIALIZE, _SET_STATE, _GATHER_METADATA, _FREE_METADATA = 5, 6, 9, 12
_PREPARE, _ABORT, _GATHER_STATUS, _STATUS_COUNT, _FREE_STATUS, _STATUS = 14, 15, 16, 17, 18, 19
_COMPLETE, _SET_CONTEXT, _START_SET, _ADD, _DO, _DELETE, _PROPERTIES = 27, 35, 36, 37, 38, 39, 42
# Of IVssAsync.
_CANCEL, _WAIT, _QUERY_STATUS = 3, 4, 5


class WindowsVss:
    """The service of this machine; for any thread."""

    def service_state(self) -> ServiceState:
        """As VssApi."""
        state = int(self._with_service(_QUERY, lambda service, api: api.QueryServiceStatus(service)[1]))
        return ServiceState(state) if state in ServiceState._value2member_map_ else ServiceState.STOPPED

    def start_service(self) -> None:
        """As VssApi."""
        self._with_service(_START, lambda service, api: api.StartService(service, None))

    def _with_service(self, access: int, act: Any) -> Any:
        import pywintypes
        import win32service

        try:
            manager = win32service.OpenSCManager(None, None, 0x1)
            try:
                service = win32service.OpenService(manager, "VSS", access)
                try:
                    return act(service, win32service)
                finally:
                    win32service.CloseServiceHandle(service)
            finally:
                win32service.CloseServiceHandle(manager)
        except pywintypes.error as error:
            raise VssError(0x80070000 | (error.winerror & 0xFFFF), str(error.funcname)) from error

    def open(self) -> Components:
        """As VssApi."""
        return _ComComponents(_CONTEXT_BACKUP)

    def open_all(self) -> Components:
        """As VssApi."""
        components = _ComComponents(_CONTEXT_ALL)
        try:
            components.initialize()
        except VssError:
            components.close()
            raise
        return components


class _ComComponents:
    """One IVssBackupComponents. Every method as in Components."""

    def __init__(self, context: int) -> None:
        self._context = context
        _prepare_com()
        self._pointer = c_void_p()
        try:
            create = ctypes.WinDLL("vssapi").CreateVssBackupComponentsInternal
        except (OSError, AttributeError) as error:
            raise VssError(_NOT_THERE, "CreateVssBackupComponents") from error
        create.restype = c_long
        _check(create(byref(self._pointer)), "CreateVssBackupComponents")

    def initialize(self) -> None:
        self._call(_INITIALIZE, "InitializeForBackup", (c_void_p,), None)
        self._call(_SET_CONTEXT, "SetContext", (c_long,), self._context)
        if self._context == _CONTEXT_BACKUP:
            kinds = (c_bool, c_bool, c_int, c_bool)
            self._call(_SET_STATE, "SetBackupState", kinds, False, False, _COPY, False)

    def gather_writer_metadata(self) -> None:
        self._wait(_GATHER_METADATA, "GatherWriterMetadata")
        # What it says of components is not used, and takes memory in the service.
        self._call(_FREE_METADATA, "FreeWriterMetadata", ())

    def start_set(self) -> None:
        self._call(_START_SET, "StartSnapshotSet", (POINTER(Guid),), byref(Guid()))

    def add(self, volume: str) -> str:
        id = Guid()
        self._call(_ADD, "AddToSnapshotSet", (c_wchar_p, Guid, POINTER(Guid)), volume, Guid(), byref(id))
        return _text(id)

    def prepare(self) -> None:
        self._wait(_PREPARE, "PrepareForBackup")

    def create(self) -> None:
        self._wait(_DO, "DoSnapshotSet")

    def writer_statuses(self) -> list[WriterStatus]:
        self._wait(_GATHER_STATUS, "GatherWriterStatus")
        count = c_uint()
        self._call(_STATUS_COUNT, "GetWriterStatusCount", (POINTER(c_uint),), byref(count))
        found = []
        kinds = (c_uint, *(POINTER(Guid),) * 2, POINTER(c_void_p), POINTER(c_int), POINTER(c_long))
        for number in range(count.value):
            instance, writer, name, state, failure = Guid(), Guid(), c_void_p(), c_int(), c_long()
            targets = [byref(each) for each in (instance, writer, name, state, failure)]
            self._call(_STATUS, "GetWriterStatus", kinds, number, *targets)
            found.append(WriterStatus(_take_text(name), state.value, failure.value & 0xFFFFFFFF))
        self._call(_FREE_STATUS, "FreeWriterStatus", ())
        return found

    def shadow(self, id: str) -> Shadow:
        properties = _Properties()
        self._call(
            _PROPERTIES, "GetSnapshotProperties", (Guid, POINTER(_Properties)), _guid(id), byref(properties)
        )
        found = Shadow(id, properties.device or "", properties.state)
        free = ctypes.WinDLL("vssapi").VssFreeSnapshotPropertiesInternal
        free.restype = None
        free(byref(properties))
        return found

    def delete(self, id: str) -> None:
        kinds = (Guid, c_int, c_int, POINTER(c_long), POINTER(Guid))
        deleted, left = c_long(), Guid()
        self._call(_DELETE, "DeleteSnapshots", kinds, _guid(id), _SNAPSHOT, True, byref(deleted), byref(left))

    def complete(self) -> None:
        self._wait(_COMPLETE, "BackupComplete")

    def abort(self) -> None:
        self._call(_ABORT, "AbortBackup", ())

    def close(self) -> None:
        if self._pointer:
            _prepare_com()
            _method(self._pointer, _RELEASE, ())(self._pointer)
            self._pointer = c_void_p()

    def _call(self, place: int, name: str, kinds: tuple[Any, ...], *arguments: Any) -> None:
        _prepare_com()
        _check(_method(self._pointer, place, kinds)(self._pointer, *arguments), name)

    def _wait(self, place: int, name: str) -> None:
        """Call what gives an IVssAsync, and wait for its end."""
        pending = c_void_p()
        self._call(place, name, (POINTER(c_void_p),), byref(pending))
        try:
            ends = time.monotonic() + _SECONDS
            while True:
                _check(_method(pending, _WAIT, (ctypes.c_ulong,))(pending, _STEP_MS), name)
                result = c_long()
                kinds = (POINTER(c_long), c_void_p)
                _check(_method(pending, _QUERY_STATUS, kinds)(pending, byref(result), None), name)
                if result.value != _PENDING:
                    break
                if time.monotonic() > ends:
                    _method(pending, _CANCEL, ())(pending)
                    raise VssError(_TIMED_OUT, name)
            _check(result.value, name)
            if result.value != _FINISHED:
                raise VssError(result.value, name)
        finally:
            _method(pending, _RELEASE, ())(pending)


def _method(pointer: c_void_p, place: int, kinds: tuple[Any, ...]) -> Any:
    table = ctypes.cast(pointer, POINTER(POINTER(c_void_p))).contents
    return ctypes.WINFUNCTYPE(c_long, c_void_p, *kinds)(table[place] or 0)


def _check(code: int, call: str) -> None:
    if code < 0:
        raise VssError(code, call)


def _prepare_com() -> None:
    """Once a thread, and once a process: writers must be allowed to answer.

    https://learn.microsoft.com/windows/win32/vss/security-considerations-for-requestors
    """
    if getattr(_prepared, "done", False):
        return
    for call, arguments in (
        (_ole.CoInitializeEx, (None, 0)),
        # Any caller, packets sealed, callers identified.
        (_ole.CoInitializeSecurity, (None, -1, None, None, 6, 2, None, 0, None)),
    ):
        try:
            call(*arguments)
        except OSError as error:
            if (error.winerror & 0xFFFFFFFF) not in _ALREADY_THERE:
                raise VssError(error.winerror, call.__name__) from error
    _prepared.done = True


def _guid(text: str) -> Guid:
    found = Guid()
    _ole.CLSIDFromString(text, byref(found))
    return found


def _text(id: Guid) -> str:
    room = ctypes.create_unicode_buffer(40)
    ctypes.WinDLL("ole32").StringFromGUID2(byref(id), room, len(room))
    return room.value


def _take_text(bstr: c_void_p) -> str:
    """The text of a BSTR, which is given back."""
    text = ctypes.wstring_at(bstr.value) if bstr.value else ""
    ctypes.WinDLL("oleaut32").SysFreeString(bstr)
    return text
