"""A second process that looks at the disk while this one still opens the repository, and then compares.

The runs come through shared memory, a ring of blocks, and a pipe that says how many bytes
the next block holds. The pipe is short: a process that is far ahead waits.
"""

import gc
import mmap
import os
import signal
import struct
import sys
import time
from dataclasses import replace
from typing import NoReturn

import msgspec

from backstay.backup.listing import ListingRequest, Run, list_runs
from backstay.backup.source import choose_roots
from backstay.domain.content_rule import ContentRule
from backstay.domain.errors import SourceError
from backstay.system.host import sync_filesystem

_BLOCK = 64 << 10
_AHEAD = 512
"""Blocks in the pipe: it takes a page, and each block one number of eight bytes."""
_BLOCKS = _AHEAD + 64
_NUMBER = struct.Struct("<Q")
_LENGTH = struct.Struct("<I")


class ListingLost(Exception):
    """The process that looked at the disk ended before it was done."""


class ListingAhead:
    """A listing that a forked process has begun; see `begin_listing`.

    Attributes:
        request: what it lists.
        started_ns: before anything was looked at.
    """

    def __init__(self, request: ListingRequest) -> None:
        # Windows has no such module; nothing is listed ahead there.
        import fcntl

        self.request = request
        self.started_ns = request.now_ns
        self._ring = mmap.mmap(-1, _BLOCKS * _BLOCK)
        self._numbers, told = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(told, fcntl.F_SETPIPE_SZ, _AHEAD * _NUMBER.size)
        self._process = os.fork()
        if self._process == 0:
            os.close(self._numbers)
            _look(request, self._ring, told)
        os.close(told)
        self._block = 0
        self._read = bytearray()
        self._at = 0
        self._decode = msgspec.msgpack.Decoder(Run).decode

    def fits(self, request: ListingRequest) -> bool:
        """Whether this is the listing that was asked for, but for the moment of it."""
        return replace(request, now_ns=self.request.now_ns) == self.request

    def next(self) -> Run:
        """As Listing.next. Raises ListingLost."""
        length: int = _LENGTH.unpack(self._take(_LENGTH.size))[0]
        return self._decode(self._take(length))

    def _take(self, length: int) -> memoryview:
        """The next bytes; valid until the next call."""
        while len(self._read) - self._at < length:
            number = os.read(self._numbers, _NUMBER.size)
            if not number:
                raise ListingLost
            del self._read[: self._at]
            self._at = 0
            size: int = _NUMBER.unpack(number)[0]
            begin = self._block % _BLOCKS * _BLOCK
            self._read += memoryview(self._ring)[begin : begin + size]
            self._block += 1
        taken = bytes(self._read[self._at : self._at + length])
        self._at += length
        return memoryview(taken)

    def close(self) -> None:
        """As Listing.close."""
        if self._process:
            os.close(self._numbers)
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)
            self._process = 0
            self._ring.close()


def begin_listing(paths: list[bytes], rule: ContentRule, *, cross_mounts: bool) -> ListingAhead | None:
    """Begin to look at the live files of a set, in a process of its own; None where that cannot pay.

    That is where a volume can be frozen, as then the recovery point is what counts. And a
    process is only forked while it has a single thread: what another one holds would stay
    locked for ever in the copy.

    Args:
        rule: all of what the backup leaves out.
    """
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2 or len(os.listdir("/proc/self/task")) > 1:
        return None
    try:
        roots, _ = choose_roots(paths)
    except SourceError:
        return None
    request = ListingRequest(roots, rule, cross_mounts, time.time_ns())
    listing = ListingAhead(request)
    # Asked and imported only now, as nearly always the answer is that nothing is hidden.
    from backstay.backup.freeze import hidden_where_live

    hidden = hidden_where_live(roots, cross_mounts=cross_mounts)
    if hidden == set():
        return listing
    listing.close()
    return None if hidden is None else ListingAhead(replace(request, hidden=frozenset(hidden)))


def _look(request: ListingRequest, ring: mmap.mmap, told: int) -> NoReturn:
    """The life of the forked process: it must touch nothing of its parent's, and leaves without clean-up."""
    code = 1
    try:
        # Ctrl-C is the parent's to handle; where the parent is gone, nobody wants to know more.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        gc.disable()
        for root in request.roots:
            sync_filesystem(root.actual)
        encode_into = msgspec.msgpack.Encoder().encode_into
        ready = bytearray()
        block = 0
        for run in list_runs(request):
            begin = len(ready)
            encode_into(run, ready, begin + _LENGTH.size)
            _LENGTH.pack_into(ready, begin, len(ready) - begin - _LENGTH.size)
            while len(ready) >= _BLOCK:
                block = _tell(ring, told, block, ready)
        _tell(ring, told, block, ready)
        code = 0
    finally:
        os._exit(code)


def _tell(ring: mmap.mmap, told: int, block: int, ready: bytearray) -> int:
    size = min(len(ready), _BLOCK)
    begin = block % _BLOCKS * _BLOCK
    ring[begin : begin + size] = ready[:size]
    del ready[:size]
    os.write(told, _NUMBER.pack(size))
    return block + 1
