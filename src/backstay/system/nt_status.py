"""What the kernel of Windows answers, as the OSError that Linux would have raised.

Numbers: https://learn.microsoft.com/openspecs/windows_protocols/ms-erref/596a1078-e883-4972-9bbc-49e60bebca55
"""

import errno
import os
from typing import Final

SUCCESS: Final = 0
BUFFER_OVERFLOW: Final = 0x80000005
NO_MORE_FILES: Final = 0x80000006
NO_SUCH_FILE: Final = 0xC000000F
END_OF_FILE: Final = 0xC0000011
NOT_IMPLEMENTED: Final = 0xC0000002
INVALID_INFO_CLASS: Final = 0xC0000003
INVALID_PARAMETER: Final = 0xC000000D
INVALID_DEVICE_REQUEST: Final = 0xC0000010
ACCESS_DENIED: Final = 0xC0000022
BUFFER_TOO_SMALL: Final = 0xC0000023
PRIVILEGE_NOT_HELD: Final = 0xC0000061
NOT_SUPPORTED: Final = 0xC00000BB
NOT_A_REPARSE_POINT: Final = 0xC0000275
CANNOT_DELETE: Final = 0xC0000121
NO_EAS_ON_FILE: Final = 0xC0000052

NOT_THERE: Final = frozenset(
    (NOT_IMPLEMENTED, INVALID_INFO_CLASS, INVALID_PARAMETER, INVALID_DEVICE_REQUEST, NOT_SUPPORTED)
)
"""This Windows, or this file system, does not know the call: an older one has to do."""

_NUMBERS: Final = {
    NOT_IMPLEMENTED: errno.ENOSYS,
    INVALID_INFO_CLASS: errno.EOPNOTSUPP,
    0xC0000008: errno.EBADF,
    INVALID_PARAMETER: errno.EINVAL,
    0xC000000E: errno.ENODEV,
    NO_SUCH_FILE: errno.ENOENT,
    INVALID_DEVICE_REQUEST: errno.EOPNOTSUPP,
    0xC0000013: errno.ENODEV,
    0xC0000017: errno.ENOMEM,
    ACCESS_DENIED: errno.EACCES,
    0xC0000024: errno.ENOTDIR,
    0xC0000032: errno.EIO,
    0xC0000033: errno.EINVAL,
    0xC0000034: errno.ENOENT,
    0xC0000035: errno.EEXIST,
    0xC0000039: errno.EINVAL,
    0xC000003A: errno.ENOENT,
    0xC000003B: errno.EINVAL,
    0xC000003E: errno.EIO,
    0xC000003F: errno.EIO,
    0xC0000043: errno.EBUSY,
    0xC0000044: errno.ENOSPC,
    0xC0000054: errno.EAGAIN,
    0xC0000055: errno.EAGAIN,
    0xC0000056: errno.EBUSY,
    PRIVILEGE_NOT_HELD: errno.EPERM,
    0xC000007F: errno.ENOSPC,
    0xC000009A: errno.ENOMEM,
    0xC000009C: errno.EIO,
    0xC00000A2: errno.EROFS,
    0xC00000A3: errno.ENODEV,
    0xC00000B5: errno.ETIMEDOUT,
    0xC00000BA: errno.EISDIR,
    NOT_SUPPORTED: errno.EOPNOTSUPP,
    0xC00000BE: errno.ENOENT,
    0xC00000C9: errno.ENODEV,
    0xC00000CC: errno.ENOENT,
    0xC00000D4: errno.EXDEV,
    0xC0000101: errno.ENOTEMPTY,
    0xC0000102: errno.EIO,
    0xC0000103: errno.ENOTDIR,
    0xC0000106: errno.ENAMETOOLONG,
    0xC000011F: errno.EMFILE,
    CANNOT_DELETE: errno.EACCES,
    0xC0000123: errno.ENOENT,
    0xC0000185: errno.EIO,
    0xC0000265: errno.EMLINK,
    NOT_A_REPARSE_POINT: errno.EINVAL,
    0xC0000280: errno.ELOOP,
}


def status_error(status: int, name: bytes | str = b"") -> OSError:
    """The error of a status, whose number is one that `reasons.reason_of` has words for."""
    status &= 0xFFFFFFFF
    number = _NUMBERS.get(status)
    if number is None:
        return OSError(errno.EIO, f"Windows answers with status 0x{status:08X}", name or None)
    return OSError(number, error_text(number), name or None)


def error_text(number: int) -> str:
    """Words for an errno, also for those that the C library of Windows has none for."""
    return "Not supported" if number == errno.EOPNOTSUPP else os.strerror(number)
