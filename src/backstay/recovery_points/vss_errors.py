"""What VSS means by its numbers, in words for an administrator, and which of them pass by themselves.

https://learn.microsoft.com/windows/win32/vss/volume-shadow-copy-api-error-codes (vss.h, vswriter.h), and
https://learn.microsoft.com/windows/win32/debug/system-error-codes
"""

from typing import Final, NamedTuple

from backstay.recovery_points.vss_api import VssError, WriterStatus

OBJECT_NOT_FOUND: Final = 0x80042308
IN_PROGRESS: Final = 0x80042316


class Meaning(NamedTuple):
    """Of an error.

    Attributes:
        words: a clause.
        hint: what to do; empty where it passes by itself.
        passes: worth another try.
    """

    words: str
    hint: str = ""
    passes: bool = False


_EVENTS: Final = "the Application event log, source VSS, says more"

_MEANINGS: Final = {
    0x80070005: Meaning("access was denied", "run the agent as LocalSystem or as an administrator"),
    0x8007000E: Meaning("Windows is out of memory", passes=True),
    0x80070422: Meaning(
        "the service VSS is disabled", "set its start type to Manual: sc config VSS start= demand"
    ),
    0x80070424: Meaning("this Windows has no service VSS"),
    0x800706BA: Meaning("the service VSS did not answer", passes=True),
    0x80042301: Meaning("VSS is not in the right state for it", _EVENTS, passes=True),
    0x80042302: Meaning("VSS met an unexpected error", _EVENTS, passes=True),
    0x80042306: Meaning("the shadow copy provider refused", _EVENTS, passes=True),
    OBJECT_NOT_FOUND: Meaning("there is no such shadow copy or volume"),
    0x8004230C: Meaning("VSS does not support this volume"),
    0x8004230E: Meaning("the shadow copy provider does not support this volume"),
    0x8004230F: Meaning("the shadow copy provider met an unexpected error", _EVENTS, passes=True),
    0x80042312: Meaning("there are too many volumes in one shadow copy set"),
    0x80042313: Meaning(
        "Windows could not write back what waited for the disk in time", _EVENTS, passes=True
    ),
    0x80042314: Meaning("Windows could not hold back writing long enough", _EVENTS, passes=True),
    0x80042315: Meaning("a writer met an unexpected error", _EVENTS, passes=True),
    IN_PROGRESS: Meaning("another program is making a shadow copy", passes=True),
    0x80042317: Meaning(
        "the volume has as many shadow copies as it can", "delete old ones: vssadmin delete shadows"
    ),
    0x80042318: Meaning(
        "the writers cannot be reached", "look at `vssadmin list writers`, and restart COM+ Event System"
    ),
    0x80042319: Meaning("a writer did not respond", "look at `vssadmin list writers`", passes=True),
    0x8004231B: Meaning("this Windows has no shadow copies for backups"),
    0x8004231D: Meaning("the volume is in use", passes=True),
    0x8004231F: Meaning(
        "there is no room for shadow copies", "make room, or raise it: vssadmin resize shadowstorage"
    ),
    0x80042327: Meaning("Windows has to be restarted first", "restart the machine"),
    0x80042328: Meaning("a transaction could not be frozen in time", _EVENTS, passes=True),
    0x80042329: Meaning("a transaction could not be resumed in time", _EVENTS, passes=True),
    0x8004232D: Meaning("the volume is not on this machine"),
    0x8004232E: Meaning("the cluster did not answer in time", passes=True),
    0x80042336: Meaning("a writer could not do a part of it", _EVENTS),
    0x800423F0: Meaning("the shadow copy lacks a volume that the writer needs"),
    0x800423F1: Meaning("it ran out of memory or other resources", _EVENTS, passes=True),
    0x800423F2: Meaning("it took too long", _EVENTS, passes=True),
    0x800423F3: Meaning("it failed in a way that may pass", _EVENTS, passes=True),
    0x800423F4: Meaning("it failed in a way that will not pass", _EVENTS),
    0x800423F5: Meaning("it could not make its data consistent in the shadow copy", _EVENTS),
    0x000102: Meaning("it did not end in time", _EVENTS, passes=True),
}

_FAILED_AT: Final = {
    6: "when it was asked what it has",
    7: "when it prepared for the backup",
    8: "when it prepared for the shadow copy",
    9: "when it should hold still",
    10: "when it should go on",
    11: "after the shadow copy",
    12: "when the backup was complete",
    15: "when the backup ended",
}


def meaning(code: int) -> Meaning:
    """Of an HRESULT."""
    known = _MEANINGS.get(code & 0xFFFFFFFF)
    return known or Meaning(f"VSS answered 0x{code & 0xFFFFFFFF:08X}", _EVENTS)


def in_words(error: VssError) -> str:
    """A clause: what went wrong, and in which call, for whoever looks the number up."""
    return f"{meaning(error.code).words} (0x{error.code:08X} in {error.call})"


def passes(error: VssError) -> bool:
    """Whether another try may succeed."""
    return meaning(error.code).passes


def failed(status: WriterStatus) -> bool:
    """Whether a writer failed. https://learn.microsoft.com/windows/win32/api/vss/ne-vss-vss_writer_state"""
    return status.state in _FAILED_AT or bool(status.failure)


def writer_in_words(status: WriterStatus) -> str:
    """A sentence: which writer failed, when and why."""
    when = f" {_FAILED_AT[status.state]}" if status.state in _FAILED_AT else ""
    why = f": {meaning(status.failure).words} (0x{status.failure:08X})" if status.failure else ""
    return f"the writer {status.name!r} failed{when}{why}"
