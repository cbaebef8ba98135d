"""What `windows_calls` has of the module `os` for the content of open files."""

import errno
import os as _os
import sys
from collections.abc import Sequence
from ctypes import byref, c_char, c_int64
from typing import Final

from backstay.system import nt_api as nt
from backstay.system.nt_status import END_OF_FILE, error_text, status_error
from backstay.system.windows_open import device_control, raw_handle, set_information, status_of_handle

assert sys.platform == "win32"

SEEK_DATA, SEEK_HOLE = 3, 4
RWF_NOWAIT: Final = 8

_SPARSE_FROM: Final = 1 << 20


def pread(fd: int, length: int, offset: int) -> bytes:
    """As os.pread, but for the position of a file that is also written by it: that moves (NtReadFile)."""
    room = bytearray(length)
    return bytes(room[: preadv(fd, [room], offset)])


def preadv(fd: int, buffers: Sequence[memoryview | bytearray], offset: int, flags: int = 0) -> int:
    """As os.preadv. With RWF_NOWAIT nothing is read: whether it would have to wait cannot be told."""
    done = 0
    for buffer in buffers:
        length = len(buffer)
        if flags & RWF_NOWAIT or not length:
            continue
        answer, at = nt.IoStatus(), c_int64(offset + done)
        status = nt.read_file(
            raw_handle(fd),
            None,
            None,
            None,
            byref(answer),
            byref(c_char.from_buffer(buffer)),
            length,
            byref(at),
            None,
        )
        if status & 0xFFFFFFFF == END_OF_FILE:
            break
        if status < 0:
            raise status_error(status)
        done += answer.information
        if answer.information < length:
            break
    return done


def pwrite(fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
    """As os.pwrite."""
    if not len(data):
        return 0
    view = memoryview(data)
    source = bytes(view) if view.readonly else c_char.from_buffer(view)
    answer, at = nt.IoStatus(), c_int64(offset)
    pointer = source if isinstance(source, bytes) else byref(source)
    status = nt.write_file(
        raw_handle(fd), None, None, None, byref(answer), pointer, view.nbytes, byref(at), None
    )
    if status < 0:
        raise status_error(status)
    return int(answer.information)


def ftruncate(fd: int, length: int) -> None:
    """As os.ftruncate; what a file grows by is a hole where the file system can have one."""
    handle = raw_handle(fd)
    if length - status_of_handle(handle).st_size >= _SPARSE_FROM:
        try:
            device_control(handle, nt.SET_SPARSE)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
    set_information(handle, nt.END_OF_FILE_INFORMATION, length.to_bytes(8, "little"))


def lseek(fd: int, offset: int, how: int) -> int:
    """As os.lseek; SEEK_DATA and SEEK_HOLE by FSCTL_QUERY_ALLOCATED_RANGES.

    Where the file system cannot tell, all of a file is data.
    """
    if how not in (SEEK_DATA, SEEK_HOLE):
        return _os.lseek(fd, offset, how)
    handle = raw_handle(fd)
    size = status_of_handle(handle).st_size
    if offset >= size:
        raise OSError(errno.ENXIO, error_text(errno.ENXIO))
    asked = offset.to_bytes(8, "little") + (size - offset).to_bytes(8, "little")
    try:
        answer = device_control(handle, nt.QUERY_ALLOCATED_RANGES, asked, 16 * 64)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return offset if how == SEEK_DATA else size
    ranges = [
        (int.from_bytes(answer[at : at + 8], "little"), int.from_bytes(answer[at + 8 : at + 16], "little"))
        for at in range(0, len(answer), 16)
    ]
    if how == SEEK_DATA:
        if not ranges:
            raise OSError(errno.ENXIO, error_text(errno.ENXIO))
        return max(offset, ranges[0][0])
    end = offset
    for start, length in ranges:
        if start > end:
            break
        end = start + length
    return min(end, size)
